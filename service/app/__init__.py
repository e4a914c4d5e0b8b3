"""The application: routes, documentation and the edge around them."""

from __future__ import annotations

from typing import Any, assert_never

from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline

from anomaly.detector import Detector
from anomaly.errors import AnomalyError
from anomaly.image_detector import ImageDetector
from service.access.gate import Gate
from service.app.edge import Edge
from service.detectors import Served
from service.routes import add_routes
from service.routes.problems import response_to
from service.scoring.images import Images
from service.scoring.scorer import Common
from service.scoring.tables import Tables

__all__ = ["create_app"]

TITLE = "Anomaly detection"


def create_app(served: Served, common: Common, gate: Gate | None = None) -> Edge:
    """The application for one detector; without a gate, for everyone."""
    requests = requests_for(served, common)
    settings = common.settings
    options: dict[str, Any] = {
        "title": TITLE,
        # A redirect would repeat the caller's Host header.
        "redirect_slashes": False,
        # Spans come from the edge. The framework's own would tell what exceptions say.
        "telemetry": {"tracing": False, "metrics": False, "logs": False},
    }
    app = (
        FastAPIOffline(**options)
        if settings.docs
        else FastAPI(openapi_url=None, docs_url=None, redoc_url=None, **options)
    )
    app.add_exception_handler(AnomalyError, refused)
    direct = add_routes(app, requests)
    return Edge(app, requests, direct, gate)


async def refused(request: Request, error: Exception) -> Response:
    """The problem document of an error that a route of the framework raised."""
    return response_to(error, request.state.request_id)


def requests_for(served: Served, common: Common) -> Tables | Images:
    """What answers requests to the kind of detector that is served."""
    match served.detector:
        case Detector() as detector:
            return Tables(served, detector, common)
        case ImageDetector() as detector:
            return Images(served, detector, common)
        case _:
            assert_never(served.detector)
