"""POST /v1/score, of a model of tables."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response

from service.routes.body import Wanted, media_type, read_body, read_flag
from service.routes.documentation import SCORE_RESPONSES, score_extra
from service.routes.problems import MediaTypeRefused
from service.scoring.tables import Tables

SCORE_PATH = "/v1/score"

JSON_TYPE = "application/json"


def add_score(app: FastAPI, tables: Tables) -> Callable[[Request], Awaitable[Response]]:
    """Put the route on the application.

    It declares no parameters: FastAPI would parse and check them itself, and its answers to what
    is wrong repeat the input.
    """

    limits, scorer = tables.settings.limits, tables.scorer
    wanted = Wanted(
        '{"columns": [...], "rows": [[...]]}',
        limits.body_bytes,
        "Send the rows in parts, or score a file with `anomaly score`.",
    )

    @app.post(
        SCORE_PATH,
        tags=["score"],
        summary="Score rows",
        response_class=Response,
        responses=SCORE_RESPONSES,
        openapi_extra=score_extra(tables.detector, scorer.served.example),
    )
    async def score(request: Request) -> Response:
        """Scores, p-values and verdicts for up to a few thousand rows, in their order.

        A row is an anomaly if and only if its p-value is at most alpha; among normal rows that
        happens with probability alpha at most. The same row always gets the same score, alone or
        in any company. Warnings tell what is remarkable about a row; they change no verdict.
        """
        explain = read_flag(request, "explain")
        check_json(request)
        with scorer.memory.share() as share:
            body = await read_body(request, wanted, limits.body_seconds, share.take)
            answer = await tables.answer(body, request.state.request_id, explain=explain)
        return Response(answer, media_type="application/json")

    return score


def check_json(request: Request) -> None:
    """Refuse what is not JSON by its own account.

    Raises:
        MediaTypeRefused: another type, another charset than UTF-8, or compressed.
    """
    name, parameters = media_type(request)
    if name != JSON_TYPE:
        raise MediaTypeRefused(
            f"this model scores rows of a table. Send them as JSON, with the header content-type: "
            f"{JSON_TYPE}."
        )
    if parameters.lower().replace('"', "") not in ("", "charset=utf-8"):
        raise MediaTypeRefused("JSON is read as UTF-8 only. Send it so, without a charset.")
