"""HTTP: what each path answers, and which status an error becomes."""

from __future__ import annotations

from typing import assert_never

from fastapi import FastAPI

from service.routes.about import add_about
from service.routes.score import add_score
from service.routes.score_images import add_score_images
from service.scoring.images import Images
from service.scoring.tables import Tables

__all__ = ["add_routes"]


def add_routes(app: FastAPI, requests: Tables | Images) -> None:
    """Put every route on the application."""
    match requests:
        case Tables():
            add_score(app, requests)
        case Images():
            add_score_images(app, requests)
        case _:
            assert_never(requests)
    add_about(app, requests.scorer)
