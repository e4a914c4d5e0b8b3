"""What names a call: in its answer, in the log, and in traces, as over HTTP."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import StatusCode
from tritonclient.grpc import service_pb2 as triton

from service.tracing.semantics import rpc_ended
from tests.service.grpc.calling import MATRIX, Line, line, matrix
from tests.service.tracing.collector import attributes_of, collecting
from tests.service.tracing.recording import PARENT, TRACE, TRACEPARENT

MODEL_READY = triton.ModelReadyRequest(name="valves")
INFER = "inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module")
def plain(numbers_artifact: Path) -> Iterator[Line]:
    with line(numbers_artifact) as found:
        yield found


@pytest.mark.parametrize("message", [matrix(), b"\xff"], ids=["answered", "refused"])
def test_an_answer_has_a_request_id_of_its_own_or_the_callers(plain: Line, message: Any) -> None:
    own = [plain.infer(message).trailing["x-request-id"] for _ in range(2)]
    given = plain.infer(message, metadata=[("x-request-id", "a-1.b_2")])
    insane = plain.infer(message, metadata=[("x-request-id", "<script>")])

    assert len(set(own)) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", request_id) for request_id in own)
    assert given.trailing["x-request-id"] == "a-1.b_2"
    assert re.fullmatch("[0-9a-f]{32}", insane.trailing["x-request-id"])


@pytest.mark.parametrize("message", [matrix(), b"\xff"], ids=["answered", "refused"])
def test_a_valid_traceparent_comes_back_and_another_does_not(plain: Line, message: Any) -> None:
    valid = plain.infer(message, metadata=[("traceparent", TRACEPARENT)])
    broken = plain.infer(message, metadata=[("traceparent", TRACEPARENT[:-1])])
    bytes_ = plain.infer(message, metadata=[("traceparent-bin", b"\xff\xfe")])

    assert valid.trailing["traceparent"] == TRACEPARENT
    assert "traceparent" not in broken.trailing
    assert "traceparent" not in bytes_.trailing


def logged_by(artifact: Path, calls: Sequence[tuple[str, Any]], **settings: str) -> list[Any]:
    """The lines about calls that a service writes."""
    with line(artifact, DRAIN_SECONDS="0", **settings) as found:
        for method, message in calls:
            metadata = [("x-request-id", "r-1"), ("traceparent", TRACEPARENT)]
            found.call(method, message, metadata)
        found.process.popen.send_signal(signal.SIGTERM)
        log = found.process.popen.communicate(timeout=20)[1].splitlines()
    return [said for said in map(json.loads, log) if "grpc_code" in said]


def test_calls_are_logged_where_requests_are(numbers_artifact: Path) -> None:
    calls = [("ModelInfer", matrix()), ("ModelReady", MODEL_READY), ("/secret/Secret", b"")]

    answered, refused, unknown = logged_by(numbers_artifact, calls, ACCESS_LOG="true")

    for said in (answered, refused, unknown):
        assert (said["event"], said["request_id"]) == ("answered", "r-1")
        assert (said["trace_id"], said["parent_id"]) == (TRACE, PARENT)
        assert 0 < said["seconds"] < 60
    assert answered["handler"] == f"/{INFER}"
    assert (answered["grpc_code"], refused["grpc_code"]) == ("OK", "NOT_FOUND")
    assert answered["body_bytes"] == matrix().ByteSize() > MATRIX.nbytes
    assert (unknown["handler"], unknown["grpc_code"]) == ("none", "UNIMPLEMENTED")
    assert "ecret" not in json.dumps(unknown)


def test_calls_are_logged_only_when_asked_for(numbers_artifact: Path) -> None:
    assert logged_by(numbers_artifact, [("ModelInfer", matrix())]) == []


def test_the_span_of_a_call_says_what_it_was(
    numbers_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that does not score has none."""
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        calls = [("ModelInfer", matrix()), ("ModelReady", MODEL_READY), ("ModelInfer", b"\xff")]
        logged_by(numbers_artifact, calls)

    answered, refused = collector.servers
    assert attributes_of(answered) == {
        "rpc.system": "grpc",
        "rpc.service": "inference.GRPCInferenceService",
        "rpc.method": "ModelInfer",
        "rpc.grpc.status_code": 0,
        "anomaly.request_id": "r-1",
    }
    assert (answered.name, answered.trace_id.hex(), answered.parent_span_id.hex()) == (
        INFER,
        TRACE,
        PARENT,
    )
    assert collector.below(answered) == ["decode", "queue", "forward", "respond"]
    assert attributes_of(refused)["rpc.grpc.status_code"] == 3
    assert refused.status.code == StatusCode.UNSET.value


@pytest.mark.parametrize(
    ("code", "fault"),
    [("INTERNAL", "INTERNAL"), ("UNAVAILABLE", "UNAVAILABLE"), ("NOT_FOUND", None), ("OK", None)],
)
def test_what_is_no_fault_of_the_callers_is_an_error(code: str, fault: str | None) -> None:
    assert rpc_ended(code, 0).fault == fault
