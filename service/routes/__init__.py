"""HTTP: what each path answers, and which status an error becomes."""

from __future__ import annotations

from typing import assert_never

from fastapi import FastAPI

from service.routes.about import add_about
from service.routes.body import Direct
from service.routes.documentation import document, score_operation
from service.routes.image_documentation import score_images_operation
from service.routes.inference import inference_routes
from service.routes.invocations import invocation_routes
from service.routes.lifecycle import add_lifecycle
from service.routes.protocol_documentation import COMPONENTS, protocol_paths
from service.routes.score import score_rows
from service.routes.score_images import score_images
from service.scoring.images import Images
from service.scoring.tables import Tables

__all__ = ["add_routes"]

SCORE_PATH = "/v1/score"


def add_routes(app: FastAPI, requests: Tables | Images) -> dict[str, Direct]:
    """Put every route on the application, and describe them.

    Returns:
        By path, those that answer without the framework: its routing and its care for parameters
        would take most of the time of a small request, and its own answers to what is wrong with
        parameters repeat the input.
    """
    add_about(app)
    add_lifecycle(app)
    match requests:
        case Tables():
            example = requests.scorer.served.example
            operation = score_operation(requests.detector, example)
            score = score_rows(requests)
        case Images():
            operation = score_images_operation(requests.detector, requests.settings.limits)
            score = score_images(requests)
        case _:
            assert_never(requests)
    paths = {SCORE_PATH: {"post": operation}, **protocol_paths(requests)}
    document(app, paths, COMPONENTS)
    return {
        SCORE_PATH: Direct(score, SCORE_PATH),
        **inference_routes(requests),
        **invocation_routes(requests),
    }
