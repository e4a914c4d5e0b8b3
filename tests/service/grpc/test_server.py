"""Beside HTTP in one process: versions are swapped between calls, and no call is lost."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as triton

from anomaly.errors import ConfigInvalid
from anomaly.image_detector import of_tables
from service.app.models import Models
from service.app.server import listen
from service.app.switch import Switch
from service.detectors import Served
from service.grpc.server import GrpcServer
from service.scoring.images import Images
from service.scoring.scorer import Common
from service.scoring.tables import Tables
from service.settings import Settings
from tests.service.app.test_server import eventually
from tests.service.app.test_switch import version_of
from tests.service.grpc.calling import ROWS, SERVICE, Answer, address_of, ended, line, matrix


def free_address() -> str:
    with listen("127.0.0.1", 0) as found:
        return f"127.0.0.1:{found.getsockname()[1]}"


@pytest.fixture
def switch(served_numbers: Served) -> Switch:
    return Switch(version_of(served_numbers, 0), Common(Settings(models=("numbers",))))


def server_of(switch: Switch, address: str) -> GrpcServer:
    return GrpcServer(address, switch.common, Models([switch]).requests, None)


def test_under_load_every_answer_is_wholly_of_one_version(
    switch: Switch, served_numbers: Served
) -> None:
    versions = [version_of(served_numbers, number) for number in range(4)]
    expected = {of.version: of_tables(of.detector).anomaly_score(ROWS) for of in versions}

    def swap() -> None:
        for number in range(24):
            switch.serve(versions[number % len(versions)])

    async def main() -> list[bytes]:
        server = server_of(switch, free_address())
        await server.start()
        found: list[bytes] = []
        swapper = Thread(target=swap)
        swapper.start()
        async with grpc.aio.insecure_channel(server.address) as channel:
            infer = channel.unary_unary(f"{SERVICE}ModelInfer")
            while swapper.is_alive():
                found += await asyncio.gather(
                    *(infer(matrix().SerializeToString()) for _ in range(8))
                )
        await server.stop(lambda: False)
        return found

    answers = list(map(triton.ModelInferResponse.FromString, asyncio.run(main())))

    assert {answer.model_version for answer in answers} == set(expected)
    for answer in answers:
        scores = np.frombuffer(answer.raw_output_contents[0])
        np.testing.assert_array_equal(scores, expected[answer.model_version])


def test_a_bug_tells_nothing_of_itself_and_is_found_in_the_log(
    switch: Switch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: str) -> Tables | Images:
        raise RuntimeError("a secret")

    async def main() -> grpc.aio.AioRpcError:
        server = GrpcServer(free_address(), switch.common, broken, None)
        await server.start()
        async with grpc.aio.insecure_channel(server.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await channel.unary_unary(f"{SERVICE}ModelReady")(b"")
        await server.stop(lambda: False)
        return raised.value

    error = asyncio.run(main())

    assert error.code() is grpc.StatusCode.INTERNAL
    assert "a secret" not in str(error.details())
    request_id = re.findall("[0-9a-f]{32}", str(error.details()))[0]
    (record,) = (record for record in caplog.records if record.name == "service")
    assert request_id in record.getMessage()
    assert "a secret" in str(record.exc_info)


def test_an_address_that_was_taken_meanwhile_is_refused(switch: Switch) -> None:
    async def main() -> None:
        first, second = (server_of(switch, address) for address in [free_address()] * 2)
        await first.start()
        try:
            await second.start()
        finally:
            await first.stop(lambda: False)

    with pytest.raises(ConfigInvalid, match="--grpc-port"):
        asyncio.run(main())


def test_sigterm_says_no_first_answers_on_and_exits_with_zero(numbers_artifact: Path) -> None:
    """Whoever asks until the end is answered, until told to ask another instance."""
    with line(numbers_artifact, DRAIN_SECONDS="1") as found:
        answers: list[Answer] = []

        def keep_asking() -> None:
            while not answers or answers[-1].code == "OK":
                answers.append(found.infer(matrix()))

        def is_ready() -> bool:
            body = found.call("ServerReady").body
            return bool(triton.ServerReadyResponse.FromString(body).ready)

        asking = Thread(target=keep_asking)
        asking.start()
        assert eventually(lambda: len(answers) > 5)
        assert is_ready()
        found.process.popen.send_signal(signal.SIGTERM)
        assert eventually(lambda: not is_ready())
        answered = len(answers)
        assert found.process.popen.wait(20) == 0
        asking.join()

    assert len(answers) > answered
    assert answers[-1].code == "UNAVAILABLE"
    assert answers[-1].details == "the service is stopping. Ask another instance."
    assert answers[-1].trailing["retry-after"] == "1"


def test_a_call_that_has_begun_is_finished_after_sigterm(numbers_artifact: Path) -> None:
    with line(numbers_artifact, DRAIN_SECONDS="0") as found:
        go_on, begun = threading.Event(), threading.Event()

        def late() -> Iterator[bytes]:
            begun.set()
            go_on.wait(20)
            yield matrix().SerializeToString()

        method = found.channel.stream_unary(f"{SERVICE}ModelInfer")
        answers = []
        asking = Thread(target=lambda: answers.append(ended(method, late())))
        asking.start()
        begun.wait(20)
        assert found.call("ServerLive").code == "OK"
        found.process.popen.send_signal(signal.SIGTERM)
        with grpc.insecure_channel(address_of(found.process)) as other:
            asked = other.unary_unary(f"{SERVICE}ServerLive")
            assert eventually(lambda: ended(asked, b"").code == "UNAVAILABLE")
        go_on.set()
        asking.join()

        assert [answer.code for answer in answers] == ["OK"]
        assert found.process.popen.wait(20) == 0


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One of HTTP/2."""
    head = struct.pack(">I", len(payload))[1:] + bytes([kind, flags])
    return head + struct.pack(">I", stream) + payload


def call_of(path: bytes) -> bytes:
    """A whole connection of HTTP/2 with one call, which no client would write."""
    headers = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"pumps"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    )
    literal = (b"\0%c%s%c%s" % (len(name), name, len(value), value) for name, value in headers)
    message = frame(0, 1, 1, b"\0" * 5)
    opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
    return opening + frame(1, 4, 1, b"".join(literal)) + message


def test_a_path_that_is_not_utf_8_ends_neither_the_door_nor_what_has_begun(
    numbers_artifact: Path,
) -> None:
    """It ends the main loop of grpc.aio."""
    with line(numbers_artifact) as found:
        go_on, begun = threading.Event(), threading.Event()

        def late() -> Iterator[bytes]:
            begun.set()
            go_on.wait(20)
            yield matrix().SerializeToString()

        method = found.channel.stream_unary(f"{SERVICE}ModelInfer")
        answers = []
        asking = Thread(target=lambda: answers.append(ended(method, late())))
        asking.start()
        begun.wait(20)
        host, _, port = address_of(found.process).rpartition(":")
        for _ in range(3):
            assert eventually(lambda: found.infer(matrix()).code == "OK")
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                connection.sendall(call_of(b"/\xff"))
                answered = b""
                while b"grpc-status" not in answered:
                    answered += connection.recv(65_536)
        assert eventually(lambda: found.infer(matrix()).code == "OK")
        go_on.set()
        asking.join()

        assert [answer.code for answer in answers] == ["OK"]
        found.process.popen.send_signal(signal.SIGINT)
        assert found.process.popen.wait(20) == 0


def test_a_second_signal_does_not_wait(numbers_artifact: Path) -> None:
    limits = {"DRAIN_SECONDS": "60", "GRACE_SECONDS": "60", "LIMITS__BODY_SECONDS": "60"}
    with line(numbers_artifact, **limits) as found:
        silence, begun = threading.Event(), threading.Event()

        def nothing() -> Iterator[bytes]:
            begun.set()
            silence.wait(30)
            yield b""

        method = found.channel.stream_unary(f"{SERVICE}ModelInfer")
        asking = Thread(target=lambda: ended(method, nothing()))
        asking.start()
        begun.wait(20)
        assert found.call("ServerLive").code == "OK"
        for _ in range(3):
            found.process.popen.send_signal(signal.SIGTERM)
            time.sleep(0.2)

        assert found.process.popen.wait(20) == 0
        silence.set()
        asking.join()
