"""Keys, shares and room are those of HTTP: one gate, one memory, one queue for both doors."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tritonclient import grpc as client_of_triton
from tritonclient.grpc import service_pb2 as triton

from service.access.keys import Role, make_key, write_keys
from tests.service.app.test_server import eventually
from tests.service.grpc.calling import Answer, Line, address_of, line, matrix

NEEDS: dict[str, Role | None] = {
    "ServerLive": None,
    "ServerReady": None,
    "ServerMetadata": Role.READ,
    "ModelReady": Role.READ,
    "ModelMetadata": Role.READ,
    "ModelInfer": Role.SCORE,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Role.READ,
}
"""Of every method, and of one that there is not."""

MOST_BYTES = 60_000


@dataclass(frozen=True)
class Door:
    """A service with keys of each kind."""

    line: Line
    tokens: dict[str, str]

    def knock(self, method: str, who: str | None, scheme: str = "Bearer") -> Answer:
        metadata = () if who is None else (("authorization", f"{scheme} {self.tokens[who]}"),)
        return self.line.call(method, metadata=metadata)


@pytest.fixture(scope="module")
def door(numbers_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    made = {role.value: make_key(role) for role in Role}
    made["expired"] = make_key(Role.ADMIN, days=0)
    made["small"] = make_key(Role.SCORE, per_minute=1)
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    write_keys(path, [key for key, _ in made.values()])
    tokens = {name: token for name, (_, token) in made.items()}
    with line(numbers_artifact, "--keys", str(path)) as found:
        yield Door(found, {**tokens, "unknown": make_key(Role.ADMIN)[1]})


def test_of_tritons_methods_there_are_those_of_the_table_and_no_others(door: Door) -> None:
    (service,) = triton.DESCRIPTOR.services_by_name.values()

    there = {m.name for m in service.methods if door.knock(m.name, "admin").code != "UNIMPLEMENTED"}

    assert there == {method for method in NEEDS if not method.startswith("/")}


@pytest.mark.parametrize("who", [None, "expired", "unknown", *Role])
@pytest.mark.parametrize("method", NEEDS)
def test_who_may_pass(method: str, who: str | None, door: Door) -> None:
    needed = NEEDS[method]

    code = door.knock(method, who).code

    if needed is None or who in (needed, Role.ADMIN):
        assert code not in ("UNAUTHENTICATED", "PERMISSION_DENIED")
    elif who in tuple(Role):
        assert code == "PERMISSION_DENIED"
    else:
        assert code == "UNAUTHENTICATED"


def test_a_key_of_another_scheme_is_no_key(door: Door) -> None:
    assert door.knock("ModelInfer", "admin", scheme="Basic").code == "UNAUTHENTICATED"
    assert door.knock("ServerMetadata", "admin", scheme="bearer").code == "OK"


def test_who_may_not_pass_is_not_heard(door: Door) -> None:
    """A message that would be refused is not even read."""
    assert door.line.call("ModelInfer", b"\xff" * 1000).code == "UNAUTHENTICATED"


def test_tritons_client_brings_its_key(door: Door) -> None:
    client = client_of_triton.InferenceServerClient(address_of(door.line.process))
    headers = {"authorization": f"Bearer {door.tokens['read']}"}

    assert client.get_model_metadata("numbers", headers=headers).name == "numbers"


def test_a_key_that_used_up_its_share_is_told_when_to_come_again(door: Door) -> None:
    metadata = (("authorization", f"Bearer {door.tokens['small']}"),)
    first, second = (door.line.infer(matrix(), metadata=metadata) for _ in range(2))

    assert first.code == "OK"
    assert second.code == "RESOURCE_EXHAUSTED"
    assert 0 < int(second.trailing["retry-after"]) <= 60


def test_what_callers_of_http_hold_is_not_there_for_grpc(numbers_artifact: Path) -> None:
    """And it is there again when they have gone."""
    with line(numbers_artifact, QUEUE__MAX_BYTES=str(MOST_BYTES)) as found:
        with found.process.connect() as connection:
            hold(connection, MOST_BYTES - 10)
            assert eventually(lambda: found.infer(matrix()).code == "UNAVAILABLE")
            refused = found.infer(matrix())
            ready = found.call("ServerReady")

        assert refused.trailing["retry-after"] == "1"
        assert "other requests hold" in refused.details
        assert triton.ServerReadyResponse.FromString(ready.body).ready
        assert eventually(lambda: found.infer(matrix()).code == "OK")


def test_a_service_without_room_is_not_ready(numbers_artifact: Path) -> None:
    def is_ready(found: Line) -> bool:
        asked = triton.ModelReadyRequest(name="numbers")
        server = triton.ServerReadyResponse.FromString(found.call("ServerReady").body).ready
        model = triton.ModelReadyResponse.FromString(found.call("ModelReady", asked).body).ready
        assert server is model
        return bool(server)

    with line(numbers_artifact, QUEUE__MAX_BYTES=str(MOST_BYTES)) as found:
        assert is_ready(found)
        with found.process.connect() as connection:
            hold(connection, MOST_BYTES)
            assert eventually(lambda: not is_ready(found))
        assert eventually(lambda: is_ready(found))


def hold(connection: socket.socket, count: int) -> None:
    """Send so many bytes of a body that does not end."""
    head = (
        "POST /v1/score HTTP/1.1\r\nhost: numbers\r\ncontent-type: application/json\r\n"
        f"content-length: {count + 1}\r\n\r\n"
    )
    connection.sendall(head.encode() + b" " * count)
