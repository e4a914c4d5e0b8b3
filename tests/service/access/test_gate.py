"""Every route and every kind of caller: who may pass stands in one table here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Route

from service.access.gate import BURST_SECONDS, Gate, TooManyRequests, role_for
from service.access.keys import KeyFile, Role, make_key, write_keys
from service.app import create_app
from service.app.edge import Edge
from service.detectors import Served
from service.scoring.scorer import Common
from service.settings import Settings
from tests.service.pumps import as_request, normal_records

NEEDS: dict[str, Role | None] = {
    "/livez": None,
    "/readyz": None,
    "/health": None,
    "/ping": None,
    "/v1/score": Role.SCORE,
    "/v1/model": Role.READ,
    "/v1/models": Role.READ,
    "/v1/models/{name}": Role.READ,
    "/v1/models/pumps/score": Role.SCORE,
    "/v1/models/pumps/nothing": Role.ADMIN,
    "/v1/models/{name}/reload": Role.ADMIN,
    "/v1/models/{name}/rollback": Role.ADMIN,
    "/openapi.json": Role.READ,
    "/docs": Role.READ,
    "/docs/oauth2-redirect": Role.READ,
    "/redoc": Role.READ,
    "/static-offline-docs/swagger-ui.css": Role.READ,
    "/v2": Role.READ,
    "/v2/": Role.READ,
    "/v2/health/live": None,
    "/v2/health/ready": None,
    "/v2/repository/index": Role.READ,
    "/v2/models/pumps": Role.READ,
    "/v2/models/pumps/ready": Role.READ,
    "/v2/models/pumps/infer": Role.SCORE,
    "/v2/models/pumps/versions/unregistered": Role.READ,
    "/v2/models/pumps/versions/unregistered/ready": Role.READ,
    "/v2/models/pumps/versions/unregistered/infer": Role.SCORE,
    "/invocations": Role.SCORE,
    "/version": Role.READ,
    "/nowhere": Role.READ,
}
"""Of every route, and of a path that is none."""


@dataclass(frozen=True)
class Door:
    """An application with a gate, and a key of each kind."""

    edge: Edge
    tokens: dict[str, str]

    def knock(self, method: str, path: str, authorization: str | None) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.edge)
            async with httpx.AsyncClient(transport=transport, base_url="http://pumps") as client:
                headers = {} if authorization is None else {"authorization": authorization}
                body = as_request(normal_records(1))
                return await client.request(method, path, headers=headers, json=body)

        return asyncio.run(call())


@pytest.fixture(scope="module")
def door(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Door:
    made = {role.value: make_key(role) for role in Role}
    made["expired"] = make_key(Role.ADMIN, days=0)
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    write_keys(path, [key for key, _ in made.values()])
    edge = create_app(served, Common(Settings(models=("pumps",))), Gate(KeyFile(path)))
    edge.scorer.begin()
    tokens = {name: token for name, (_, token) in made.items()}
    return Door(edge, {**tokens, "unknown": make_key(Role.ADMIN)[1]})


def routes_of(edge: Edge) -> set[tuple[str, str]]:
    """Every path with a method that it answers to."""
    assert isinstance(edge.app, FastAPI)
    found = {(way.method, path) for path, way in edge.direct.items()}
    for route in edge.app.routes:
        if isinstance(route, Route):
            found |= {(sorted(route.methods or {"GET"})[0], route.path)}
    return found


def test_every_route_stands_in_the_table(door: Door) -> None:
    assert {path for _, path in routes_of(door.edge)} <= NEEDS.keys()
    for path, role in NEEDS.items():
        assert role_for(path, door.edge.scoring) is role


@pytest.mark.parametrize("path", NEEDS)
@pytest.mark.parametrize("who", ["nobody", "unknown", "expired", *Role])
def test_who_may_pass(door: Door, path: str, who: str) -> None:
    methods = {known: method for method, known in routes_of(door.edge)}
    needed = NEEDS[path]
    authorization = None if who == "nobody" else f"Bearer {door.tokens[who]}"

    answer = door.knock(methods.get(path, "GET"), path.format(name="pumps"), authorization)

    if needed is None or who in (needed, Role.ADMIN):
        assert answer.status_code not in (401, 403)
        return
    status, code = (403, "forbidden") if who in tuple(Role) else (401, "unauthorised")
    assert answer.status_code == status
    # The Open Inference Protocol has errors of its own form.
    assert (
        answer.json().keys() == {"error"}
        if path.startswith("/v2")
        else answer.json()["code"] == code
    )
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "kind", ["Basic {}", "{}", "Bearer", "Bearer  ", "Token {}", "Bearer {} x"]
)
def test_a_key_is_sent_as_a_bearer_and_in_no_other_way(door: Door, kind: str) -> None:
    token = door.tokens["admin"]

    assert door.knock("POST", "/v1/score", kind.format(token)).status_code == 401
    assert door.knock("POST", f"/v1/score?key={token}", None).status_code == 401
    assert door.knock("POST", "/v1/score", f"bearer {token}").status_code == 200


def test_unknown_and_wrong_keys_are_answered_alike_and_never_repeated(door: Door) -> None:
    right = door.tokens["score"]
    answers = [
        door.knock("POST", "/v1/score", f"Bearer {token}")
        for token in (door.tokens["unknown"], right[:-3] + "xyz", "rubbish", door.tokens["expired"])
    ]

    documents = [answer.json() for answer in answers]
    for document in documents:
        document.pop("request_id")
    assert all(document == documents[0] for document in documents)
    assert "xyz" not in answers[1].text


def test_a_key_may_send_its_share_and_no_more(tmp_path: Path) -> None:
    (greedy, token), (modest, other) = make_key(Role.SCORE, per_minute=60), make_key(Role.SCORE)
    write_keys(tmp_path / "keys.json", [greedy, modest])
    gate = Gate(KeyFile(tmp_path / "keys.json"))

    def knock(with_token: str) -> None:
        gate.check("/v1/score", f"Bearer {with_token}", ("/v1/score",))

    for _ in range(int(BURST_SECONDS)):
        knock(token)
    with pytest.raises(TooManyRequests) as refusal:
        knock(token)

    assert refusal.value.retry_seconds in (1, 2)
    for _ in range(100):
        knock(other)


def test_whoever_has_used_up_their_share_is_told_when_to_come_again(
    served: Served, tmp_path: Path
) -> None:
    key, token = make_key(Role.SCORE, per_minute=1)
    write_keys(tmp_path / "keys.json", [key])
    gate = Gate(KeyFile(tmp_path / "keys.json"))
    door = Door(create_app(served, Common(Settings(models=("pumps",))), gate), {})

    answers = [door.knock("POST", "/v1/score", f"Bearer {token}") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 429]
    assert 1 <= int(answers[1].headers["retry-after"]) <= 61
