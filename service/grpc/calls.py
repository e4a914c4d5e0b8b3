"""The methods of the protocol, and what holds for every call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from secrets import token_hex
from time import perf_counter
from typing import Any, TypeAlias

import grpc

from anomaly.errors import ModelNotFound
from service.access.gate import Gate
from service.access.keys import Role
from service.grpc.inference import metadata_of, parsed, read_request, response_of
from service.grpc.messages import MESSAGES
from service.grpc.refusals import Refusal, UnknownMethod, refusal_of
from service.logs import LOGGER, REQUEST, Request
from service.metrics import GRPC_SERVICE, NO_HANDLER
from service.routes.inference import LOOKS_AT_IMAGES, model_info, outputs_to, server_info
from service.routes.problems import BodyTooSlow, BodyUnreadable, MediaTypeRefused, NotReady
from service.scoring.images import Images
from service.scoring.memory import Share
from service.scoring.scorer import Common
from service.scoring.tables import LARGE_BODY_BYTES, Tables

Method: TypeAlias = Callable[[bytes], Awaitable[Any]]
"""From the bytes of a message to the message that answers it."""

log = logging.getLogger(LOGGER)


class Calls(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Every call, whichever method it names.

    gRPC is told that callers stream, which on the wire is the same: so it leaves the message unread
    until the key was seen and there is room for it.

    Args:
        models: What answers for the model of a name at that moment; a call stays with what it was
            given. Raises ModelNotFound.
        gate: Whom it lets pass; None lets everyone.

    Attributes:
        closing: Set when the port is about to close: whoever calls now is sent elsewhere, because
            what arrives in that very moment would be dropped without a word.
    """

    def __init__(
        self, common: Common, models: Callable[[str], Tables | Images], gate: Gate | None
    ) -> None:
        limits, queue = common.settings.limits, common.settings.queue
        self._common = common
        self._models = models
        self._gate = gate
        self.closing = False
        self._seconds = limits.body_seconds
        # A message shows its size only when it is here, so that it cannot be asked for room before.
        self._receiving = asyncio.Semaphore(max(1, queue.max_bytes // limits.body_bytes))
        self._methods: dict[str, tuple[Role | None, Method]] = {
            "ServerLive": (None, self._server_live),
            "ServerReady": (None, self._server_ready),
            "ServerMetadata": (Role.READ, self._server_metadata),
            "ModelReady": (Role.READ, self._model_ready),
            "ModelMetadata": (Role.READ, self._model_metadata),
            "ModelInfer": (Role.SCORE, self._model_infer),
        }

    def service(self, handler_call_details: Any) -> Any:
        """Called by gRPC when a call begins."""
        method: str = handler_call_details.method
        name = method.removeprefix(f"/{GRPC_SERVICE}/")
        # The first of each name counts.
        metadata = dict(reversed(handler_call_details.invocation_metadata))
        answer = partial(self._answer, name, str(metadata.get("authorization", "")))
        return grpc.stream_unary_rpc_method_handler(answer)

    async def _answer(self, name: str, authorization: str, _: Any, context: Any) -> bytes:
        started, code = perf_counter(), grpc.StatusCode.CANCELLED
        try:
            reply = await self._reply(name, authorization, context)
            code = grpc.StatusCode.OK
            return reply
        except Exception as error:
            refusal = self._refusal(error)
            code = refusal.code
        finally:
            method = name if name in self._methods else NO_HANDLER
            self._common.metrics.call_answered(method, code.name, perf_counter() - started)
        await context.abort(refusal.code, refusal.details, refusal.metadata)
        raise AssertionError("a call that was ended does not go on")

    async def _reply(self, name: str, authorization: str, context: Any) -> bytes:
        role, method = self._methods.get(name, (Role.READ, None))
        if self._gate is not None:
            self._gate.admit(role, authorization)
        if self.closing and role is not None:
            raise NotReady("the service is stopping. Ask another instance.")
        if method is None:
            raise UnknownMethod("the service has no such method; it is unary, and of version 2.")
        with self._common.memory.share() as share:
            reply = await method(await self._message(context, share))
            return bytes(reply.SerializeToString())

    async def _message(self, context: Any, share: Share) -> bytes:
        """The message, as soon as all of it is here."""
        try:
            async with asyncio.timeout(self._seconds), self._receiving:
                body = await context.read()
        except TimeoutError as error:
            raise BodyTooSlow(
                f"the message was not complete within {self._seconds:g} seconds."
            ) from error
        if not isinstance(body, bytes):
            raise BodyUnreadable("there is no message.")
        share.take(len(body))
        return body

    def _refusal(self, error: Exception) -> Refusal:
        request_id = token_hex(16)
        REQUEST.set(Request(request_id, None))
        refusal = refusal_of(error, request_id)
        if refusal.code is grpc.StatusCode.INTERNAL:
            log.error("call %s failed", request_id, exc_info=error)
        return refusal

    def _model(self, name: str, version: str) -> Tables | Images:
        """The model of that name; an empty version is whichever is served.

        Raises:
            ModelNotFound: it is not served.
        """
        found = self._models(name)
        if version not in ("", found.scorer.model.version):
            raise ModelNotFound("another version of that model is served here.")
        return found

    async def _server_live(self, _: bytes) -> Any:
        return MESSAGES["ServerLiveResponse"](live=True)

    async def _server_ready(self, _: bytes) -> Any:
        return MESSAGES["ServerReadyResponse"](ready=self._common.is_ready)

    async def _server_metadata(self, _: bytes) -> Any:
        info = server_info()
        return MESSAGES["ServerMetadataResponse"](
            name=info.name, version=info.version, extensions=info.extensions
        )

    async def _model_ready(self, body: bytes) -> Any:
        sent = parsed("ModelReadyRequest", body)
        model = self._model(sent.name, sent.version)
        return MESSAGES["ModelReadyResponse"](ready=model.scorer.is_ready)

    async def _model_metadata(self, body: bytes) -> Any:
        sent = parsed("ModelMetadataRequest", body)
        return metadata_of(model_info(self._model(sent.name, sent.version)))

    async def _model_infer(self, body: bytes) -> Any:
        aside = len(body) > LARGE_BODY_BYTES
        parse = partial(parsed, "ModelInferRequest", body)
        sent = await asyncio.to_thread(parse) if aside else parse()
        tables = self._model(sent.model_name, sent.model_version)
        if isinstance(tables, Images):
            raise MediaTypeRefused(LOOKS_AT_IMAGES)
        schema, limits = tables.detector.schema, tables.settings.limits
        request = await tables.read(lambda: read_request(sent, schema, limits), len(body))
        result = await tables.result(request, explain=request.explain, every=True)
        return response_of(request, *outputs_to(tables, request, result))
