"""POST /v1/score."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

from service.routes.body import read_body, read_flag
from service.routes.documentation import SCORE_RESPONSES, score_extra
from service.scoring.scorer import Scorer


def add_score(app: FastAPI, scorer: Scorer) -> None:
    """Put the route on the application.

    It declares no parameters: FastAPI would parse and check them itself, and its answers to what
    is wrong repeat the input.
    """

    @app.post(
        "/v1/score",
        tags=["score"],
        summary="Score rows",
        response_class=Response,
        responses=SCORE_RESPONSES,
        openapi_extra=score_extra(scorer.served),
    )
    async def score(request: Request) -> Response:
        """Scores, p-values and verdicts for up to a few thousand rows, in their order.

        A row is an anomaly if and only if its p-value is at most alpha; among normal rows that
        happens with probability alpha at most. The same row always gets the same score, alone or
        in any company. Warnings tell what is remarkable about a row; they change no verdict.
        """
        explain = read_flag(request, "explain")
        body = await read_body(request, scorer.settings.limits)
        answer = await scorer.answer(body, request.state.request_id, explain=explain)
        return Response(answer, media_type="application/json")
