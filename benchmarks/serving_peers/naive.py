"""What one writes in ten minutes: FastAPI, a pydantic model, one call of the detector a request.

uvicorn --no-access-log benchmarks.serving_peers.naive:app
"""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.serving_peers.scoring import open_scorer


class Rows(BaseModel):
    """The request."""

    rows: list[list[float]]


class Scores(BaseModel):
    """The answer."""

    scores: list[float]


app = FastAPI()
scorer = open_scorer()


@app.post("/score")
async def score(request: Rows) -> Scores:
    """Scores of the rows, in their order."""
    return Scores(scores=scorer(request.rows).tolist())
