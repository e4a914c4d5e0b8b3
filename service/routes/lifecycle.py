"""POST /v1/models/{name}/reload and /rollback: which version is served."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Response

from anomaly.errors import DependencyDown, ModelNotFound
from service.lifecycle import Lifecycle
from service.routes.documentation import answered, problem
from service.routes.problems import ModelRejected
from service.scoring.scorer import Scorer
from service.wire.answer import JSON, Reloaded

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: answered("What is served now.", Reloaded),
    404: problem("No model of that name is served, or the registry does not have it any more."),
    409: problem("The other version is not served: it is broken, or callers would be refused."),
    503: problem("The registry does not answer."),
}


def add_lifecycle(app: FastAPI, scorer: Scorer[Any, Any]) -> None:
    """Put both routes on the application. They run in threads: a registry may take its time."""

    def checked(name: str) -> Lifecycle:
        if name != scorer.served.name or scorer.common.lifecycle is None:
            raise ModelNotFound("no model of that name is served here.")
        return scorer.common.lifecycle

    @app.post(
        "/v1/models/{name}/reload",
        tags=["admin"],
        summary="Serve what the alias names now",
        response_class=Response,
        responses=RESPONSES,
    )
    def reload(name: str) -> Response:
        """Look at the registry now. A version that was refused before is tried again."""
        lifecycle = checked(name)
        if lifecycle.reload is None:
            raise ModelRejected("the model comes from a folder. Serve `models:/NAME@ALIAS`.")
        found = lifecycle.reload()
        if found.outcome == "unreachable":
            raise DependencyDown(found.reason or "")
        if found.outcome == "refused":
            raise ModelRejected(f"version {found.version} is not served: {found.reason}")
        return _answer(Reloaded(found.outcome, name, found.version or ""))

    @app.post(
        "/v1/models/{name}/rollback",
        tags=["admin"],
        summary="Serve the version before",
        response_class=Response,
        responses=RESPONSES,
    )
    def rollback(name: str) -> Response:
        """At once, from memory. The version that is left is not served again until the alias has
        named another, or `reload` is called."""
        served = checked(name).roll_back()
        return _answer(Reloaded("rolled_back", name, served.version))


def _answer(found: Reloaded) -> Response:
    return Response(JSON.encode(found), media_type="application/json")
