"""A real process on real sockets: hostile framing, slow clients, signals, metrics."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from anomaly.detector import Detector
from anomaly.image_detector import ImageDetector
from service.settings import PREFIX
from tests.service.pumps import as_request, normal_records

BODY_BYTES = 200_000
HEAD_BYTES = 65_536
GOOD = json.dumps(as_request(normal_records(2, seed=3))).encode()


@dataclass(frozen=True)
class Process:
    """A running service and where it listens."""

    popen: subprocess.Popen[str]
    greeting: str
    url: str
    metrics_url: str

    def connect(self) -> socket.socket:
        """A raw connection."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        return socket.create_connection((parts.hostname, parts.port or 0), timeout=20)

    def exchange(self, *chunks: bytes) -> bytes:
        """Send the bytes and read until the service closes or answers in full."""
        with self.connect() as connection:
            for chunk in chunks:
                connection.sendall(chunk)
            return read_all(connection)

    def memory_bytes(self) -> int:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    def is_ready(self) -> bool:
        return httpx.get(f"{self.url}/readyz", timeout=20).status_code == 200


def read_all(connection: socket.socket) -> bytes:
    received = b""
    try:
        while chunk := connection.recv(65_536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def request_of(body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [
        "POST /v1/score HTTP/1.1",
        "host: pumps",
        "content-type: application/json",
        "connection: close",
        f"content-length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


@contextmanager
def running(model: Path | str, *arguments: str, **settings: str) -> Iterator[Process]:
    command = [sys.executable, "-m", "anomaly", "serve", str(model)]
    popen = subprocess.Popen(
        [*command, "--port", "0", "--metrics-port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **{PREFIX + name: value for name, value in settings.items()}},
    )
    try:
        assert popen.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("metrics"):
            line = popen.stdout.readline()
            assert line, popen.communicate()[1]
            lines.append(line)
        urls = {line.split()[0]: line.split()[-1] for line in lines[1:]}
        url = urls["API"].removesuffix("/v1/score")
        yield Process(popen, "".join(lines), url, urls["metrics"])
    finally:
        popen.kill()
        popen.communicate()


@pytest.fixture(scope="module")
def process(artifact: Path) -> Iterator[Process]:
    limits = {
        "LIMITS__BODY_BYTES": str(BODY_BYTES),
        "LIMITS__BODY_SECONDS": "1",
        "LIMITS__HEAD_SECONDS": "1",
    }
    with running(artifact, **limits) as started:
        yield started


def test_a_large_request_and_the_begin_of_the_next_may_come_together(artifact: Path) -> None:
    """The body of the first is no part of the head of the second."""
    rows = as_request(normal_records(2_000, seed=3))
    large = request_of(json.dumps(rows).encode()).replace(b"connection: close\r\n", b"")
    assert len(large) > HEAD_BYTES
    with running(artifact) as process, process.connect() as connection:
        connection.sendall(large + b"GET /livez HTT")
        time.sleep(0.2)
        connection.sendall(b"P/1.1\r\nhost: pumps\r\nconnection: close\r\n\r\n")
        answered = read_all(connection)

    assert answered.startswith(b"HTTP/1.1 200")
    assert answered.count(b"HTTP/1.1 200") == 2


def test_it_says_what_it_serves_and_where(process: Process, detector: Detector) -> None:
    first, *_ = process.greeting.splitlines()

    assert first.startswith("pumps: ")
    assert (
        f"alpha {detector.calibration.alpha:g} from {detector.calibration.n} calibration rows"
        in (first)
    )
    assert "on cpu (numpy)" in first
    assert f"{process.url}/docs" in process.greeting
    assert httpx.get(f"{process.url}/docs").status_code == 200


def test_of_images_it_says_that_images_calibrated(
    image_artifact: Path, image_detector: ImageDetector
) -> None:
    with running(image_artifact) as started:
        assert f"from {image_detector.calibration.n} calibration images" in started.greeting


def test_scores_over_a_socket_are_the_detectors_to_the_bit(
    process: Process, detector: Detector
) -> None:
    records = normal_records(300, seed=8)

    answer = httpx.post(f"{process.url}/v1/score", json=as_request(records), timeout=20)

    assert answer.json()["scores"] == detector.anomaly_score(records).tolist()


def test_metrics_have_a_port_of_their_own(process: Process) -> None:
    httpx.post(
        f"{process.url}/v1/score", content=GOOD, headers={"content-type": "application/json"}
    )

    text = httpx.get(process.metrics_url).text

    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"http_requests", "anomaly_rows_scored", "anomaly_p_value"} <= names
    assert httpx.get(f"{process.url}/metrics").status_code == 404


REFUSED: dict[str, tuple[bytes, set[int]]] = {
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, {400}),
    "no path": (b"GET\r\n\r\n", {400}),
    "content-length and chunked": (
        request_of(b"0\r\n\r\n", "transfer-encoding: chunked"),
        {400},
    ),
    "two content-lengths": (request_of(GOOD, "content-length: 5"), {400}),
    "negative content-length": (request_of(GOOD, length=-1), {400}),
    "content-length of many digits": (request_of(b"", length=10**40), {400}),
    "content-length over the limit": (request_of(b"{", length=10**12), {413}),
    "bad chunk size": (
        request_of(b"", "x: y").replace(b"content-length: 0", b"transfer-encoding: chunked")
        + b"zz\r\n{}\r\n0\r\n\r\n",
        {400},
    ),
    "space before the colon": (request_of(GOOD, "x-a : b"), {400}),
    "NUL in a header": (request_of(GOOD, "x-a: a\0b"), {400}),
    "path with dots": (b"POST /static-offline-docs/../v1/score HTTP/1.1\r\n\r\n", {404, 405}),
    "path with encoded dots": (
        b"GET /static-offline-docs/%2e%2e/core.py HTTP/1.1\r\n\r\n",
        {404, 405},
    ),
    "path beyond ASCII": (b"GET /\xff\xfe HTTP/1.1\r\n\r\n", {400, 404}),
    "a whole URL as the path": (b"GET http://evil.example/admin HTTP/1.1\r\n\r\n", {400, 404}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_framing_is_refused_and_the_service_lives_on(name: str, process: Process) -> None:
    message, statuses = REFUSED[name]

    with process.connect() as connection:
        connection.sendall(message)
        answer = connection.recv(65_536)

    assert status_of(answer) in statuses
    assert b"application/problem+json" in answer
    assert process.is_ready()


def test_a_body_shorter_than_it_says_is_given_up_after_the_time_limit(process: Process) -> None:
    answer = process.exchange(request_of(GOOD, length=len(GOOD) + 100))

    assert status_of(answer) == 408
    assert b"body_too_slow" in answer


def test_bytes_beyond_the_declared_length_are_not_read_as_a_body(process: Process) -> None:
    answer = process.exchange(request_of(GOOD, length=len(GOOD)) + b"DELETE / HTTP/1.1\r\n\r\n")

    assert status_of(answer) == 200
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_hundred_thousand_chunks_of_one_byte_are_one_body(process: Process) -> None:
    padded = GOOD + b" " * (100_000 - len(GOOD))
    head = request_of(b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in padded) + b"0\r\n\r\n"

    assert status_of(process.exchange(head, chunks)) == 200


def test_a_chunked_body_without_end_is_cut_off_at_the_limit(process: Process) -> None:
    head = request_of(b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    before = process.memory_bytes()
    sent = 0

    with process.connect() as connection:
        connection.sendall(head)
        try:
            for _ in range(2_000):
                connection.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass

    # What the kernels buffer on both sides is not read by anyone.
    assert BODY_BYTES < sent < 32 * 2**20
    assert process.memory_bytes() - before < 16 * 2**20
    assert process.is_ready()


@pytest.mark.parametrize(
    "line", [b"x-bomb: %s\r\n" % (b"a" * 100), b"a" * 1000], ids=["many headers", "one header"]
)
def test_a_header_bomb_is_cut_off(process: Process, line: bytes) -> None:
    before = process.memory_bytes()
    answer = b""

    with process.connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + (b"x: " if b":" not in line else b""))
        try:
            for _ in range(100_000):
                connection.sendall(line * 10)
        except OSError:
            pass
        answer = read_all(connection)

    # The refusal may be lost to the bytes that were still on their way.
    assert status_of(answer) in (0, 431)
    assert process.memory_bytes() - before < 16 * 2**20
    assert process.is_ready()


def test_a_head_just_over_the_limit_is_431(process: Process) -> None:
    with process.connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nx: " + b"a" * HEAD_BYTES)
        answer = connection.recv(65_536)

    assert status_of(answer) == 431
    assert b"head_too_large" in answer


@pytest.mark.parametrize("beginning", [b"", b"GET /livez HTTP/1.1\r\nx-slow: "])
def test_a_head_that_does_not_end_is_given_up(process: Process, beginning: bytes) -> None:
    assert status_of(process.exchange(beginning)) == 408


def test_slow_connections_do_not_keep_others_waiting(process: Process) -> None:
    slow = [process.connect() for _ in range(100)]
    try:
        for i, connection in enumerate(slow):
            connection.sendall(
                b"GET /livez HTTP/1.1\r\nx" if i % 2 else request_of(GOOD[:5], length=len(GOOD))
            )
        for _ in range(20):
            assert process.is_ready()
        assert [status_of(read_all(connection)) for connection in slow] == [408] * 100
    finally:
        for connection in slow:
            connection.close()


def test_a_client_that_goes_away_leaves_nothing_behind(process: Process) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{process.popen.pid}/fd").iterdir()))

    assert process.is_ready()
    before = descriptors()
    for _ in range(100):
        with process.connect() as connection:
            connection.sendall(request_of(GOOD[:50], length=len(GOOD)))

    assert eventually(lambda: descriptors() <= before + 2)
    assert process.is_ready()


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_sigterm_says_no_first_answers_on_and_exits_with_zero(artifact: Path) -> None:
    with running(artifact, DRAIN_SECONDS="1") as process:
        statuses: list[int] = []
        stop = threading.Event()

        def keep_asking() -> None:
            with httpx.Client(timeout=20) as client:
                while not stop.is_set():
                    try:
                        answer = client.post(
                            f"{process.url}/v1/score",
                            content=GOOD,
                            headers={"content-type": "application/json"},
                        )
                    except httpx.ConnectError:
                        return
                    statuses.append(answer.status_code)

        asking = threading.Thread(target=keep_asking)
        asking.start()
        assert eventually(lambda: len(statuses) > 5)
        process.popen.send_signal(signal.SIGTERM)

        assert eventually(lambda: httpx.get(f"{process.url}/readyz").status_code == 503)
        answered = len(statuses)
        assert process.popen.wait(20) == 0
        stop.set()
        asking.join()

    assert len(statuses) > answered
    assert set(statuses) == {200}


def test_a_request_that_has_begun_is_finished_after_sigterm(artifact: Path) -> None:
    with running(artifact, DRAIN_SECONDS="0") as process, process.connect() as connection:
        message = request_of(GOOD)
        connection.sendall(message[:-10])
        assert process.is_ready()
        process.popen.send_signal(signal.SIGTERM)
        assert eventually(lambda: not is_listening(process))
        connection.sendall(message[-10:])

        assert status_of(read_all(connection)) == 200
        assert process.popen.wait(20) == 0


def is_listening(process: Process) -> bool:
    try:
        process.connect().close()
    except OSError:
        return False
    return True


def test_a_second_signal_does_not_wait(artifact: Path) -> None:
    with running(artifact, DRAIN_SECONDS="60", GRACE_SECONDS="60") as process:
        assert process.is_ready()
        with process.connect() as connection:
            connection.sendall(request_of(GOOD, length=len(GOOD) + 1))
            for _ in range(3):
                process.popen.send_signal(signal.SIGTERM)
                time.sleep(0.2)

            assert process.popen.wait(20) == 0


def test_ctrl_c_exits_with_zero_at_once(artifact: Path) -> None:
    with running(artifact, DRAIN_SECONDS="60") as process:
        assert process.is_ready()
        process.popen.send_signal(signal.SIGINT)

        assert process.popen.wait(20) == 0


def logged_by(artifact: Path, **settings: str) -> list[str]:
    """What a service writes to stderr while it answers one request and a broken one."""
    with running(artifact, DRAIN_SECONDS="0", ACCESS_LOG="true", **settings) as process:
        process.exchange(request_of(GOOD, "x-request-id: r-1"))
        process.exchange(b"nonsense\r\n\r\n")
        process.popen.terminate()
        return process.popen.communicate(timeout=20)[1].splitlines()


def test_its_log_is_json_where_nobody_looks_on(artifact: Path) -> None:
    events = [json.loads(line) for line in logged_by(artifact)]

    began, answered = events[0], events[1]
    assert (began["event"], began["model"]) == ("version unregistered of pumps is served", "pumps")
    assert (answered["event"], answered["request_id"]) == ("answered", "r-1")
    assert answered["status"] == 200


def test_its_log_is_text_where_that_is_asked_for(artifact: Path) -> None:
    first = logged_by(artifact, LOG_FORMAT="console")[0]

    assert "version unregistered of pumps is served" in first
    assert not first.startswith("{")


@pytest.mark.parametrize("way", ["accept: application/json", "accept: text/csv"])
def test_either_way_of_a_score_request_carries_its_trace(artifact: Path, way: str) -> None:
    traceparent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with running(artifact, DRAIN_SECONDS="0", ACCESS_LOG="true") as process:
        answer = process.exchange(request_of(GOOD, traceparent, way))
        process.popen.terminate()
        log = process.popen.communicate(timeout=20)[1].splitlines()

    assert f"\r\n{traceparent}\r\n".encode() in answer
    (said,) = (line for line in map(json.loads, log) if line["event"] == "answered")
    assert (said["handler"], said["status"]) == ("/v1/score", 200)
    assert said["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
