"""POST /v1/score of whole tables: the same scores from every format, in every format."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from anomaly.data.records import NumericColumns
from anomaly.data.schema import Column, Kind, Schema
from anomaly.detector import Detector
from service.app.edge import Edge
from service.settings import Limits, UnseenCategory
from service.wire.options import Options
from service.wire.table_sources import read_arrow, read_csv, read_parquet
from tests.service.pumps import Caller, as_request, normal_records
from tests.service.table_forms import (
    ARROW,
    CSV,
    EVERY_FORM,
    LINES,
    PARQUET,
    read_back,
    table_of,
    with_column,
    written,
)

RECORDS = normal_records(70, seed=5)
SERIALS = [f"pump-{row}" for row in range(70)]


def send(
    caller: Caller, table: pa.Table | bytes, form: str, query: str = "", **headers: str
) -> httpx.Response:
    body = table if isinstance(table, bytes) else written(table, form)
    return caller(
        "POST", f"/v1/score{query}", content=body, headers={"content-type": form, **headers}
    )


@pytest.mark.parametrize("form", EVERY_FORM)
def test_every_format_is_scored_as_the_detector_does_to_the_bit(
    form: str, caller: Caller, detector: Detector
) -> None:
    answer = send(caller, table_of(RECORDS, serial=SERIALS), form).json()
    verdicts = detector.detect(RECORDS)

    assert answer["scores"] == verdicts.scores.tolist()
    assert answer["p_values"] == verdicts.p_values.tolist()
    assert answer["is_anomaly"] == verdicts.is_anomaly.tolist()
    assert answer["ids"] == {"serial": SERIALS}


@pytest.mark.parametrize("form", EVERY_FORM)
def test_every_format_is_an_answer_too(form: str, caller: Caller, detector: Detector) -> None:
    answer = send(caller, table_of(RECORDS, serial=SERIALS), CSV, accept=form)
    verdicts = detector.detect(RECORDS)

    columns = read_back(answer)
    assert list(columns) == ["serial", "score", "p_value", "is_anomaly"]
    assert columns["serial"] == SERIALS
    assert columns["score"] == verdicts.scores.tolist()
    assert columns["p_value"] == verdicts.p_values.tolist()
    assert columns["is_anomaly"] == verdicts.is_anomaly.tolist()


@pytest.mark.parametrize("form", EVERY_FORM)
def test_what_is_said_of_all_rows_is_in_the_headers(form: str, caller: Caller) -> None:
    json = caller.score(as_request(RECORDS)).json()

    answer = send(caller, table_of(RECORDS), PARQUET, "?alpha=0.05", accept=form)

    assert answer.headers["x-anomaly-model"] == json["model"]["name"]
    assert answer.headers["x-anomaly-version"] == json["model"]["version"]
    assert answer.headers["x-anomaly-digest"] == json["model"]["digest"]
    assert float(answer.headers["x-anomaly-alpha"]) == 0.05
    assert float(answer.headers["x-anomaly-threshold"]) < json["threshold"]
    assert answer.headers["x-request-id"]


def test_json_can_be_answered_as_a_table(caller: Caller, detector: Detector) -> None:
    answer = caller(
        "POST", "/v1/score", json=as_request(RECORDS, alpha=0.05), headers={"accept": ARROW}
    )

    assert read_back(answer)["score"] == detector.anomaly_score(RECORDS).tolist()
    assert answer.headers["x-anomaly-alpha"] == "0.05"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("text/html, application/xhtml+xml", "application/json"),
        ("text/csv;q=0.5, application/json", "application/json"),
        ("text/csv;q=0.9, application/json;q=0.5", CSV),
        ("TEXT/CSV", CSV),
        ("text/*", CSV),
        ("text/csv;q=0, */*;q=0.1", "application/json"),
        ("text/csv;q=x", "application/json"),
        (f"{LINES}, {PARQUET}", LINES),
        (",;=,", "application/json"),
    ],
)
def test_the_answer_is_what_is_most_welcome_and_json_otherwise(
    accept: str, kind: str, caller: Caller
) -> None:
    answer = send(caller, table_of(RECORDS), PARQUET, accept=accept)

    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)


@pytest.mark.parametrize("form", EVERY_FORM)
def test_the_order_of_columns_does_not_matter(
    form: str, caller: Caller, detector: Detector
) -> None:
    table = table_of(RECORDS)

    answer = send(caller, table.select(table.column_names[::-1]), form).json()

    assert answer["scores"] == detector.anomaly_score(RECORDS).tolist()


@pytest.mark.parametrize("form", [CSV, PARQUET, ARROW])
def test_columns_that_the_schema_does_not_know_are_passed_over(
    form: str, caller: Caller, detector: Detector
) -> None:
    table = table_of(RECORDS, colour=["red"] * 70)
    if form == ARROW:
        table = table.append_column("nested", pa.array([[1]] * 70))

    assert send(caller, table, form).json()["scores"] == detector.anomaly_score(RECORDS).tolist()


@pytest.mark.parametrize("form", EVERY_FORM)
def test_a_needed_column_that_is_missing_is_named(form: str, caller: Caller) -> None:
    answer = send(caller, table_of(RECORDS).drop_columns(["flow"]), form)

    assert answer.status_code == 422
    codes = {(error["column"], error["code"]) for error in answer.json()["errors"]}
    assert codes <= {("flow", "missing_column"), ("flow", "missing_value")}
    assert codes


FAULTY = table_of(normal_records(4, seed=1), serial=["a", "b", "c", "d"])
FAULTY = with_column(FAULTY, "flow", pa.array([1.0, None, float("inf"), 30.0]))


@pytest.mark.parametrize("form", [CSV, PARQUET, ARROW])
def test_faulty_rows_are_named_and_nothing_is_scored(form: str, caller: Caller) -> None:
    answer = send(caller, FAULTY, form)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_rows")
    assert [(e["row"], e["column"], e["code"]) for e in answer.json()["errors"]] == [
        (1, "flow", "missing_value"),
        (2, "flow", "non_finite"),
    ]


@pytest.mark.parametrize("form", [CSV, PARQUET, ARROW])
@pytest.mark.parametrize("answered", EVERY_FORM)
def test_mode_partial_scores_the_others(form: str, answered: str, caller: Caller) -> None:
    json = send(caller, FAULTY, form, "?mode=partial").json()
    columns = read_back(send(caller, FAULTY, form, "?mode=partial", accept=answered))

    assert [score is None for score in json["scores"]] == [False, True, True, False]
    assert columns["score"] == json["scores"]
    assert columns["serial"] == ["a", "b", "c", "d"]
    empty = "" if answered == CSV else None
    assert columns["errors"] == [empty, "flow: missing_value", "flow: non_finite", empty]


def test_a_line_that_is_no_json_is_one_faulty_row(caller: Caller, detector: Detector) -> None:
    records = RECORDS.take(slice(0, 3))
    lines = written(table_of(records), LINES).split(b"\n")
    body = b"\n\n".join([lines[0], b'{"flow": ', b"[1]", lines[1], b"\xff", lines[2]])

    answer = send(caller, body, LINES, "?mode=partial").json()

    assert [(e["row"], e["code"]) for e in answer["errors"]] == [
        (1, "not_a_line"),
        (2, "not_an_object"),
        (4, "not_a_line"),
    ]
    scores = [score for score in answer["scores"] if score is not None]
    assert scores == detector.anomaly_score(records).tolist()


def test_a_ragged_row_of_csv_is_one_faulty_row(caller: Caller) -> None:
    header, first, second, third, *_ = written(table_of(RECORDS), CSV).splitlines()
    body = b"\r\n".join([header, first, b"1,2", b"", second, third + b",7", b""])

    answer = send(caller, body, CSV, "?mode=partial").json()

    assert [(e["row"], e["code"]) for e in answer["errors"]] == [
        (1, "ragged_row"),
        (3, "ragged_row"),
    ]
    alone = send(caller, b"\n".join([header, first, second]), CSV).json()["scores"]
    assert [answer["scores"][0], answer["scores"][2]] == alone


def test_values_of_csv_are_read_as_strictly_as_those_of_files(caller: Caller) -> None:
    body = b"\n".join(
        [
            b"pressure,flow,valve_open,site,taken",
            b'"1,5",30,true,north,2024-05-01',
            b"10,30,yes,north,2024-05-01",
            b"10,30,1,north,01.05.2024",
            b"NA,30,1,north,2024-05-01",
            b'10,"30",TRUE,"no\nrth",2024-05-01T12:00:00+02:00',
        ]
    )

    answer = send(caller, body, CSV, "?mode=partial").json()

    assert [(e["row"], e["column"], e["code"]) for e in answer["errors"]] == [
        (0, "pressure", "not_a_number"),
        (1, "valve_open", "not_a_boolean"),
        (2, "taken", "not_a_datetime"),
        (3, "pressure", "not_a_number"),
    ]
    assert answer["scores"][4] is not None


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("flow", pa.array([b"x"])),
        ("flow", pa.array([[1.0]])),
        ("flow", pa.array([1], pa.timestamp("us", "Europe/Berlin"))),
        ("taken", pa.array([1.0])),
        ("site", pa.array([{"a": 1}])),
        ("site", pa.array([1], pa.decimal128(5))),
        ("flow", pa.array(["x"], pa.string_view())),
    ],
)
def test_a_column_of_another_type_is_named(column: str, values: Any, caller: Caller) -> None:
    table = with_column(table_of(RECORDS.take(slice(0, 1))), column, values)

    answer = send(caller, table, ARROW)

    assert (answer.status_code, answer.json()["code"]) == (422, "wrong_type")
    assert [error["column"] for error in answer.json()["errors"]] == [column]


@pytest.mark.parametrize("query", ["?explain=maybe", "?alpha=2", "?mode=x", "?explian=1", "?a=b"])
@pytest.mark.parametrize("form", EVERY_FORM)
def test_the_query_is_checked(form: str, query: str, caller: Caller) -> None:
    answer = send(caller, table_of(RECORDS), form, query)

    assert (answer.status_code, answer.json()["code"]) == (422, "query_invalid")


def test_an_alpha_that_the_calibration_does_not_support_is_refused(caller: Caller) -> None:
    answer = send(caller, table_of(RECORDS), CSV, "?alpha=0.0001")

    assert (answer.status_code, answer.json()["code"]) == (422, "alpha_not_supported")


def test_flagged_rows_are_explained_in_a_column(caller: Caller) -> None:
    table = with_column(table_of(RECORDS), "flow", pa.array([-40.0, *[30.0] * 69]))

    columns = read_back(send(caller, table, PARQUET, "?explain=true", accept=PARQUET))

    assert columns["is_anomaly"][0]
    assert columns["top_features"][0].startswith("flow ")
    for reasons, flagged in zip(columns["top_features"], columns["is_anomaly"], strict=True):
        assert (reasons is not None) is flagged


def test_identifiers_keep_their_type(caller: Caller) -> None:
    table = table_of(RECORDS.take(slice(0, 3)), serial=[7, None, 2**60])

    assert read_back(send(caller, table, ARROW, accept=ARROW))["serial"] == [7, None, 2**60]
    assert read_back(send(caller, table, CSV, accept=CSV))["serial"] == [7, None, 2**60]


def test_a_spreadsheet_would_not_run_an_identifier(caller: Caller) -> None:
    table = table_of(RECORDS.take(slice(0, 1)), serial=["=1+1"])

    assert read_back(send(caller, table, ARROW, accept=CSV))["serial"] == ["'=1+1"]
    assert read_back(send(caller, table, ARROW, accept=PARQUET))["serial"] == ["=1+1"]


@pytest.mark.parametrize("form", EVERY_FORM)
def test_unseen_categories_can_be_refused(form: str, make_app: Callable[..., Edge]) -> None:
    caller = Caller(make_app(unseen_category=UnseenCategory.ERROR))
    table = with_column(table_of(RECORDS), "site", pa.array(["mars", *["north"] * 69]))

    answer = send(caller, table, form)

    assert [(e["row"], e["code"]) for e in answer.json()["errors"]] == [(0, "unseen_category")]


NUMBERS = Schema(tuple(Column(name, Kind.NUMERIC) for name in "abc"))


@pytest.mark.parametrize(
    ("read", "form"), [(read_csv, CSV), (read_parquet, PARQUET), (read_arrow, ARROW)]
)
def test_a_table_of_numbers_becomes_one_array(read: Any, form: str) -> None:
    values = np.arange(30.0).reshape(10, 3)
    table = pa.table(
        {
            "b": values[:, 1],
            "a": values[:, 0].astype(np.int16),
            "c": pa.array([None, *values[1:, 2]]),
        }
    )

    request = read(written(table, form), NUMBERS, Limits(), Options(), lambda _: None)

    assert isinstance(request.records.columns, NumericColumns)
    values[0, 2] = np.nan
    np.testing.assert_array_equal(request.records.columns.matrix, values)


def test_dictionaries_of_text_are_text(caller: Caller, detector: Detector) -> None:
    table = table_of(RECORDS)
    table = with_column(table, "site", table["site"].dictionary_encode())

    for form in (PARQUET, ARROW):
        answer = send(caller, table, form).json()
        assert answer["scores"] == detector.anomaly_score(RECORDS).tolist()


def test_many_batches_and_row_groups_are_one_table(caller: Caller, detector: Detector) -> None:
    table = table_of(RECORDS, serial=SERIALS)
    parts = pa.concat_tables([table[:30], table[30:31], table[31:]])

    for body, form in (
        (written(parts, ARROW), ARROW),
        (written(table, PARQUET, row_group_size=7), PARQUET),
    ):
        answer = send(caller, body, form).json()
        assert answer["scores"] == detector.anomaly_score(RECORDS).tolist()
        assert answer["ids"]["serial"] == SERIALS


def test_a_service_of_json_does_not_load_pyarrow(artifact: Any) -> None:
    code = f"""
import sys
from service.app import create_app
from pathlib import Path
from service.detectors import open_directory
from service.scoring.scorer import Common
from service.settings import Settings
from tests.service.pumps import Caller, as_request, normal_records
from anomaly.backends.backend import Device
served = open_directory(Path({str(artifact)!r}), Device.CPU)
caller = Caller(create_app(served, Common(Settings(models=("x",)))))
assert caller.score(as_request(normal_records(2))).status_code == 200
assert not {{"pyarrow", "pandas", "mlflow"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
