"""The Open Inference Protocol: every rule of its version 2, and Triton's own client."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anomaly.detector import Detector
from service.app.edge import Edge
from service.detectors import Served
from service.settings import Limits
from tests.service.app.test_server import Process, running
from tests.service.pumps import NUMBERS, Caller, as_request, normal_records, numbers
from tests.service.weave import ImageCaller

RECORDS = normal_records(8, seed=5)
ROWS = numbers(8, seed=5)
MATRIX = ROWS.numbers(NUMBERS.names)
BASE = "/v2/models/pumps"
TYPES = {
    "pressure": "FP64",
    "flow": "FP64",
    "valve_open": "FP64",
    "site": "BYTES",
    "taken": "BYTES",
}

REQUIRED: dict[str, dict[str, type]] = {
    "metadata_server_response": {"name": str, "version": str, "extensions": list},
    "metadata_model_response": {
        "name": str,
        "versions": list,
        "platform": str,
        "inputs": list,
        "outputs": list,
    },
    "metadata_tensor": {"name": str, "datatype": str, "shape": list},
    "inference_response": {"model_name": str, "model_version": str, "outputs": list},
    "response_output": {"name": str, "shape": list, "datatype": str, "data": list},
    "error": {"error": str},
}
"""What each document of the protocol must have, and of which type."""


def assert_is(name: str, document: dict[str, Any]) -> None:
    for key, kind in REQUIRED[name].items():
        assert type(document[key]) is kind


def inputs(count: int = 8) -> list[dict[str, Any]]:
    """One tensor for each column of the pumps."""
    request = as_request(RECORDS.take(slice(0, count)))
    by_column = map(list, zip(*request["rows"], strict=True))
    columns = dict(zip(request["columns"], by_column, strict=True))
    columns["valve_open"] = list(map(float, columns["valve_open"]))
    return [
        {
            "name": name,
            "shape": [count],
            "datatype": TYPES.get(name, "FP64"),
            "data": values,
        }
        for name, values in columns.items()
    ]


def matrix(**parameters: Any) -> dict[str, Any]:
    """The rows of numbers as one tensor."""
    tensor = {"name": "input", "shape": [8, 3], "datatype": "FP64", "data": MATRIX.ravel().tolist()}
    return {"inputs": [tensor], **({"parameters": parameters} if parameters else {})}


def infer(caller: Caller, body: Any, path: str = f"{BASE}/infer") -> httpx.Response:
    return caller("POST", path, json=body)


def outputs_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert_is("inference_response", document)
    for output in document["outputs"]:
        assert_is("response_output", output)
        assert len(output["data"]) == np.prod(output["shape"])
    return {output["name"]: output["data"] for output in document["outputs"]}


@pytest.fixture
def numeric(served_numbers: Served) -> Detector:
    assert isinstance(served_numbers.detector, Detector)
    return served_numbers.detector


def test_one_tensor_a_column_scores_as_the_detector_does(
    caller: Caller, detector: Detector
) -> None:
    answer = infer(caller, {"id": "42", "inputs": inputs()})
    verdicts = detector.detect(RECORDS)

    assert outputs_of(answer) == {
        "score": verdicts.scores.tolist(),
        "p_value": verdicts.p_values.tolist(),
        "is_anomaly": verdicts.is_anomaly.tolist(),
    }
    assert answer.json()["id"] == "42"
    assert answer.json()["parameters"]["alpha"] == detector.calibration.alpha
    assert answer.json()["parameters"]["threshold"] == detector.calibration.threshold


@pytest.mark.parametrize("nested", [True, False])
def test_one_tensor_of_all_columns_does_where_all_are_numbers(
    nested: bool, numbers_caller: Caller, numeric: Detector
) -> None:
    body = matrix()
    if nested:
        body["inputs"][0]["data"] = MATRIX.tolist()

    scores = outputs_of(infer(numbers_caller, body, "/v2/models/numbers/infer"))["score"]

    assert scores == numeric.anomaly_score(ROWS).tolist()


def test_numbers_may_come_one_tensor_a_column_and_as_columns(
    numbers_caller: Caller, numeric: Detector
) -> None:
    tensors = [
        {"name": name, "shape": [8, 1], "datatype": "FP64", "data": [[value] for value in values]}
        for name, values in ROWS.columns.items()
    ]

    answer = infer(numbers_caller, {"inputs": tensors}, "/v2/models/numbers/infer")

    assert outputs_of(answer)["score"] == numeric.anomaly_score(ROWS).tolist()


@pytest.mark.parametrize("datatype", ["FP32", "INT8", "UINT8", "INT16", "INT32", "INT64", "UINT64"])
def test_every_datatype_of_numbers_is_read(
    datatype: str, numbers_caller: Caller, numeric: Detector
) -> None:
    rounded = np.round(MATRIX)
    body = matrix()
    kind = float if datatype == "FP32" else int
    body["inputs"][0] |= {"datatype": datatype, "data": list(map(kind, rounded.ravel().tolist()))}

    answer = infer(numbers_caller, body, "/v2/models/numbers/infer")

    assert outputs_of(answer)["score"] == numeric.anomaly_score(rounded).tolist()


def test_null_nan_and_the_empty_text_are_missing(caller: Caller, detector: Detector) -> None:
    records = normal_records(8, seed=5).take(slice(0, 2))
    records.columns["pressure"][:] = np.nan
    records.columns["site"][:] = None
    body = {"inputs": inputs(2)}
    by_name = {tensor["name"]: tensor for tensor in body["inputs"]}
    by_name["pressure"]["data"] = [None, float("nan")]
    by_name["site"]["data"] = ["", None]

    answer = caller("POST", f"{BASE}/infer", content=json.dumps(body))

    assert outputs_of(answer)["score"] == detector.anomaly_score(records).tolist()


def test_alpha_is_a_parameter(caller: Caller) -> None:
    answer = infer(caller, {"inputs": inputs(), "parameters": {"alpha": 0.05}}).json()
    usual = infer(caller, {"inputs": inputs()}).json()

    assert answer["parameters"]["alpha"] == 0.05
    assert answer["parameters"]["threshold"] < usual["parameters"]["threshold"]


def test_only_the_outputs_that_are_asked_for_come_in_their_order(caller: Caller) -> None:
    wanted = [{"name": "is_anomaly"}, {"name": "score"}]

    answer = infer(caller, {"inputs": inputs(), "outputs": wanted})

    assert list(outputs_of(answer)) == ["is_anomaly", "score"]


@pytest.mark.parametrize(
    "asked", [{"parameters": {"explain": True}}, {"outputs": [{"name": "contribution"}]}]
)
def test_contributions_are_the_shares_of_each_column_in_each_row(
    asked: dict[str, Any], numbers_caller: Caller, numeric: Detector
) -> None:
    odd = MATRIX.copy()
    odd[3, 1] = -40.0
    body = {**matrix(), **asked}
    body["inputs"][0]["data"] = odd.ravel().tolist()

    answer = infer(numbers_caller, body, "/v2/models/numbers/infer")

    found = np.reshape(outputs_of(answer)["contribution"], (8, 3))
    expected = numeric.explain(odd)
    metadata = numbers_caller("GET", "/v2/models/numbers").json()["outputs"][3]
    assert metadata["parameters"]["columns"] == list(expected.columns)
    np.testing.assert_array_equal(found, expected.share)
    assert found[3].argmax() == expected.columns.index("flow")


def test_the_server_says_what_it_is(caller: Caller) -> None:
    for path in ("/v2", "/v2/"):
        document = caller("GET", path).json()
        assert_is("metadata_server_response", document)
        assert "binary_tensor_data" in document["extensions"]


@pytest.mark.parametrize("path", [BASE, f"{BASE}/versions/unregistered"])
def test_the_model_says_which_tensors_it_takes_and_gives(path: str, caller: Caller) -> None:
    document = caller("GET", path).json()

    assert_is("metadata_model_response", document)
    for tensor in (*document["inputs"], *document["outputs"]):
        assert_is("metadata_tensor", tensor)
    assert {t["name"]: (t["datatype"], t["shape"]) for t in document["inputs"]} == {
        "pressure": ("FP64", [-1]),
        "flow": ("FP64", [-1]),
        "valve_open": ("BOOL", [-1]),
        "site": ("BYTES", [-1]),
        "taken": ("BYTES", [-1]),
    }
    assert (document["name"], document["versions"]) == ("pumps", ["unregistered"])


def test_a_model_of_numbers_names_the_columns_of_its_one_tensor(numbers_caller: Caller) -> None:
    (tensor,) = numbers_caller("GET", "/v2/models/numbers").json()["inputs"]

    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("input", "FP64", [-1, 3])
    assert tensor["parameters"]["columns"] == list(NUMBERS.names)


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"live": True}),
        (f"{BASE}/ready", {"name": "pumps", "ready": True}),
        (f"{BASE}/versions/unregistered/ready", {"name": "pumps", "ready": True}),
    ],
)
def test_health(path: str, document: Any, make_app: Callable[..., Edge]) -> None:
    app = make_app()
    assert Caller(app)("GET", path).json() == document

    app.scorer.common.draining = True

    answer = Caller(app)("GET", path)
    assert answer.status_code == (200 if path.endswith("live") else 503)
    if answer.status_code == 503:
        assert_is("error", answer.json())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/valves", 404),
        ("GET", f"{BASE}/versions/7", 404),
        ("GET", f"{BASE}/versions/7/ready", 404),
        ("POST", "/v2/models/valves/infer", 404),
        ("POST", f"{BASE}/versions/7/infer", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", f"{BASE}/infer", 405),
        ("POST", BASE, 405),
    ],
)
def test_other_models_versions_and_methods_are_refused_in_the_words_of_the_protocol(
    method: str, path: str, status: int, caller: Caller
) -> None:
    answer = caller(method, path, content=b"{}")

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"}
    if status == 405:
        assert answer.headers["allow"]


def test_metrics_know_templates_and_no_names(caller: Caller) -> None:
    for path in ("/v2", BASE, f"{BASE}/ready", "/v2/models/valves", f"{BASE}/versions/x"):
        caller("GET", path)
    infer(caller, {"inputs": inputs()}, f"{BASE}/versions/unregistered/infer")

    handlers = {
        dict(labels)["handler"]
        for name, labels in caller.samples()
        if name == "http_requests_total"
    }
    assert handlers == {
        "/v2",
        "/v2/models/{model}",
        "/v2/models/{model}/ready",
        "/v2/models/{model}/versions/{version}/infer",
        "none",
    }


CANARY = "kanarienvogel"


def changed(**values: Any) -> dict[str, Any]:
    """A sound request of which the first tensor is changed."""
    body = {"inputs": inputs(2)}
    body["inputs"][0] |= values
    return body


HOSTILE: dict[str, Any] = {
    "no object": [CANARY],
    "no inputs": {"id": CANARY},
    "empty inputs": {"inputs": []},
    "inputs of another type": {"inputs": CANARY},
    "an id that is no text": {"id": 7, "inputs": inputs(2)},
    "a column missing": {"inputs": inputs(2)[1:]},
    "a column twice": {"inputs": [*inputs(2), inputs(2)[0]]},
    "an unknown datatype": changed(datatype=CANARY),
    "a datatype that does not fit the column": changed(datatype="BYTES", data=["a", "b"]),
    "text for numbers": changed(data=[CANARY, CANARY]),
    "booleans for numbers": changed(data=[True, False]),
    "fewer values than the shape": changed(shape=[3]),
    "another number of rows": changed(shape=[1], data=[1.0]),
    "a negative shape": changed(shape=[-2]),
    "a shape beyond all memory": changed(shape=[2**39, 2**39]),
    "a shape of no axis": changed(shape=[]),
    "a shape of many axes": changed(shape=[1] * 50 + [2]),
    "no data": changed(data=None),
    "ragged data": changed(shape=[2, 1], data=[[1.0], [1.0, 2.0]]),
    "deep data": changed(data=json.loads("[" * 50 + "]" * 50)),
    "infinity": changed(data=[1e400, 1.0]),
    "an integer beyond 2^53": changed(datatype="INT64", data=[2**53 + 1, 1]),
    "a negative one": changed(datatype="INT64", data=[-(2**53) - 1, 1]),
    "an integer beyond its datatype": changed(datatype="INT8", data=[1000, 1]),
    "an integer of many digits": changed(datatype="INT64", data=[10**30, 1]),
    "bytes that are not there": changed(data=None, parameters={"binary_data_size": 16}),
    "a size that is no number": changed(data=None, parameters={"binary_data_size": CANARY}),
    "an unknown parameter": {"inputs": inputs(2), "parameters": {"alpah": 0.1}},
    "an alpha that cannot be": {"inputs": inputs(2), "parameters": {"alpha": CANARY}},
    "an alpha that is not supported": {"inputs": inputs(2), "parameters": {"alpha": 1e-9}},
    "explain of another type": {"inputs": inputs(2), "parameters": {"explain": CANARY}},
    "an unknown output": {"inputs": inputs(2), "outputs": [{"name": "logits"}]},
    "an unknown parameter of an output": {
        "inputs": inputs(2),
        "outputs": [{"name": "score", "parameters": {"classification": 3}}],
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_request_is_400_and_repeats_no_value(name: str, caller: Caller) -> None:
    body = json.dumps(HOSTILE[name])

    answer = caller("POST", f"{BASE}/infer", content=body)

    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
    assert CANARY not in answer.text
    assert answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "99999999", "9" * 5000])
def test_a_length_of_the_json_that_cannot_be_is_400(length: str, caller: Caller) -> None:
    headers = {"inference-header-content-length": length}

    answer = caller("POST", f"{BASE}/infer", json={"inputs": inputs(2)}, headers=headers)

    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}


def test_faulty_rows_are_named(caller: Caller) -> None:
    body = changed()
    body["inputs"][1]["data"] = [1.0, None]

    error = infer(caller, body).json()["error"]

    assert 'row 1, column "flow"' in error


def test_limits_hold(make_app: Callable[..., Edge]) -> None:
    caller = Caller(make_app(limits=Limits(rows=4, body_bytes=1_000)))

    assert infer(caller, {"inputs": inputs()}).status_code == 413
    caller = Caller(make_app(limits=Limits(rows=4)))
    assert infer(caller, {"inputs": inputs()}).status_code == 413


def test_other_content_types_are_415(caller: Caller) -> None:
    for headers in ({"content-type": "text/csv"}, {"content-encoding": "gzip"}):
        answer = caller("POST", f"{BASE}/infer", content=b"{}", headers=headers)
        assert answer.status_code == 415
        assert answer.json().keys() == {"error"}


def test_a_model_of_images_takes_no_tensors(image_caller: ImageCaller) -> None:
    name = image_caller.app.scorer.model.name

    assert image_caller("GET", f"/v2/models/{name}").json()["inputs"] == []
    assert image_caller("GET", f"/v2/models/{name}/ready").status_code == 200
    answer = image_caller("POST", f"/v2/models/{name}/infer", json={"inputs": []})
    assert answer.status_code == 415
    assert "/v1/score" in answer.json()["error"]


def binary_request() -> tuple[bytes, int]:
    """A sound request with bytes behind its JSON, and the length of that."""
    tensors, tail = [], b""
    for name, values in RECORDS.columns.items():
        if values.dtype == np.float64:
            data, datatype = values.tobytes(), "FP64"
        else:
            texts = [str(value).encode() for value in values]
            data = b"".join(struct.pack("<I", len(text)) + text for text in texts)
            datatype = "BYTES"
        size = {"binary_data_size": len(data)}
        tensors.append({"name": name, "shape": [8], "datatype": datatype, "parameters": size})
        tail += data
    head = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    return head + tail, len(head)


BODY, HEAD = binary_request()


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    places=st.lists(st.tuples(st.integers(0, len(BODY) - 1), st.binary(max_size=8)), max_size=4),
    shift=st.sampled_from([0, 0, 0, 0, -1, 1, 8]),
)
def test_no_damage_is_a_5xx(places: list[tuple[int, bytes]], shift: int, caller: Caller) -> None:
    body = bytearray(BODY)
    for at, found in places:
        body[at : at + len(found)] = found

    answer = caller(
        "POST",
        f"{BASE}/infer",
        content=bytes(body),
        headers={"inference-header-content-length": str(HEAD + shift)},
    )

    assert answer.status_code == 200 or 400 <= answer.status_code < 500
    if answer.status_code != 200:
        assert answer.json().keys() == {"error"}
    elif not places and not shift:
        assert answer.headers["content-type"] == "application/octet-stream"


@pytest.fixture(scope="module")
def pumps(artifact: Path) -> Iterator[Process]:
    with running(artifact) as process:
        yield process


@pytest.fixture(scope="module")
def plain(numbers_artifact: Path) -> Iterator[Process]:
    with running(numbers_artifact) as process:
        yield process


def client_of(process: Process) -> Any:
    triton = pytest.importorskip("tritonclient.http")
    return triton.InferenceServerClient(process.url.removeprefix("http://"))


def test_tritons_client_finds_health_and_metadata(pumps: Process) -> None:
    client = client_of(pumps)

    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("pumps")
    assert client.is_model_ready("pumps", "unregistered")
    assert not client.is_model_ready("valves")
    assert client.get_server_metadata()["name"] == "anomaly"
    assert client.get_model_metadata("pumps")["outputs"][0]["name"] == "score"


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", ["FP64", "FP32"])
def test_tritons_client_scores_numbers_to_the_bit(
    datatype: str, binary: bool, plain: Process, numeric: Detector
) -> None:
    triton = pytest.importorskip("tritonclient.http")
    sent = MATRIX.astype(np.float64 if datatype == "FP64" else np.float32)
    tensor = triton.InferInput("input", list(sent.shape), datatype)
    tensor.set_data_from_numpy(sent, binary_data=binary)
    names = ("score", "p_value", "is_anomaly")
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]

    answer = client_of(plain).infer(
        "numbers", [tensor], outputs=wanted, request_id="7", parameters={"alpha": 0.05}
    )

    verdicts = numeric.detect(sent.astype(np.float64), 0.05)
    np.testing.assert_array_equal(answer.as_numpy("score"), verdicts.scores)
    np.testing.assert_array_equal(answer.as_numpy("p_value"), verdicts.p_values)
    np.testing.assert_array_equal(answer.as_numpy("is_anomaly"), verdicts.is_anomaly)
    assert answer.as_numpy("is_anomaly").dtype == bool
    assert answer.get_response()["id"] == "7"


def test_tritons_client_gets_every_output_unless_it_chooses(plain: Process) -> None:
    triton = pytest.importorskip("tritonclient.http")
    tensor = triton.InferInput("input", list(MATRIX.shape), "FP64")
    tensor.set_data_from_numpy(MATRIX)

    answer = client_of(plain).infer("numbers", [tensor])

    assert answer.as_numpy("score").shape == (8,)
    assert answer.as_numpy("p_value").shape == (8,)


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_sends_every_kind_of_column(
    binary: bool, pumps: Process, detector: Detector
) -> None:
    triton = pytest.importorskip("tritonclient.http")
    request = as_request(RECORDS)
    columns = dict(zip(request["columns"], zip(*request["rows"], strict=True), strict=True))
    tensors = []
    for name, values in columns.items():
        match name:
            case "valve_open":
                array, datatype = np.array(values, dtype=bool), "BOOL"
            case "site" | "taken":
                array, datatype = np.array(values, dtype=object), "BYTES"
            case _:
                array, datatype = np.array(values, dtype=np.float64), "FP64"
        tensor = triton.InferInput(name, [len(array)], datatype)
        tensor.set_data_from_numpy(array, binary_data=binary or datatype == "FP64")
        tensors.append(tensor)

    answer = client_of(pumps).infer("pumps", tensors, model_version="unregistered")

    np.testing.assert_array_equal(answer.as_numpy("score"), detector.anomaly_score(RECORDS))


def test_tritons_client_is_told_what_is_wrong(pumps: Process) -> None:
    triton = pytest.importorskip("tritonclient.http")
    from tritonclient.utils import InferenceServerException

    tensor = triton.InferInput("flow", [1], "FP64")
    tensor.set_data_from_numpy(np.ones(1))

    with pytest.raises(InferenceServerException, match="needed by the model and missing"):
        client_of(pumps).infer("pumps", [tensor])
