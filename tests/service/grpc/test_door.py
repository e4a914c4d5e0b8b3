"""Over gRPC: the scores of HTTP to the bit, Triton's own client, and every way a call can fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from tritonclient import grpc as client_of_triton
from tritonclient.grpc import service_pb2 as triton
from tritonclient.utils import InferenceServerException

from anomaly.detector import Detector
from service.detectors import Served
from service.grpc.inference import CONTENTS
from service.grpc.messages import MESSAGES
from service.wire.tensors import NUMBERS as DATATYPES
from tests.service.grpc.calling import (
    MATRIX,
    RECORDS,
    ROWS,
    SERVICE,
    Line,
    address_of,
    columns,
    ended,
    line,
    matrix,
    with_parameters,
)
from tests.service.pumps import NUMBERS, as_request

BODY_BYTES = 100_000


@pytest.fixture(scope="module")
def pumps(artifact: Path) -> Iterator[Line]:
    limits = {"LIMITS__BODY_BYTES": str(BODY_BYTES), "LIMITS__BODY_SECONDS": "1"}
    with line(artifact, **limits) as found:
        yield found


@pytest.fixture(scope="module")
def plain(numbers_artifact: Path) -> Iterator[Line]:
    with line(numbers_artifact) as found:
        yield found


@pytest.fixture
def numeric(served_numbers: Served) -> Detector:
    assert isinstance(served_numbers.detector, Detector)
    return served_numbers.detector


def over_http(plain: Line, **parameters: Any) -> dict[str, Any]:
    """The outputs of the rows of numbers, from the same process."""
    tensor = {"name": "input", "shape": [8, 3], "datatype": "FP64", "data": MATRIX.ravel().tolist()}
    answer = httpx.post(
        f"{plain.process.url}/v2/models/numbers/infer",
        json={"inputs": [tensor], "parameters": parameters},
        timeout=20,
    )
    return {output["name"]: output["data"] for output in answer.json()["outputs"]}


@pytest.mark.parametrize("parameters", [{}, {"alpha": 0.05}, {"explain": True}])
def test_a_row_gets_the_bits_that_it_gets_over_http(
    parameters: dict[str, Any], plain: Line, numeric: Detector
) -> None:
    found = plain.infer(matrix(**parameters)).outputs

    assert {name: values.ravel().tolist() for name, values in found.items()} == over_http(
        plain, **parameters
    )
    np.testing.assert_array_equal(found["score"], numeric.anomaly_score(ROWS))
    assert ("contribution" in found) is ("explain" in parameters)


def test_the_answer_says_which_model_id_alpha_and_threshold(plain: Line, numeric: Detector) -> None:
    answer = triton.ModelInferResponse.FromString(plain.infer(matrix()).body)

    assert (answer.model_name, answer.model_version, answer.id) == ("numbers", "unregistered", "42")
    assert answer.parameters["alpha"].double_param == numeric.calibration.alpha
    assert answer.parameters["threshold"].double_param == numeric.calibration.threshold


def test_typed_contents_of_every_kind_of_column_score_as_the_detector_does(
    pumps: Line, detector: Detector
) -> None:
    verdicts = detector.detect(RECORDS)

    found = pumps.infer(columns()).outputs

    np.testing.assert_array_equal(found["score"], verdicts.scores)
    np.testing.assert_array_equal(found["p_value"], verdicts.p_values)
    np.testing.assert_array_equal(found["is_anomaly"], verdicts.is_anomaly)


@pytest.mark.parametrize("datatype", sorted(set(CONTENTS) - {"BYTES", "BOOL"}))
def test_numbers_of_every_datatype_say_the_same_raw_and_typed(
    datatype: str, plain: Line, numeric: Detector
) -> None:
    values = np.round(np.abs(MATRIX)).astype(DATATYPES[datatype])
    raw, typed = (triton.ModelInferRequest(model_name="numbers") for _ in range(2))
    raw.inputs.add(name="input", datatype=datatype, shape=values.shape)
    raw.raw_input_contents.append(values.tobytes())
    tensor = typed.inputs.add(name="input", datatype=datatype, shape=values.shape)
    getattr(tensor.contents, CONTENTS[datatype]).extend(values.ravel().tolist())

    expected = numeric.anomaly_score(values.astype(np.float64))
    np.testing.assert_array_equal(plain.infer(raw).outputs["score"], expected)
    np.testing.assert_array_equal(plain.infer(typed).outputs["score"], expected)


def test_chosen_outputs_come_in_the_order_in_which_they_were_asked_for(plain: Line) -> None:
    request = matrix()
    request.outputs.add(name="is_anomaly")
    request.outputs.add(name="contribution")

    found = plain.infer(request).outputs

    assert list(found) == ["is_anomaly", "contribution"]
    assert found["contribution"].shape == (8, 3)


def test_health_and_metadata_are_those_of_http(plain: Line) -> None:
    url = f"{plain.process.url}/v2/models/numbers"
    asked = triton.ModelMetadataRequest(name="numbers")
    metadata = triton.ModelMetadataResponse.FromString(plain.call("ModelMetadata", asked).body)
    described = httpx.get(url, timeout=20).json()

    assert metadata.platform == described["platform"]
    for found, told in (
        (metadata.inputs, described["inputs"]),
        (metadata.outputs, described["outputs"]),
    ):
        assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in found] == [
            (tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in told
        ]


def test_metadata_names_the_columns_of_a_matrix(plain: Line) -> None:
    answer = plain.call("ModelMetadata", triton.ModelMetadataRequest(name="numbers"))

    metadata = MESSAGES["ModelMetadataResponse"].FromString(answer.body)

    assert json.loads(metadata.inputs[0].parameters["columns"].string_param) == list(NUMBERS.names)


def test_tritons_client_finds_health_and_metadata(pumps: Line) -> None:
    client = client_of_triton.InferenceServerClient(address_of(pumps.process))

    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("pumps")
    assert client.is_model_ready("pumps", "unregistered")
    assert client.get_server_metadata().name == "anomaly"
    assert client.get_model_metadata("pumps").outputs[0].name == "score"
    with pytest.raises(InferenceServerException, match="NOT_FOUND"):
        client.is_model_ready("valves")


@pytest.mark.parametrize("datatype", ["FP64", "FP32"])
def test_tritons_client_scores_numbers_to_the_bit(
    datatype: str, plain: Line, numeric: Detector
) -> None:
    sent = MATRIX.astype(np.float64 if datatype == "FP64" else np.float32)
    tensor = client_of_triton.InferInput("input", list(sent.shape), datatype)
    tensor.set_data_from_numpy(sent)
    client = client_of_triton.InferenceServerClient(address_of(plain.process))

    answer = client.infer("numbers", [tensor], request_id="7", parameters={"alpha": 0.05})

    verdicts = numeric.detect(sent.astype(np.float64), 0.05)
    np.testing.assert_array_equal(answer.as_numpy("score"), verdicts.scores)
    np.testing.assert_array_equal(answer.as_numpy("p_value"), verdicts.p_values)
    np.testing.assert_array_equal(answer.as_numpy("is_anomaly"), verdicts.is_anomaly)
    assert answer.as_numpy("is_anomaly").dtype == bool
    assert answer.get_response().id == "7"


def test_tritons_client_sends_every_kind_of_column(pumps: Line, detector: Detector) -> None:
    request = as_request(RECORDS)
    tensors = []
    for name, values in zip(request["columns"], zip(*request["rows"], strict=True), strict=True):
        match name:
            case "valve_open":
                array, datatype = np.array(values, dtype=bool), "BOOL"
            case "site" | "taken":
                array, datatype = np.array(values, dtype=object), "BYTES"
            case _:
                array, datatype = np.array(values, dtype=np.float64), "FP64"
        tensors.append(client_of_triton.InferInput(name, [len(array)], datatype))
        tensors[-1].set_data_from_numpy(array)
    client = client_of_triton.InferenceServerClient(address_of(pumps.process))

    answer = client.infer("pumps", tensors, model_version="unregistered")

    np.testing.assert_array_equal(answer.as_numpy("score"), detector.anomaly_score(RECORDS))


def altered(change: Any) -> Any:
    """The pumps, changed in place."""
    request = columns()
    change(request)
    return request


def raw_for(count: int) -> Any:
    """Rows of numbers with so many raw contents for their one input."""
    request = matrix()
    del request.raw_input_contents[:]
    request.raw_input_contents.extend([MATRIX.tobytes()] * count)
    return request


FAULTS: dict[str, tuple[Any, str, str]] = {
    "no message of the kind": (b"\xff\xff\xff", "INVALID_ARGUMENT", "is no ModelInferRequest"),
    "text that is not UTF-8": (b"\x0a\x02\xff\xfe", "INVALID_ARGUMENT", "is no ModelInferRequest"),
    "an empty message": (b"", "NOT_FOUND", "no model of that name"),
    "another model": (altered(lambda r: setattr(r, "model_name", "valves")), "NOT_FOUND", "model"),
    "another version": (
        altered(lambda r: setattr(r, "model_version", "7")),
        "NOT_FOUND",
        "version",
    ),
    "no inputs": (altered(lambda r: r.ClearField("inputs")), "INVALID_ARGUMENT", "missing"),
    "a column is missing": (altered(lambda r: r.inputs.pop()), "INVALID_ARGUMENT", "missing"),
    "an unknown column": (
        altered(lambda r: r.inputs.add(name="x", datatype="FP64", shape=[0])),
        "INVALID_ARGUMENT",
        "not a column",
    ),
    "an unknown datatype": (
        altered(lambda r: setattr(r.inputs[0], "datatype", "FP128")),
        "INVALID_ARGUMENT",
        "none of the datatypes",
    ),
    "FP16, which has no field": (
        altered(lambda r: setattr(r.inputs[0], "datatype", "FP16")),
        "INVALID_ARGUMENT",
        "only be sent raw",
    ),
    "the field of another datatype": (
        altered(lambda r: r.inputs[0].contents.int_contents.append(1)),
        "INVALID_ARGUMENT",
        "fp64_contents",
    ),
    "a datatype of another kind of column": (
        altered(lambda r: r.inputs[2].MergeFrom(r.inputs[2].__class__(datatype="BYTES"))),
        "INVALID_ARGUMENT",
        "bytes_contents",
    ),
    "a shape that cannot be": (
        altered(lambda r: r.inputs[0].shape.append(-1)),
        "INVALID_ARGUMENT",
        "cannot be",
    ),
    "more values than the shape": (
        altered(lambda r: r.inputs[0].contents.fp64_contents.append(1.0)),
        "INVALID_ARGUMENT",
        "must have 8 values",
    ),
    "text that is not UTF-8 in a tensor": (
        altered(lambda r: r.inputs[3].contents.bytes_contents.__setitem__(2, b"\xff")),
        "INVALID_ARGUMENT",
        "not UTF-8 in element 2",
    ),
    "a number that is not finite": (
        altered(lambda r: r.inputs[0].contents.fp64_contents.__setitem__(2, float("inf"))),
        "INVALID_ARGUMENT",
        'row 2, column "pressure"',
    ),
    "raw contents besides typed ones": (
        altered(lambda r: r.raw_input_contents.extend([b""] * 5)),
        "INVALID_ARGUMENT",
        "raw_input_contents",
    ),
    "an unknown parameter": (
        with_parameters(columns(), beta=1.0),
        "INVALID_ARGUMENT",
        "no parameter",
    ),
    "alpha as text": (with_parameters(columns(), alpha="0.05"), "INVALID_ARGUMENT", "`alpha`"),
    "an alpha that no calibration supports": (
        with_parameters(columns(), alpha=1e-9),
        "INVALID_ARGUMENT",
        "calibration",
    ),
    "explain as a number": (with_parameters(columns(), explain=1), "INVALID_ARGUMENT", "`explain`"),
    "an empty parameter": (
        altered(lambda r: r.parameters["explain"].SetInParent()),
        "INVALID_ARGUMENT",
        "`explain`",
    ),
    "a parameter of REST": (
        with_parameters(columns(), binary_data_output=True),
        "INVALID_ARGUMENT",
        "REST",
    ),
    "an unknown output": (
        altered(lambda r: r.outputs.add(name="x")),
        "INVALID_ARGUMENT",
        "no output",
    ),
    "an output parameter of REST": (
        altered(lambda r: r.outputs.add(name="score").parameters["binary_data"].SetInParent()),
        "INVALID_ARGUMENT",
        "REST",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_message_is_told_what_is_wrong_with_it(fault: str, pumps: Line) -> None:
    message, code, words = FAULTS[fault]

    answer = pumps.infer(message)

    assert (answer.code, words in answer.details) == (code, True), answer.details


@pytest.mark.parametrize("count", [2, 3])
def test_raw_contents_are_there_for_every_input_or_for_none(count: int, plain: Line) -> None:
    assert plain.infer(raw_for(count)).code == "INVALID_ARGUMENT"
    assert plain.infer(raw_for(1)).code == "OK"


@pytest.mark.parametrize("length", [0, 1, MATRIX.nbytes - 1, MATRIX.nbytes + 1])
def test_raw_contents_of_another_length_are_refused(length: int, plain: Line) -> None:
    request = matrix()
    request.raw_input_contents[0] = b"\0" * length

    assert plain.infer(request).code == "INVALID_ARGUMENT"


def test_what_is_wrong_is_told_within_what_clients_take(pumps: Line) -> None:
    request = columns()
    for i in range(40):
        request.inputs.add(name=f"{i}" + "\U0001f4a7" * 100, datatype="FP64", shape=[0])

    answer = pumps.infer(request)

    assert answer.code == "INVALID_ARGUMENT"
    assert "is not a column" in answer.details


UNREAD: dict[str, tuple[str, Any, dict[str, Any], str]] = {
    "a method that there is not": (f"{SERVICE}RepositoryIndex", b"", {}, "UNIMPLEMENTED"),
    "another service": ("/grpc.health.v1.Health/Check", b"", {}, "UNIMPLEMENTED"),
    "a path that is none": ("/\u00fc", b"", {}, "UNIMPLEMENTED"),
    "a message that is too large": (
        "ModelInfer",
        b"\0" * (BODY_BYTES + 1),
        {},
        "RESOURCE_EXHAUSTED",
    ),
    "a compressed message": (
        "ModelInfer",
        b"\0" * BODY_BYTES,
        {"compression": grpc.Compression.Gzip},
        "UNIMPLEMENTED",
    ),
    "metadata that are too large": (
        "ServerLive",
        b"",
        {"metadata": (("authorization", "x" * 70_000),)},
        "RESOURCE_EXHAUSTED",
    ),
}


@pytest.mark.parametrize("what", UNREAD)
def test_what_is_not_read_has_a_status_too(what: str, pumps: Line) -> None:
    method, message, how, code = UNREAD[what]

    assert pumps.call(method, message, **how).code == code
    assert pumps.call("ServerLive").code == "OK"


def test_a_call_without_a_message_is_refused(pumps: Line) -> None:
    streamed = pumps.channel.stream_unary(f"{SERVICE}ModelInfer")

    assert ended(streamed, iter(())).code == "INVALID_ARGUMENT"


def test_a_message_that_does_not_come_is_given_up(pumps: Line) -> None:
    silence = threading.Event()

    def nothing() -> Iterator[bytes]:
        silence.wait(30)
        yield b""

    answer = ended(pumps.channel.stream_unary(f"{SERVICE}ModelInfer"), nothing())
    silence.set()

    assert answer.code == "DEADLINE_EXCEEDED"
    assert "not complete within 1 seconds" in answer.details


def test_a_model_of_images_has_no_tensors(image_artifact: Path) -> None:
    with line(image_artifact) as images:
        name = image_artifact.name
        described = images.call("ModelMetadata", triton.ModelMetadataRequest(name=name))

        assert list(triton.ModelMetadataResponse.FromString(described.body).inputs) == []
        answer = images.infer(triton.ModelInferRequest(model_name=name))
        assert (answer.code, "/v1/score" in answer.details) == ("INVALID_ARGUMENT", True)


def test_of_several_models_each_answers_by_its_name(
    artifact: Path, numbers_artifact: Path, detector: Detector, numeric: Detector
) -> None:
    with line(artifact, str(numbers_artifact)) as both:
        for request, expected in (
            (columns(), detector.anomaly_score(RECORDS)),
            (matrix(), numeric.anomaly_score(ROWS)),
        ):
            np.testing.assert_array_equal(both.infer(request).outputs["score"], expected)
        assert both.infer(triton.ModelInferRequest(model_name="valves")).code == "NOT_FOUND"


SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 8, -1, 2**40, 2**62]), max_size=3)
NAMES = st.sampled_from(["input", *NUMBERS.names, "", "x"])
KINDS = st.sampled_from([*CONTENTS, "FP16", "", "BF16"])
CHOICE = {
    "bool_param": st.booleans(),
    "int64_param": st.integers(-(2**63), 2**63 - 1),
    "string_param": st.text(max_size=5),
    "double_param": st.floats(),
    "uint64_param": st.integers(0, 2**64 - 1),
}
VALUES = {
    "fp64_contents": st.floats(),
    "fp32_contents": st.floats(width=32),
    "int_contents": st.integers(-(2**31), 2**31 - 1),
    "int64_contents": st.integers(-(2**63), 2**63 - 1),
    "uint_contents": st.integers(0, 2**32 - 1),
    "uint64_contents": st.integers(0, 2**64 - 1),
    "bool_contents": st.booleans(),
    "bytes_contents": st.binary(max_size=4),
}
LENGTHS = st.sampled_from([0, 1, 2, 3, 8, 24])


@st.composite
def contents(draw: Any) -> Any:
    field = draw(st.sampled_from(sorted(VALUES)))
    length = draw(LENGTHS)
    values = draw(st.lists(VALUES[field], min_size=length, max_size=length))
    return triton.InferTensorContents(**{field: values})


@st.composite
def requests(draw: Any) -> Any:
    """Messages that a client could send, of which few make sense."""
    request = triton.ModelInferRequest(model_name="numbers")
    for _ in range(draw(st.integers(0, 4))):
        tensor = request.inputs.add(name=draw(NAMES), datatype=draw(KINDS), shape=draw(SHAPES))
        if draw(st.booleans()):
            tensor.contents.CopyFrom(draw(contents()))
    request.raw_input_contents.extend(draw(st.lists(st.binary(max_size=30), max_size=4)))
    for name in draw(st.sets(st.sampled_from(["alpha", "explain", "x"]), max_size=2)):
        field = draw(st.sampled_from(sorted(CHOICE)))
        setattr(request.parameters[name], field, draw(CHOICE[field]))
    for name in draw(st.lists(st.sampled_from(["score", "contribution", "x"]), max_size=2)):
        request.outputs.add(name=name)
    return request


REPEATED = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(requests())
@REPEATED
def test_no_message_is_a_bug(plain: Line, request: Any) -> None:
    answer = plain.infer(request)

    assert answer.code in ("OK", "INVALID_ARGUMENT"), answer.details


WHOLE = matrix(alpha=0.05).SerializeToString()


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=3))))
@REPEATED
def test_no_damage_is_a_bug(plain: Line, places: list[tuple[int, bytes]]) -> None:
    body = bytearray(WHOLE)
    for at, found in places:
        body[at : at + len(found)] = found

    answer = plain.infer(bytes(body))

    assert answer.code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND"), answer.details
    assert places or answer.code == "OK"


def test_calls_and_rows_are_counted(numbers_artifact: Path) -> None:
    with line(numbers_artifact) as own:
        own.infer(matrix())
        own.infer(b"\xff")
        own.call("/no/method")
        text = httpx.get(own.process.metrics_url, timeout=20).text

    samples = {
        (
            sample.name,
            sample.labels.get("grpc_method"),
            sample.labels.get("grpc_code"),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["grpc_server_handled_total", "ModelInfer", "OK"] == 1
    assert samples["grpc_server_handled_total", "ModelInfer", "INVALID_ARGUMENT"] == 1
    assert samples["grpc_server_handled_total", "none", "UNIMPLEMENTED"] == 1
    assert samples["grpc_server_handling_seconds_count", "ModelInfer", None] == 2
    assert samples["anomaly_rows_scored_total", None, None] == 8
