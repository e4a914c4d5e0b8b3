"""What a caller or a cluster asks about the service itself."""

from __future__ import annotations

import dataclasses

from fastapi import FastAPI, Response

from service.routes.documentation import MODEL_RESPONSES, READY_RESPONSES
from service.routes.problems import NotReady
from service.scoring.scorer import Scorer
from service.wire.answer import JSON, ColumnInfo, ModelInfo


def add_about(app: FastAPI, scorer: Scorer) -> None:
    """Put the probes and the description of the model on the application."""

    @app.get("/livez", tags=["health"], summary="Is the process alive?")
    async def livez() -> dict[str, str]:
        """Touches nothing but the process."""
        return {"status": "alive"}

    async def readyz() -> dict[str, str]:
        """The model is loaded and warm, its queue has room, and the service is not stopping."""
        if not scorer.is_ready:
            raise NotReady("the service is stopping or its queue is full. Ask another instance.")
        return {"status": "ready"}

    app.get("/readyz", tags=["health"], summary="May requests be sent?", responses=READY_RESPONSES)(
        readyz
    )
    for alias in ("/health", "/ping"):
        app.get(alias, include_in_schema=False)(readyz)

    description = JSON.encode(describe(scorer))

    @app.get(
        "/v1/model",
        tags=["model"],
        summary="Which model is served?",
        response_class=Response,
        responses=MODEL_RESPONSES,
    )
    async def model() -> Response:
        """Its columns, its false-alarm rate and what that rests on, and where it computes."""
        return Response(description, media_type="application/json")


def describe(scorer: Scorer) -> ModelInfo:
    """What is served, for people and programs."""
    served, detector = scorer.served, scorer.served.detector
    calibration = detector.calibration
    return ModelInfo(
        model=scorer.model,
        alpha=calibration.alpha,
        threshold=calibration.threshold,
        tolerance=calibration.tolerance,
        unit=detector.model.score.unit,
        calibration_rows=calibration.n,
        smallest_alpha=calibration.smallest_alpha,
        device=served.device,
        backend=detector.backend.name,
        loaded_at=served.loaded_at.isoformat(timespec="seconds"),
        columns=[
            ColumnInfo(column.name, column.kind, column.role, column.nullable)
            for column in detector.schema.columns
        ],
        card=dataclasses.asdict(detector.card),
    )
