"""A real process sends its spans to a real collector; without OpenTelemetry it serves, too."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.app.test_server import request_of, running, status_of
from tests.service.grpc.calling import line, matrix
from tests.service.pumps import NUMBERS, numbers
from tests.service.tracing.collector import attributes_of, collecting
from tests.service.tracing.recording import PARENT, TRACE, TRACEPARENT

BODY = json.dumps(
    {"columns": NUMBERS.names, "rows": numbers(3, seed=5).numbers(NUMBERS.names).tolist()}
).encode()
PHASES = ["decode", "queue", "forward", "respond"]


def test_spans_of_http_and_grpc_reach_the_collector_before_the_process_ends(
    numbers_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent before: what waits is sent at SIGTERM."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pumps-east")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with line(numbers_artifact, DRAIN_SECONDS="0", ACCESS_LOG="true") as found:
            answer = found.process.exchange(request_of(BODY, f"traceparent: {TRACEPARENT}"))
            called = found.infer(matrix(), metadata=[("traceparent", TRACEPARENT)])
            is_early = bool(collector.requests)
            found.process.popen.send_signal(signal.SIGTERM)
            log = found.process.popen.communicate(timeout=20)[1].splitlines()
            assert found.process.popen.returncode == 0

    assert (status_of(answer), called.code, is_early) == (200, "OK", False)
    assert collector.paths == {"/v1/traces"}
    assert collector.service_names == {"pumps-east"}
    assert {span.name for span in collector.servers} == {
        "POST /v1/score",
        "inference.GRPCInferenceService/ModelInfer",
    }
    spans = {span.name: span for span in collector.servers}
    for span in spans.values():
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
        assert collector.below(span) == PHASES
    assert attributes_of(spans["POST /v1/score"])["http.response.status_code"] == 200
    said = [line for line in map(json.loads, log) if line["event"] == "answered"]
    logged = {line["span_id"] for line in said if line["handler"] != "/readyz"}
    assert logged == {span.span_id.hex() for span in collector.servers}


def test_a_collector_that_does_not_answer_holds_nobody_up(
    numbers_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
        with running(numbers_artifact, DRAIN_SECONDS="0") as process:
            statuses = {status_of(process.exchange(request_of(BODY))) for _ in range(20)}
            process.popen.send_signal(signal.SIGTERM)

            assert process.popen.wait(20) == 0

    assert statuses == {200}


def test_spans_can_be_looked_at_without_a_collector(
    numbers_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    with running(numbers_artifact, DRAIN_SECONDS="0") as process:
        process.exchange(request_of(BODY))
        process.popen.send_signal(signal.SIGTERM)
        out, _ = process.popen.communicate(timeout=20)

    assert '"name": "POST /v1/score"' in out


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Processes find neither SDK nor exporter, and leave this file behind if they look for one. The
    API of OpenTelemetry, which does nothing without them, comes with FastAPI."""
    found = tmp_path / "looked for"
    for name in ("sdk", "exporter"):
        package = tmp_path / "opentelemetry" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(
            f"import pathlib\npathlib.Path({str(found)!r}).touch()\n"
            f"raise ModuleNotFoundError('No module named opentelemetry.{name}')\n"
        )
    places = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
    return found


def test_unless_somebody_asks_for_traces_nothing_of_them_is_looked_for(
    numbers_artifact: Path, marker: Path
) -> None:
    with line(numbers_artifact, DRAIN_SECONDS="0") as found:
        whole = found.process.exchange(request_of(BODY, f"traceparent: {TRACEPARENT}"))
        explained = request_of(BODY).replace(b"/v1/score", b"/v1/score?explain=true")
        ordinary = found.process.exchange(explained)
        called = found.infer(matrix())
        found.process.popen.send_signal(signal.SIGTERM)
        assert found.process.popen.wait(20) == 0

    assert (status_of(whole), status_of(ordinary), called.code) == (200, 200, "OK")
    assert not marker.exists()


def test_whoever_asks_for_traces_without_it_is_told_what_to_do(
    numbers_artifact: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")

    done = subprocess.run(
        [sys.executable, "-m", "anomaly", "serve", str(numbers_artifact)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 78
    assert "pip install 'anomaly-vae[otel]'" in done.stderr
    assert marker.exists(), "the check above works"
