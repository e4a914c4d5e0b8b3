"""What a caller or a cluster asks about the service itself.

The framework remembers the functions of its routes for ever, so they hold no model: whoever handed
the request in put it there, as `request.state.scorer`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import FastAPI, Request, Response

from anomaly.detector import Detector
from anomaly.image_detector import ImageDetector
from service.detectors import Served
from service.routes.documentation import MODEL_RESPONSES, READY_RESPONSES
from service.routes.problems import NotReady
from service.scoring.scorer import Scorer
from service.settings import Limits
from service.wire.answer import JSON, ColumnInfo, ImageInfo, ModelInfo, ModelName


def add_about(app: FastAPI) -> None:
    """Put the probes and the description of the model on the application."""
    app.get("/livez", tags=["health"], summary="Is the process alive?")(livez)
    app.get("/readyz", tags=["health"], summary="May requests be sent?", responses=READY_RESPONSES)(
        readyz
    )
    for alias in ("/health", "/ping"):
        app.get(alias, include_in_schema=False)(readyz)
    app.get(
        "/v1/model",
        tags=["model"],
        summary="Which model is served?",
        response_class=Response,
        responses=MODEL_RESPONSES,
    )(model)


async def livez() -> dict[str, str]:
    """Touches nothing but the process."""
    return {"status": "alive"}


async def readyz(request: Request) -> dict[str, str]:
    """The model is loaded and warm, its queue has room, and the service is not stopping."""
    if not request.state.scorer.is_ready:
        raise NotReady("the service is stopping or its queue is full. Ask another instance.")
    return {"status": "ready"}


async def model(request: Request) -> Response:
    """What it looks at, its false-alarm rate and what that rests on, and where it computes."""
    scorer: Scorer[Any, Any] = request.state.scorer
    described = describe(scorer.served, scorer.model, scorer.settings.limits)
    return Response(JSON.encode(described), media_type="application/json")


def describe(served: Served, model: ModelName, limits: Limits) -> ModelInfo:
    """What is served, for people and programs."""
    detector = served.detector
    calibration = detector.calibration
    return ModelInfo(
        model=model,
        alpha=calibration.alpha,
        threshold=calibration.threshold,
        tolerance=calibration.tolerance,
        unit=detector.unit,
        calibration_scores=calibration.n,
        unit_of_calibration=calibration.unit,
        smallest_alpha=calibration.smallest_alpha,
        device=served.device,
        backend=detector.backend.name,
        loaded_at=served.loaded_at.isoformat(timespec="seconds"),
        columns=columns_of(detector) if isinstance(detector, Detector) else [],
        images=images_of(detector, limits) if isinstance(detector, ImageDetector) else None,
        card=dataclasses.asdict(detector.card),
    )


def columns_of(detector: Detector) -> list[ColumnInfo]:
    """The schema of a table."""
    return [
        ColumnInfo(column.name, column.kind, column.role, column.nullable)
        for column in detector.schema.columns
    ]


def images_of(detector: ImageDetector, limits: Limits) -> ImageInfo:
    """What a model of images looks at."""
    preprocessor = detector.preprocessor
    layout = preprocessor.layout
    return ImageInfo(
        channels=preprocessor.channels,
        scale=None if layout.whole else preprocessor.scale,
        tile=layout.tile,
        contrast=preprocessor.contrast,
        most_images=limits.images,
        most_bytes=limits.image_bytes,
        most_pixels=limits.image_pixels,
    )
