"""HTTP: what each path answers, and which status an error becomes."""

from __future__ import annotations

from typing import Any, assert_never

from fastapi import FastAPI

from anomaly.detector import Detector
from anomaly.image_detector import ImageDetector
from service.access.gate import MODELS
from service.detectors import Served
from service.routes.about import add_about
from service.routes.body import Direct
from service.routes.documentation import document, score_operation
from service.routes.image_documentation import score_images_operation
from service.routes.inference import inference_routes
from service.routes.invocations import invocation_routes
from service.routes.lifecycle import add_lifecycle
from service.routes.protocol_documentation import (
    COMPONENTS,
    default_paths,
    model_paths,
    server_paths,
)
from service.routes.repository import INDEX, repository_index
from service.routes.score import score_rows
from service.routes.score_images import score_images
from service.scoring.images import Images
from service.scoring.scorer import Common
from service.scoring.tables import Tables
from service.settings import Limits

__all__ = ["add_routes"]

SCORE_PATH = "/v1/score"
SCORE_TEMPLATE = f"{MODELS}{{name}}/score"


def add_routes(app: FastAPI, requests: Tables | Images) -> dict[str, Direct]:
    """Put every route on the application, and describe them.

    Returns:
        By path, those that answer without the framework: its routing and its care for parameters
        would take most of the time of a small request, and its own answers to what is wrong with
        parameters repeat the input.
    """
    common = requests.scorer.common
    add_about(app)
    add_lifecycle(app)
    document(app, lambda: versions(common), lambda: paths_of(common), COMPONENTS)
    score = score_rows(requests) if isinstance(requests, Tables) else score_images(requests)
    own = SCORE_TEMPLATE.format(name=requests.scorer.model.name)
    return {
        SCORE_PATH: Direct(score, SCORE_PATH, scores=True),
        own: Direct(score, SCORE_TEMPLATE, scores=True),
        INDEX: Direct(repository_index(common), INDEX),
        **inference_routes(requests),
        **invocation_routes(requests),
    }


def versions(common: Common) -> str:
    """Every model with its version."""
    return ", ".join(f"{of.served.name} {of.served.version}" for of in common.serving)


def paths_of(common: Common) -> dict[str, dict[str, Any]]:
    """Path items of every model that is served now, and of the default one besides."""
    limits = common.settings.limits
    paths = server_paths()
    for place, scorer in enumerate(common.serving):
        served = scorer.served
        if place == 0:
            of = f"of the default model, {served.name}"
            paths[SCORE_PATH] = {"post": scoring(served, limits, of)}
            paths |= default_paths(served)
        own = SCORE_TEMPLATE.format(name=served.name)
        paths[own] = {"post": scoring(served, limits, f"of {served.name}")}
        paths |= model_paths(served)
    return paths


def scoring(served: Served, limits: Limits, of: str) -> dict[str, Any]:
    """The operation that scores what a model looks at."""
    match served.detector:
        case Detector() as detector:
            return score_operation(f"Score rows {of}", detector, served.example)
        case ImageDetector() as detector:
            return score_images_operation(f"Score images {of}", detector, limits)
        case _:
            assert_never(served.detector)
