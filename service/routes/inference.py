"""The Open Inference Protocol, version 2: `/v2`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import msgspec

from anomaly.arrays import Values
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
from service.routes.inference_errors import ROOT
from service.routes.problems import STOPPING, MediaTypeRefused, NotReady
from service.scoring.answers import threshold_at
from service.scoring.compute import Result
from service.scoring.images import Images
from service.scoring.scorer import Common, Scorer
from service.scoring.tables import Tables
from service.wire.answer import JSON
from service.wire.inference import (
    InferenceRequest,
    InferenceResponse,
    TensorInfo,
    answered,
    inputs_of,
    outputs_of,
    read_inference,
)
from service.wire.refusals import InvalidRequest

BYTES_TYPE = "application/octet-stream"
JSON_LENGTH = b"inference-header-content-length"

LOOKS_AT_IMAGES = "this model looks at images. Send PNG or JPEG files to /v1/score."

MODEL = f"{ROOT}/models/{{model}}"
VERSION = f"{MODEL}/versions/{{version}}"
"""Templates of paths, as metrics and documentation name them."""


class ServerInfo(msgspec.Struct):
    """The server, its version, and what it does beyond the protocol."""

    name: str
    version: str
    extensions: list[str]


class ServedInfo(msgspec.Struct):
    """A model, the version of it that is served, and its tensors.

    Attributes:
        platform: The library that computes.
    """

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]


class Live(msgspec.Struct):
    """The process runs."""

    live: bool


class ModelReady(msgspec.Struct):
    """The model may be asked."""

    name: str
    ready: bool


def inference_routes(requests: Tables | Images) -> dict[str, Direct]:
    """By path, what answers; with the name and the version of this very model."""
    model, scorer = requests.scorer.model, requests.scorer
    server = server_info()
    described = model_info(requests)
    infer = infer_rows(requests) if isinstance(requests, Tables) else infer_images
    routes = {
        ROOT: Direct(always(server), ROOT, "GET"),
        f"{ROOT}/": Direct(always(server), ROOT, "GET"),
        f"{ROOT}/health/live": Direct(always(Live(True)), f"{ROOT}/health/live", "GET"),
        f"{ROOT}/health/ready": Direct(
            if_ready(scorer.common, Live(True)), f"{ROOT}/health/ready", "GET"
        ),
    }
    place = f"{ROOT}/models/{model.name}"
    for path, template in ((place, MODEL), (f"{place}/versions/{model.version}", VERSION)):
        ready = if_ready(scorer, ModelReady(model.name, True))
        routes[path] = Direct(always(described), template, "GET")
        routes[f"{path}/ready"] = Direct(ready, f"{template}/ready", "GET")
        routes[f"{path}/infer"] = Direct(infer, f"{template}/infer", scores=True)
    return routes


def server_info() -> ServerInfo:
    """This program."""
    return ServerInfo("anomaly", version("anomaly-vae"), ["binary_tensor_data"])


def model_info(requests: Tables | Images) -> ServedInfo:
    """The model; of one of images without tensors, which it does not take."""
    scorer = requests.scorer
    inputs, outputs = [], []
    if isinstance(requests, Tables):
        inputs = inputs_of(requests.detector.schema)
        outputs = outputs_of(requests.detector.baseline.columns)
    platform = f"anomaly_{requests.detector.backend.name}"
    return ServedInfo(scorer.model.name, [scorer.model.version], platform, inputs, outputs)


def always(said: Any) -> Endpoint:
    """Answers the same to everyone."""
    reply = Reply(JSON.encode(said))

    async def answer(_: Post) -> Reply:
        return reply

    return answer


def if_ready(asked: Scorer[Any, Any] | Common, said: Any) -> Endpoint:
    """Answers so while another request would be taken gladly: by a model, or by all of them."""
    reply = Reply(JSON.encode(said))

    async def answer(_: Post) -> Reply:
        if not asked.is_ready:
            raise NotReady(STOPPING)
        return reply

    return answer


async def infer_images(_: Post) -> Reply:
    """Tensors have no place for what is said of an image.

    Raises:
        MediaTypeRefused: always.
    """
    raise MediaTypeRefused(LOOKS_AT_IMAGES)


def infer_rows(tables: Tables) -> Endpoint:
    """`infer`, of a model of tables."""
    limits, memory, schema = tables.settings.limits, tables.scorer.memory, tables.detector.schema
    wanted = Wanted(
        '{"inputs": [{"name", "shape", "datatype", "data"}]}',
        limits.body_bytes,
        "Send the rows in parts.",
    )

    async def infer(post: Post) -> Reply:
        check_type(post)
        with memory.share() as share:
            body = await read_body(post, wanted, limits.body_seconds, share.take)
            request = await tables.read(
                lambda: read_inference(body, post.header(JSON_LENGTH), schema, limits),
                len(body),
            )
            result = await tables.result(request, explain=request.explain, every=True)
            with tables.scorer.phase("respond"):
                return reply_to(tables, request, result)

    return infer


def reply_to(tables: Tables, request: InferenceRequest, result: Result) -> Reply:
    """The answer, in JSON or in JSON and bytes."""
    body, json_length = answered(request, *outputs_to(tables, request, result))
    if json_length is None:
        return Reply(body)
    return Reply(body, BYTES_TYPE, ((JSON_LENGTH, str(json_length).encode()),))


def outputs_to(
    tables: Tables, request: InferenceRequest, result: Result
) -> tuple[dict[str, Values], InferenceResponse]:
    """Every output by its name, and what is said besides them."""
    verdicts, model = result.verdicts, tables.scorer.model
    arrays: dict[str, Values] = {
        "score": verdicts.scores,
        "p_value": verdicts.p_values,
        "is_anomaly": verdicts.is_anomaly,
    }
    if result.attributions is not None:
        arrays["contribution"] = result.attributions.share
    threshold = threshold_at(request.alpha, tables.detector.calibration)
    said = {"alpha": verdicts.alpha, "threshold": threshold}
    return arrays, InferenceResponse(model.name, model.version, [], said, request.id)


def check_type(post: Post) -> None:
    """Refuse what is neither JSON nor JSON with bytes by its own account; clients may say nothing.

    Raises:
        MediaTypeRefused: another type, or compressed.
        InvalidRequest: there is a query; options are parameters of the JSON.
    """
    name, _ = media_type(post)
    if name not in ("", JSON_TYPE, BYTES_TYPE):
        raise MediaTypeRefused(f"send {JSON_TYPE}, or {BYTES_TYPE} where bytes follow the JSON.")
    if post.query:
        raise InvalidRequest(
            "the path takes no query. Put `alpha` and `explain` among the `parameters`.",
            code="query_invalid",
        )
