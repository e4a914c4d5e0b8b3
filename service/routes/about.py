"""What a caller or a cluster asks about the service itself.

The framework remembers the functions of its routes for ever, so they hold no model: whoever handed
the request in put it there, as `request.state.scorer`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

from fastapi import FastAPI, Request, Response

from anomaly.detector import Detector
from anomaly.image_detector import ImageDetector
from service.access.gate import MODELS
from service.detectors import Served
from service.routes.documentation import answered, problem
from service.routes.problems import STOPPING, NotReady
from service.scoring.scorer import Common, Scorer
from service.settings import Limits
from service.wire.answer import (
    JSON,
    ColumnInfo,
    ImageInfo,
    ModelInfo,
    ModelName,
    Ready,
    ServedModel,
    ServedModels,
)

Responses: TypeAlias = dict[int | str, dict[str, Any]]

READY_RESPONSES: Responses = {200: answered("Yes.", Ready), 503: problem("Not now.")}
MODELS_RESPONSES: Responses = {200: answered("All of them.", ServedModels)}
MODEL_RESPONSES: Responses = {200: answered("The model.", ModelInfo)}
NAMED_RESPONSES: Responses = {**MODEL_RESPONSES, 404: problem("No model of that name is served.")}
VERBOSE = {
    "name": "verbose",
    "in": "query",
    "description": "Also say it of each model; takes no value.",
    "allowEmptyValue": True,
    "schema": {"type": "string"},
}


def add_about(app: FastAPI) -> None:
    """Put the probes and the description of the models on the application."""
    app.get("/livez", tags=["health"], summary="Is the process alive?")(livez)
    app.get(
        "/readyz",
        tags=["health"],
        summary="May requests be sent?",
        response_class=Response,
        responses=READY_RESPONSES,
        openapi_extra={"parameters": [VERBOSE]},
    )(readyz)
    for alias in ("/health", "/ping"):
        app.get(alias, include_in_schema=False)(readyz)
    for path, summary, responses, endpoint in (
        ("/v1/model", "What does the default model look at?", MODEL_RESPONSES, model),
        ("/v1/models", "Which models are served?", MODELS_RESPONSES, models),
        (f"{MODELS}{{name}}", "What does a model look at?", NAMED_RESPONSES, named),
    ):
        app.get(
            path, tags=["model"], summary=summary, response_class=Response, responses=responses
        )(endpoint)


async def livez() -> dict[str, str]:
    """Touches nothing but the process."""
    return {"status": "alive"}


async def readyz(request: Request) -> Response:
    """Every model is loaded and warm, their queues have room, and the service is not stopping."""
    common: Common = request.state.scorer.common
    each = {of.served.name: "ready" if of.is_ready else "not ready" for of in common.serving}
    wanted = each if "verbose" in request.query_params else {}
    if not common.is_ready:
        told = "".join(f" {name}: {state}." for name, state in wanted.items())
        raise NotReady(f"{STOPPING}{told}")
    return _json(Ready("ready", wanted))


async def model(request: Request) -> Response:
    """Of the model that answers where no path names one: what it looks at, its false-alarm rate and
    what that rests on, and where it computes."""
    return _described(request.state.scorer)


async def models(request: Request) -> Response:
    """The first one is the default: it answers where no path names one."""
    common: Common = request.state.scorer.common
    return _json(ServedModels([told_of(scorer) for scorer in common.serving]))


async def named(name: str, request: Request) -> Response:
    """What it looks at, its false-alarm rate and what that rests on, and where it computes."""
    common: Common = request.state.scorer.common
    return _described(common.named(name))


def told_of(scorer: Scorer[Any, Any]) -> ServedModel:
    """A model in short."""
    of = scorer.served
    return ServedModel(of.name, of.version, of.unit, of.alias, of.device, scorer.is_ready)


def _described(scorer: Scorer[Any, Any]) -> Response:
    return _json(describe(scorer.served, scorer.model, scorer.settings.limits))


def _json(said: Any) -> Response:
    return Response(JSON.encode(said), media_type="application/json")


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
