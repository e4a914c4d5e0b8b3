"""/invocations answers what `mlflow models serve` answers to the same requests."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anomaly.detector import Detector
from service.app.edge import Edge
from service.detectors import Served
from service.settings import Limits
from service.wire.invocations import FORMS
from tests.service.pumps import NUMBERS, Caller, as_request, normal_records, numbers
from tests.service.weave import ImageCaller

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
CANARY = "kanarienvogel"


def odd_numbers() -> list[list[float | None]]:
    """Five usual rows, one without a pressure, and one that is flagged."""
    rows: list[list[float | None]] = numbers(5, seed=3).numbers(NUMBERS.names).tolist()
    return [*rows, [None, 30.0, 50.0], [10.0, -40.0, 50.0]]


NAMES = list(NUMBERS.names)
ROWS = odd_numbers()
RECORDS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
FRAME = pd.DataFrame(ROWS, columns=NAMES)
PUMPS = as_request(normal_records(6, seed=4))
PUMP_RECORDS = [dict(zip(PUMPS["columns"], row, strict=True)) for row in PUMPS["rows"]]


def parquet_of(frame: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.to_parquet(out)
    return out.getvalue()


def server_of(detector: Detector, artifact: Path, folder: Path) -> Caller:
    """MLflow's own server, in this process, of the model as it is saved."""
    import mlflow
    from mlflow.pyfunc import scoring_server

    from anomaly.artifact.pyfunc import LOADER, signature_of

    mlflow.pyfunc.save_model(
        str(folder / "model"),
        loader_module=LOADER,
        data_path=str(artifact),
        signature=signature_of(detector),
        pip_requirements=[],
    )
    with pytest.MonkeyPatch.context() as patch:
        # It sets this for good, and MLflow behaves otherwise wherever it is set.
        patch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
        app: Any = scoring_server.init(mlflow.pyfunc.load_model(str(folder / "model")))
    return Caller(app)


@pytest.fixture(scope="module")
def of_numbers(
    served_numbers: Served, numbers_artifact: Path, tmp_path_factory: pytest.TempPathFactory
) -> Caller:
    assert isinstance(served_numbers.detector, Detector)
    return server_of(served_numbers.detector, numbers_artifact, tmp_path_factory.mktemp("numbers"))


@pytest.fixture(scope="module")
def of_pumps(
    detector: Detector, artifact: Path, tmp_path_factory: pytest.TempPathFactory
) -> Caller:
    return server_of(detector, artifact, tmp_path_factory.mktemp("pumps"))


def invoke(caller: Caller, body: Any, kind: str = JSON) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return caller("POST", "/invocations", content=content, headers={"content-type": kind})


def assert_same(ours: httpx.Response, theirs: Any) -> None:
    assert theirs.status_code == 200, theirs.text
    assert ours.status_code == 200, ours.text
    assert ours.json() == theirs.json()
    assert ours.headers["content-type"] == theirs.headers["content-type"]


NUMERIC: dict[str, tuple[Any, str]] = {
    "split": ({"dataframe_split": {"columns": NAMES, "data": ROWS}}, JSON),
    "split with an index": (
        {"dataframe_split": {"columns": NAMES, "data": ROWS, "index": [f"r{i}" for i in range(7)]}},
        JSON,
    ),
    "split with another column": (
        {"dataframe_split": {"columns": [*NAMES, "x"], "data": [[*row, 1] for row in ROWS]}},
        JSON,
    ),
    "split in another order": (
        {"dataframe_split": {"columns": NAMES[::-1], "data": [row[::-1] for row in ROWS]}},
        JSON,
    ),
    "records": ({"dataframe_records": RECORDS}, JSON),
    "records with another key": ({"dataframe_records": [{**r, "x": 1} for r in RECORDS]}, JSON),
    "records without a key": (
        {"dataframe_records": [*RECORDS, {"flow": 30.0, "speed": 50.0}]},
        JSON,
    ),
    "instances": ({"instances": RECORDS[:5]}, JSON),
    "inputs as records": ({"inputs": RECORDS}, JSON),
    "inputs as lists": ({"inputs": {n: [r[n] for r in RECORDS] for n in NAMES}}, JSON),
    "inputs as one row": ({"inputs": RECORDS[0]}, JSON),
    "another alpha": ({"dataframe_records": RECORDS, "params": {"alpha": 0.05}}, JSON),
    "the alpha in force": ({"dataframe_records": RECORDS, "params": {"alpha": 0.0}}, JSON),
    "reasons": ({"dataframe_records": RECORDS, "params": {"explain_top_k": 2}}, JSON),
    "no params": ({"dataframe_records": RECORDS, "params": None}, JSON),
    "CSV": (FRAME.to_csv(index=False).encode(), CSV),
    "CSV with an index": (FRAME.to_csv().encode(), CSV),
    "CSV of UTF-8": (FRAME.to_csv(index=False).encode(), f"{CSV}; charset=utf-8"),
    "Parquet": (parquet_of(FRAME), PARQUET),
}


@pytest.mark.parametrize("name", NUMERIC)
def test_rows_of_numbers_are_answered_as_mlflow_does(
    name: str, numbers_caller: Caller, of_numbers: Caller
) -> None:
    body, kind = NUMERIC[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    theirs = of_numbers("POST", "/invocations", content=content, headers={"content-type": kind})

    assert_same(invoke(numbers_caller, content, kind), theirs)


MIXED: dict[str, Any] = {
    "split": {"dataframe_split": {"columns": PUMPS["columns"], "data": PUMPS["rows"]}},
    "records": {"dataframe_records": PUMP_RECORDS},
    "inputs": {"inputs": PUMP_RECORDS},
    "reasons at another alpha": {
        "dataframe_records": PUMP_RECORDS,
        "params": {"alpha": 0.1, "explain_top_k": 3},
    },
}


@pytest.mark.parametrize("name", MIXED)
def test_rows_of_every_kind_are_answered_as_mlflow_does(
    name: str, caller: Caller, of_pumps: Caller
) -> None:
    content = json.dumps(MIXED[name])

    theirs = of_pumps("POST", "/invocations", content=content, headers={"content-type": JSON})

    assert_same(invoke(caller, content.encode()), theirs)


def test_the_probes_are_answered_as_mlflow_does(caller: Caller, of_numbers: Caller) -> None:
    ours, theirs = caller("GET", "/version"), of_numbers("GET", "/version")

    assert (ours.text, ours.status_code) == (theirs.text, theirs.status_code)
    for path in ("/ping", "/health"):
        assert caller("GET", path).status_code == of_numbers("GET", path).status_code == 200


HOSTILE: dict[str, tuple[Any, int]] = {
    "no JSON": (b"{", 400),
    "no object": ([CANARY], 422),
    "no rows in any form": ({"params": {}}, 422),
    "two forms": ({"inputs": RECORDS, "instances": RECORDS}, 422),
    "another key": ({"inputs": RECORDS, CANARY: 1}, 422),
    "rows without names": ({"instances": ROWS}, 422),
    "split without columns": ({"dataframe_split": {"data": ROWS}}, 422),
    "split with another key": ({"dataframe_split": {"columns": NAMES, "data": ROWS, "x": 1}}, 422),
    "ragged split": ({"dataframe_split": {"columns": NAMES, "data": [[1.0]]}}, 422),
    "split with a name twice": (
        {"dataframe_split": {"columns": [*NAMES, "flow"], "data": []}},
        422,
    ),
    "names that are none": ({"dataframe_split": {"columns": [1, [2]], "data": ROWS}}, 422),
    "no rows": ({"dataframe_records": []}, 422),
    "ragged inputs": ({"inputs": {"flow": [1.0], "pressure": [], "speed": [1.0]}}, 422),
    "inputs without a column": ({"inputs": {"flow": [1.0]}}, 422),
    "text for a number": ({"dataframe_records": [{**RECORDS[0], "flow": CANARY}]}, 422),
    "a list for a number": ({"dataframe_records": [{**RECORDS[0], "flow": [CANARY]}]}, 422),
    "params that are none": ({"inputs": RECORDS, "params": [CANARY]}, 422),
    "an unknown param": ({"inputs": RECORDS, "params": {"alpah": 0.1}}, 422),
    "an alpha that cannot be": ({"inputs": RECORDS, "params": {"alpha": CANARY}}, 422),
    "an alpha that is not supported": ({"inputs": RECORDS, "params": {"alpha": 1e-9}}, 422),
    "a negative count of reasons": ({"inputs": RECORDS, "params": {"explain_top_k": -1}}, 422),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_request_is_refused_and_no_value_repeated(
    name: str, numbers_caller: Caller
) -> None:
    body, status = HOSTILE[name]

    answer = invoke(numbers_caller, body)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert CANARY not in answer.text


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([CANARY, "1"])
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*NAMES, "columns", "data", "index", "alpha"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    body=st.dictionaries(
        st.sampled_from([*FORMS, "params"]), anything | st.just(RECORDS), min_size=1, max_size=2
    )
)
def test_nothing_is_a_5xx_and_no_refusal_repeats_a_value(
    body: dict[str, Any], numbers_caller: Caller
) -> None:
    answer = invoke(numbers_caller, body)

    assert answer.status_code == 200 or 400 <= answer.status_code < 500
    assert CANARY not in answer.text


def test_faulty_rows_are_named(numbers_caller: Caller) -> None:
    answer = invoke(
        numbers_caller, {"dataframe_records": [RECORDS[0], {**RECORDS[1], "flow": None}]}
    )

    (error,) = answer.json()["errors"]
    assert (error["row"], error["column"], error["code"]) == (1, "flow", "missing_value")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-ndjson", f"{CSV}; charset=latin-1"])
def test_other_types_are_415(kind: str, numbers_caller: Caller) -> None:
    assert invoke(numbers_caller, b"{}", kind).status_code == 415


def test_a_query_is_refused(numbers_caller: Caller) -> None:
    answer = numbers_caller("POST", "/invocations?alpha=0.1", json={"inputs": RECORDS})

    assert (answer.status_code, answer.json()["code"]) == (422, "query_invalid")


def test_limits_hold(make_app: Callable[..., Edge]) -> None:
    caller = Caller(make_app(limits=Limits(rows=4)))

    for body in MIXED.values():
        assert invoke(caller, body).status_code == 413


def test_a_model_of_images_says_where_images_go(image_caller: ImageCaller) -> None:
    answer = image_caller("POST", "/invocations", json={"inputs": [{"image": ""}]})

    assert answer.status_code == 415
    assert "/v1/score" in answer.json()["detail"]


def test_scores_are_the_detectors_to_the_bit(
    numbers_caller: Caller, served_numbers: Served
) -> None:
    assert isinstance(served_numbers.detector, Detector)
    rows = numbers(20, seed=9)
    columns = {name: values.tolist() for name, values in rows.columns.items()}

    answer = invoke(numbers_caller, {"inputs": columns}).json()["predictions"]

    scores = [prediction["score"] for prediction in answer]
    np.testing.assert_array_equal(scores, served_numbers.detector.anomaly_score(rows))
