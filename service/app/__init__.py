"""The application: routes, documentation and the edge around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from service.app.edge import Edge
from service.detectors import Served
from service.routes import add_routes
from service.routes.documentation import document
from service.scoring.scorer import Scorer
from service.settings import Settings

__all__ = ["create_app"]

TITLE = "Anomaly detection"


def create_app(settings: Settings, served: Served) -> FastAPI:
    """The application for one detector; `app.state.scorer` holds its metrics and its queue."""
    scorer = Scorer(served, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await scorer.batcher.close()

    options: dict[str, Any] = {
        "title": TITLE,
        "version": f"{served.name} {served.version}",
        "lifespan": lifespan,
        # A redirect would repeat the caller's Host header.
        "redirect_slashes": False,
    }
    app = (
        FastAPIOffline(**options)
        if settings.docs
        else FastAPI(openapi_url=None, docs_url=None, redoc_url=None, **options)
    )
    app.state.scorer = scorer
    add_routes(app, scorer)
    document(app)
    app.add_middleware(Edge, scorer=scorer)
    return app
