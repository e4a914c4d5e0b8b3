"""POST /v1/models/{name}/reload and /rollback: which version is served."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response

from anomaly.errors import DependencyDown
from service.lifecycle import Lifecycle
from service.routes.documentation import answered, problem
from service.routes.problems import ModelRejected
from service.scoring.scorer import Common
from service.wire.answer import JSON, Reloaded

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: answered("What is served now.", Reloaded),
    404: problem("No model of that name is served, or the registry does not have it any more."),
    409: problem("The other version is not served: it is broken, or callers would be refused."),
    503: problem("The registry does not answer."),
}


def add_lifecycle(app: FastAPI) -> None:
    """Put both routes on the application. They run in threads: a registry may take its time."""
    for name, summary, endpoint in (
        ("reload", "Serve what the alias names now", reload),
        ("rollback", "Serve the version before", rollback),
    ):
        app.post(
            f"/v1/models/{{name}}/{name}",
            tags=["admin"],
            summary=summary,
            response_class=Response,
            responses=RESPONSES,
        )(endpoint)


def reload(name: str, request: Request) -> Response:
    """Look at the registry now. A version that was refused before is tried again."""
    lifecycle = _of(name, request)
    if lifecycle.reload is None:
        raise ModelRejected("the model does not come from an alias. Serve `models:/NAME@ALIAS`.")
    found = lifecycle.reload()
    if found.outcome == "unreachable":
        raise DependencyDown(found.reason or "")
    if found.outcome == "refused":
        raise ModelRejected(f"version {found.version} is not served: {found.reason}")
    return _answer(Reloaded(found.outcome, name, found.version or ""))


def rollback(name: str, request: Request) -> Response:
    """At once, from memory. The version that is left is not served again until the alias has named
    another, or `reload` is called."""
    served = _of(name, request).roll_back()
    return _answer(Reloaded("rolled_back", name, served.version))


def _of(name: str, request: Request) -> Lifecycle:
    common: Common = request.state.scorer.common
    lifecycle = common.named(name).hosted.lifecycle
    if lifecycle is None:
        raise ModelRejected("the service was started without a way to change what it serves.")
    return lifecycle


def _answer(found: Reloaded) -> Response:
    return Response(JSON.encode(found), media_type="application/json")
