"""Requests: two forms, one meaning; everything wrong is named by row, column and code."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from anomaly.data.records import Records
from service.settings import Limits
from service.wire.refusals import MOST_LISTED, InvalidRequest, TooLarge
from service.wire.request import Mode, ScoreRequest, parse
from tests.service.pumps import SCHEMA, as_request, normal_records

RECORDS = normal_records(6)


def read(body: Any, limits: Limits | None = None) -> ScoreRequest:
    return parse(json.dumps(body).encode(), SCHEMA, limits or Limits())


def refused(body: Any, limits: Limits | None = None) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        read(body, limits)
    return error.value


def as_records(request: dict[str, Any]) -> dict[str, Any]:
    rows = [dict(zip(request["columns"], row, strict=True)) for row in request["rows"]]
    rest = {key: value for key, value in request.items() if key not in ("columns", "rows")}
    return {"records": rows, **rest}


def assert_same(found: Records, expected: Records) -> None:
    assert found.columns.keys() == expected.columns.keys()
    for name, values in expected.columns.items():
        np.testing.assert_array_equal(found.columns[name], values)


def test_rows_and_records_are_read_to_the_same_arrays() -> None:
    body = as_request(RECORDS)

    assert_same(read(body).records, RECORDS)
    assert_same(read(as_records(body)).records, RECORDS)


def test_the_order_of_the_columns_is_free() -> None:
    body = as_request(RECORDS)
    turned = {
        "columns": body["columns"][::-1],
        "rows": [row[::-1] for row in body["rows"]],
    }

    assert_same(read(turned).records, RECORDS)


def test_columns_that_are_not_needed_are_let_in_and_ids_come_back() -> None:
    body = as_request(RECORDS)
    body["columns"] += ["serial", "fault"]
    body["rows"] = [[*row, f"p{i}", {"any": "thing"}] for i, row in enumerate(body["rows"])]

    request = read(body)

    assert request.ids == {"serial": ["p0", "p1", "p2", "p3", "p4", "p5"]}
    assert_same(request.records, RECORDS)
    assert read(as_records(body)).ids == request.ids


def test_an_absent_key_is_a_missing_value() -> None:
    body = as_records(as_request(RECORDS))
    body["records"][2].pop("pressure")

    assert np.isnan(read(body).records.columns["pressure"][2])


@pytest.mark.parametrize(
    ("change", "code", "column"),
    [
        (lambda names: names[:-1], "missing_column", "taken"),
        (lambda names: [*names[:-1], "colour"], "unknown_column", "colour"),
        (lambda names: [*names[:-1], "flow"], "duplicate_column", "flow"),
    ],
)
def test_a_wrong_column_is_named(change: Any, code: str, column: str) -> None:
    body = as_request(RECORDS)
    body["columns"] = change(body["columns"])

    error = refused(body)

    assert error.code == code
    assert [(e.row, e.column, e.code) for e in error.errors] == [(None, column, code)]
    assert column in str(error)


@pytest.mark.parametrize(
    "body",
    [
        [],
        "rows",
        None,
        {},
        {"rows": [[1]]},
        {"columns": ["flow"]},
        {"columns": "flow", "rows": [[1]]},
        {"columns": [1], "rows": [[1]]},
        {"columns": ["flow"], "rows": {"a": 1}},
        {"records": {"flow": 1}},
        {"records": [{"flow": 1}], "rows": [[1]], "columns": ["flow"]},
        {"records": [{"flow": 1}], "columns": ["flow"]},
        {"records": [{"flow": 1}], "aplha": 0.1},
        {"records": [{"flow": 1}], "alpha": "0.1"},
        {"records": [{"flow": 1}], "alpha": True},
        {"records": [{"flow": 1}], "alpha": 0},
        {"records": [{"flow": 1}], "alpha": 1},
        {"records": [{"flow": 1}], "alpha": 10**400},
        {"records": [{"flow": 1}], "mode": "lenient"},
        {"records": [{"flow": 1}], "mode": ["strict"]},
    ],
)
def test_a_body_of_another_shape_is_refused_as_a_whole(body: Any) -> None:
    assert refused(body).code == "body_invalid"


@pytest.mark.parametrize("body", [{"records": []}, {"columns": ["flow"], "rows": []}])
def test_no_rows_are_refused(body: Any) -> None:
    assert refused(body).code == "no_rows"


def test_strict_lists_every_faulty_row_by_row_and_column() -> None:
    body = as_request(RECORDS)
    body["rows"][4][0] = "10.5"
    body["rows"][1][2] = 1
    body["rows"][1][3] = 5
    body["rows"][2] = [1, 2]
    body["rows"][3] = {"flow": 1}

    error = refused(body)

    assert [(e.row, e.column, e.code) for e in error.errors] == [
        (1, "valve_open", "not_a_boolean"),
        (1, "site", "not_text"),
        (2, None, "ragged_row"),
        (3, None, "not_an_array"),
        (4, "pressure", "not_a_number"),
    ]
    assert "4 of 6 rows" in str(error)
    assert error.rows_by_reason == {
        "not_a_boolean": 1,
        "ragged_row": 1,
        "not_an_array": 1,
        "not_a_number": 1,
    }


def test_partial_keeps_the_sound_rows_and_where_they_stood() -> None:
    body = as_request(RECORDS, mode="partial")
    body["rows"][0] = None
    body["rows"][3][0] = True

    request = read(body)

    assert request.mode is Mode.PARTIAL
    assert request.rows.tolist() == [1, 2, 4, 5]
    assert [error.row for error in request.errors] == [0, 3]
    assert_same(request.records, RECORDS.take(request.rows))


def test_partial_reads_records_likewise() -> None:
    body = as_records(as_request(RECORDS, mode="partial"))
    body["records"][1] = 7
    body["records"][2]["colour"] = "red"

    request = read(body)

    assert request.rows.tolist() == [0, 3, 4, 5]
    assert [(e.row, e.column, e.code) for e in request.errors] == [
        (1, None, "not_an_object"),
        (2, "colour", "unknown_column"),
    ]


def test_at_most_twenty_errors_are_listed_and_all_are_counted() -> None:
    body = as_request(normal_records(50))
    for row in body["rows"]:
        row[0] = "x"

    error = refused(body)

    assert len(error.errors) == MOST_LISTED == 20
    assert error.rows_by_reason == {"not_a_number": 50}


def test_null_where_the_schema_forbids_it_is_refused() -> None:
    body = as_request(RECORDS)
    body["rows"][5][1] = None

    error = refused(body)

    assert [(e.row, e.column, e.code) for e in error.errors] == [(5, "flow", "missing_value")]


def test_a_row_of_which_too_much_is_missing_is_refused() -> None:
    body = as_request(RECORDS)
    body["rows"][0] = [None, 30.0, None, "north", "2024-05-01"]
    body["rows"][1] = [None, 30.0, None, None, "2024-05-01"]

    error = refused(body)

    assert [(e.row, e.code) for e in error.errors] == [(1, "too_many_missing")]
    assert read(body, Limits(missing_fraction=0.6)).n_rows == 6


def test_more_rows_than_the_limit_are_too_large() -> None:
    body = as_request(RECORDS)

    assert read(body, Limits(rows=6)).n_rows == 6
    with pytest.raises(TooLarge, match="6 rows") as error:
        read(body, Limits(rows=5))
    assert error.value.code == "too_many_rows"


def test_more_columns_than_the_limit_are_too_large_but_the_models_own_never_are() -> None:
    body = as_request(RECORDS)
    assert read(body, Limits(columns=1)).n_rows == 6

    body["columns"] += [f"c{i}" for i in range(10)]
    with pytest.raises(TooLarge) as error:
        read(body, Limits(columns=1))
    assert error.value.code == "too_many_columns"


def test_alpha_is_read() -> None:
    assert read(as_request(RECORDS)).alpha is None
    assert read(as_request(RECORDS, alpha=0.05)).alpha == 0.05
