"""HTTP: what each path answers, and which status an error becomes."""

from __future__ import annotations

from fastapi import FastAPI

from service.routes.about import add_about
from service.routes.score import add_score
from service.scoring.scorer import Scorer

__all__ = ["add_routes"]


def add_routes(app: FastAPI, scorer: Scorer) -> None:
    """Put every route on the application."""
    add_score(app, scorer)
    add_about(app, scorer)
