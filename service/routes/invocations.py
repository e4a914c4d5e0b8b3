"""What `mlflow models serve` answers: `/invocations` and `/version`. Probes know `/ping`."""

from __future__ import annotations

from importlib.metadata import version

from msgspec.structs import asdict

from service.routes.body import (
    JSON_TYPE,
    Direct,
    Endpoint,
    Post,
    Reply,
    Wanted,
    media_type,
    read_body,
)
from service.routes.formats import CSV_TYPE, PARQUET_TYPE, read_as
from service.routes.problems import MediaTypeRefused
from service.routes.score import OTHERWISE, check_charset
from service.scoring.images import Images
from service.scoring.tables import Tables
from service.wire.answer import JSON
from service.wire.invocations import Invocation, predictions, read_invocation
from service.wire.options import Options
from service.wire.refusals import InvalidRequest

PATH, VERSION_PATH = "/invocations", "/version"
TYPES = (JSON_TYPE, CSV_TYPE, PARQUET_TYPE)


def invocation_routes(requests: Tables | Images) -> dict[str, Direct]:
    """By path, what answers."""
    invoke = invoke_rows(requests) if isinstance(requests, Tables) else refuse_images
    return {
        PATH: Direct(invoke, PATH, scores=True),
        VERSION_PATH: Direct(protocol_version, VERSION_PATH, "GET"),
    }


async def protocol_version(_: Post) -> Reply:
    """The MLflow that this service was installed with, as its own server says it."""
    return Reply(version("mlflow").encode())


async def refuse_images(_: Post) -> Reply:
    """Images travel as files.

    Raises:
        MediaTypeRefused: always.
    """
    raise MediaTypeRefused("this model looks at images. Send PNG or JPEG files to /v1/score.")


def invoke_rows(tables: Tables) -> Endpoint:
    """`/invocations`, of a model of tables."""
    limits, memory, schema = tables.settings.limits, tables.scorer.memory, tables.detector.schema
    wanted = Wanted('{"dataframe_split": {"columns", "data"}}', limits.body_bytes, OTHERWISE)

    async def invoke(post: Post) -> Reply:
        kind = checked_type(post)
        with memory.share() as share:
            body = await read_body(post, wanted, limits.body_seconds, share.take)

            def parse() -> Invocation:
                if kind == JSON_TYPE:
                    return read_invocation(body, schema, limits)
                request = read_as(kind, body, schema, limits, Options(), share.take)
                return Invocation(**asdict(request), explain_top_k=0)

            request = await tables.read(parse, len(body), aside=kind != JSON_TYPE)
            top_k = request.explain_top_k
            result = await tables.result(request, explain=top_k > 0, every=True)
            with tables.scorer.phase("respond"):
                said = predictions(result.verdicts, result.attributions, top_k)
                return Reply(JSON.encode(said))

    return invoke


def checked_type(post: Post) -> str:
    """What the body is by its own account.

    Raises:
        MediaTypeRefused: none of `TYPES`, another charset than UTF-8, or compressed.
        InvalidRequest: there is a query; options are `params` of the JSON.
    """
    kind, parameters = media_type(post)
    if kind not in TYPES:
        raise MediaTypeRefused(f"send {', '.join(TYPES[:-1])} or {TYPES[-1]}.")
    check_charset(parameters)
    if post.query:
        raise InvalidRequest(
            "the path takes no query. Put `alpha` and `explain_top_k` among the `params`.",
            code="query_invalid",
        )
    return kind
