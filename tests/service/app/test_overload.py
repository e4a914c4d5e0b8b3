"""A real service that is asked for more than it can do, and callers that leave or stay."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.service.app.test_server import Process, eventually, request_of, running
from tests.service.pumps import as_request, normal_records

CALLERS = 12
HEADERS = {"content-type": "application/json"}
SLOW_ROWS = 10_000
"""As many as a request may have; with explanations they take a good part of a second."""


@pytest.fixture(scope="module")
def large() -> bytes:
    """A body of more bytes than one read takes."""
    return json.dumps(as_request(normal_records(SLOW_ROWS, seed=4))).encode()


def samples(process: Process) -> dict[tuple[str, str], float]:
    """Values by name, and the status where there is one."""
    text = httpx.get(process.metrics_url, timeout=20).text
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, sample.labels.get("status", ""))
            found[key] = found.get(key, 0) + sample.value
    return found


def in_parallel(call: Callable[[], object]) -> list[object]:
    with ThreadPoolExecutor(CALLERS) as pool:
        calls = [pool.submit(call) for _ in range(CALLERS)]
        return [done.result(60) for done in calls]


def test_a_refusal_says_when_to_come_back_and_leaves_the_connection(
    artifact: Path, large: bytes
) -> None:
    """Also when it comes before the body has been sent, or is read."""
    with running(artifact, QUEUE__MAX_ROWS="1") as process:
        parts = urlsplit(process.url)

        def call() -> list[int]:
            connection = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
            connection.connect()
            first, statuses = connection.sock, []
            for _ in range(5):
                connection.request("POST", "/v1/score", large, HEADERS)
                answer = connection.getresponse()
                body = answer.read()
                statuses.append(answer.status)
                if answer.status == 503:
                    assert int(answer.headers["retry-after"]) >= 1
                    assert json.loads(body)["code"] == "overloaded"
                assert connection.sock is first
            connection.close()
            return statuses

        statuses = in_parallel(call)
        counted = samples(process)

    flat = [status for of_one in statuses if isinstance(of_one, list) for status in of_one]
    assert set(flat) == {200, 503}
    for status in (200, 503):
        assert counted[("http_requests_total", str(status))] == flat.count(status)


def test_what_a_caller_that_has_gone_asked_for_is_not_computed(
    artifact: Path, large: bytes
) -> None:
    slow = 8
    quick = request_of(json.dumps(as_request(normal_records(7, seed=5))).encode())
    with running(artifact, QUEUE__MAX_ROWS=str(10 * SLOW_ROWS)) as process:
        waiting = [process.connect() for _ in range(slow)]
        for connection in waiting:
            message = request_of(large).replace(b"/v1/score", b"/v1/score?explain=true")
            connection.sendall(message)
        assert eventually(lambda: samples(process)[("anomaly_queue_rows", "")] > 0)
        with process.connect() as gone:
            gone.sendall(quick)
        assert eventually(lambda: samples(process).get(("http_requests_total", "499")) == 1)
        for connection in waiting:
            assert connection.recv(12) == b"HTTP/1.1 200"
            connection.close()
        counted = samples(process)

    assert counted[("anomaly_rows_scored_total", "")] == slow * SLOW_ROWS
    assert counted[("anomaly_queue_rows", "")] == 0


def test_sigterm_under_load_loses_no_request(artifact: Path) -> None:
    """Callers that stay away once the service is not ready, as a load balancer does."""
    body = json.dumps(as_request(normal_records(200, seed=6))).encode()
    with running(artifact, DRAIN_SECONDS="3") as process:
        leaving, statuses = threading.Event(), list[int]()

        def call() -> None:
            while not leaving.is_set():
                answer = httpx.post(
                    f"{process.url}/v1/score", content=body, headers=HEADERS, timeout=30
                )
                statuses.append(answer.status_code)

        def stop() -> None:
            assert eventually(lambda: len(statuses) > CALLERS)
            process.popen.send_signal(signal.SIGTERM)
            assert eventually(lambda: not process.is_ready())
            leaving.set()

        stopping = threading.Thread(target=stop)
        stopping.start()
        in_parallel(call)
        stopping.join()

        assert process.popen.wait(30) == 0
    assert set(statuses) == {200}
