"""POST /v1/score, of a model of tables."""

from __future__ import annotations

from service.routes.body import (
    JSON_TYPE,
    Endpoint,
    Post,
    Reply,
    Wanted,
    media_type,
    read_body,
    read_flag,
)
from service.routes.problems import MediaTypeRefused
from service.scoring.tables import Tables


def score_rows(tables: Tables) -> Endpoint:
    """The endpoint."""
    limits, memory = tables.settings.limits, tables.scorer.memory
    wanted = Wanted(
        '{"columns": [...], "rows": [[...]]}',
        limits.body_bytes,
        "Send the rows in parts, or score a file with `anomaly score`.",
    )

    async def score(post: Post) -> Reply:
        explain = read_flag(post, "explain")
        check_json(post)
        with memory.share() as share:
            body = await read_body(post, wanted, limits.body_seconds, share.take)
            return Reply(await tables.answer(body, post.request_id, explain=explain))

    return score


def check_json(post: Post) -> None:
    """Refuse what is not JSON by its own account.

    Raises:
        MediaTypeRefused: another type, another charset than UTF-8, or compressed.
    """
    name, parameters = media_type(post)
    if name != JSON_TYPE:
        raise MediaTypeRefused(
            f"this model scores rows of a table. Send them as JSON, with the header content-type: "
            f"{JSON_TYPE}."
        )
    if parameters.lower().replace('"', "") not in ("", "charset=utf-8"):
        raise MediaTypeRefused("JSON is read as UTF-8 only. Send it so, without a charset.")
