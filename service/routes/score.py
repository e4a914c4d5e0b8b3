"""POST /v1/score, of a model of tables."""

from __future__ import annotations

from functools import partial
from urllib.parse import quote

from starlette.datastructures import QueryParams

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
from service.routes.formats import LINES_TYPE, TABLE_TYPES, accepted, read_as, write_as
from service.routes.problems import MediaTypeRefused
from service.scoring.tables import Tables
from service.wire.answer import Answer
from service.wire.options import read_options

OTHERWISE = "Send the rows in parts, or score a file with `anomaly score`."


def score_rows(tables: Tables) -> Endpoint:
    """The endpoint."""
    limits, memory, schema = tables.settings.limits, tables.scorer.memory, tables.detector.schema
    json = Wanted('{"columns": [...], "rows": [[...]]}', limits.body_bytes, OTHERWISE)
    table = Wanted("a table with a header and rows", limits.body_bytes, OTHERWISE)

    async def score(post: Post) -> Reply:
        kind, parameters = media_type(post)
        answer_kind = accepted(post.headers.get(b"accept"))
        if kind == JSON_TYPE:
            explain = read_flag(post, "explain")
            check_charset(parameters)
            with memory.share() as share:
                body = await read_body(post, json, limits.body_seconds, share.take)
                if answer_kind == JSON_TYPE:
                    return Reply(await tables.answer(body, post.request_id, explain=explain))
                request = await tables.read_json(body)
                write = partial(written, answer_kind)
                return await tables.respond(request, write, post.request_id, explain=explain)
        check_table(kind, parameters)
        options = read_options(QueryParams(post.query).multi_items())
        with memory.share() as share:
            body = await read_body(post, table, limits.body_seconds, share.take)
            request = await tables.read(
                lambda: read_as(kind, body, schema, limits, options, share.take),
                len(body),
                # Of the others a few bytes may be many rows, and the first one imports pyarrow.
                aside=kind != LINES_TYPE,
            )
            write = partial(written, answer_kind)
            return await tables.respond(request, write, post.request_id, explain=options.explain)

    return score


def written(kind: str, answer: Answer) -> Reply:
    """The answer in that format. What it says of all rows is in its headers, too."""
    said = {
        "model": quote(answer.model.name, safe=" "),
        "version": quote(answer.model.version, safe=" "),
        "digest": answer.model.digest,
        "alpha": repr(answer.alpha),
        "threshold": repr(answer.threshold),
    }
    headers = ((f"x-anomaly-{name}".encode(), value.encode()) for name, value in said.items())
    return Reply(write_as(kind, answer), kind, tuple(headers))


def check_table(kind: str, parameters: str) -> None:
    """Refuse what is no table by its own account.

    Raises:
        MediaTypeRefused: another type, or text of another charset than UTF-8.
    """
    if kind not in TABLE_TYPES:
        raise MediaTypeRefused(
            f"this model scores rows of a table. Send them with the header content-type: "
            f"{JSON_TYPE}, {', '.join(TABLE_TYPES[:-1])} or {TABLE_TYPES[-1]}."
        )
    # RFC 4180 has a parameter that says whether there is a header; there must be one.
    if parameters.lower().replace(" ", "") != "header=present":
        check_charset(parameters)


def check_charset(parameters: str) -> None:
    """Refuse text that is not UTF-8 by its own account.

    Raises:
        MediaTypeRefused: accordingly.
    """
    if parameters.lower().replace('"', "") not in ("", "charset=utf-8"):
        raise MediaTypeRefused("text is read as UTF-8 only. Send it so, without a charset.")
