"""HTTP: what each path answers, and which status an error becomes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import assert_never

from fastapi import FastAPI, Request, Response

from service.routes.about import add_about
from service.routes.score import SCORE_PATH, add_score
from service.routes.score_images import add_score_images
from service.scoring.images import Images
from service.scoring.tables import Tables

__all__ = ["add_routes"]


def add_routes(
    app: FastAPI, requests: Tables | Images
) -> dict[str, Callable[[Request], Awaitable[Response]]]:
    """Put every route on the application.

    Returns:
        By path, those that read the request themselves and need nothing of the framework.
    """
    match requests:
        case Tables():
            score = add_score(app, requests)
        case Images():
            score = add_score_images(app, requests)
        case _:
            assert_never(requests)
    add_about(app, requests.scorer)
    return {SCORE_PATH: score}
