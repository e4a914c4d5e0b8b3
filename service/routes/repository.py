"""POST /v2/repository/index: the models, as the extension for repositories lists them."""

from __future__ import annotations

import msgspec

from service.routes.body import Endpoint, Post, Reply, Wanted, read_body
from service.routes.inference_errors import ROOT
from service.routes.problems import STOPPING, BodyUnreadable
from service.scoring.scorer import Common
from service.wire.answer import JSON
from service.wire.refusals import NotJSON

INDEX = f"{ROOT}/repository/index"

MOST_BYTES = 1_000
"""Of a body; there is one thing to say in it."""


class IndexBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be sent.

    Attributes:
        ready: Whether only models are wanted that are ready.
    """

    ready: bool = False


class IndexedModel(msgspec.Struct, frozen=True):
    """A model of the service.

    Attributes:
        state: READY or UNAVAILABLE.
        reason: Of the state; empty of a model that is ready.
    """

    name: str
    version: str
    state: str
    reason: str


def repository_index(common: Common) -> Endpoint:
    """The endpoint."""
    wanted = Wanted('{"ready": true}, or nothing', MOST_BYTES, "Send no more than that.")
    seconds = common.settings.limits.body_seconds

    async def index(post: Post) -> Reply:
        with common.memory.share() as share:
            try:
                body = await read_body(post, wanted, seconds, share.take)
            except BodyUnreadable:
                body = b"{}"
        only_ready = asked(body).ready
        found = [
            indexed(scorer.served.name, scorer.served.version, is_ready=scorer.is_ready)
            for scorer in common.serving
        ]
        return Reply(JSON.encode([of for of in found if of.state == "READY" or not only_ready]))

    return index


def asked(body: bytes) -> IndexBody:
    """The body.

    Raises:
        NotJSON: it is something else.
    """
    try:
        return msgspec.json.decode(body, type=IndexBody)
    except msgspec.DecodeError as error:
        raise NotJSON(
            'the body is not what this path takes. Send {"ready": true}, or nothing.',
            code="body_invalid",
        ) from error


def indexed(name: str, version: str, *, is_ready: bool) -> IndexedModel:
    """A model with its state."""
    if is_ready:
        return IndexedModel(name, version, "READY", "")
    return IndexedModel(name, version, "UNAVAILABLE", STOPPING)
