"""The methods of the protocol, and what holds for every call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any, TypeAlias

import grpc

from anomaly.errors import ModelNotFound
from service.access.gate import Gate
from service.access.keys import Role
from service.grpc.inference import metadata_of, parsed, read_request, response_of
from service.grpc.messages import MESSAGES
from service.grpc.names import TRACESTATE, names_of, told
from service.grpc.refusals import Refusal, UnknownMethod, refusal_of
from service.logs import LOGGER, REQUEST, Request, call_answered
from service.metrics import GRPC_SERVICE, NO_HANDLER
from service.routes.inference import LOOKS_AT_IMAGES, model_info, outputs_to, server_info
from service.routes.problems import BodyTooSlow, BodyUnreadable, MediaTypeRefused, NotReady
from service.scoring.images import Images
from service.scoring.memory import Share
from service.scoring.scorer import Common
from service.scoring.tables import LARGE_BODY_BYTES, Tables
from service.tracing.semantics import rpc_begun, rpc_ended

Method: TypeAlias = Callable[[bytes], Awaitable[Any]]
"""From the bytes of a message to the message that answers it."""

log = logging.getLogger(LOGGER)


@dataclass(slots=True)
class Call:
    """One call on its way.

    Attributes:
        method: One that there is, or `NO_HANDLER`.
        authorization: As it was sent.
        body_bytes: Of its message, when that has come.
    """

    method: str
    authorization: str
    names: Request
    started: float
    body_bytes: int = 0


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
        return grpc.stream_unary_rpc_method_handler(partial(self._answer, name, metadata))

    async def _answer(self, name: str, metadata: Mapping[str, Any], _: Any, context: Any) -> bytes:
        call, code = self._begun(name, metadata), grpc.StatusCode.CANCELLED
        try:
            reply = await self._reply(call, context)
            context.set_trailing_metadata(told(call.names))
            code = grpc.StatusCode.OK
            return reply
        except Exception as error:
            refusal = self._refusal(error, call.names.request_id)
            code = refusal.code
        finally:
            self._count(call, code)
        following = (*told(call.names), *refusal.metadata)
        await context.abort(refusal.code, refusal.details, following)
        raise AssertionError("a call that was ended does not go on")

    def _begun(self, name: str, metadata: Mapping[str, Any]) -> Call:
        """The call, known to the log from now on, and to traces if it may score."""
        names, started = names_of(metadata), perf_counter()
        role, _ = self._methods.get(name, (None, None))
        if self._common.tracing is not None and role is Role.SCORE:
            begun = rpc_begun(GRPC_SERVICE, name, request_id=names.request_id)
            tracestate = str(metadata.get(TRACESTATE, ""))
            trace = self._common.tracing.begin(begun, started, names.traceparent, tracestate)
            names = replace(names, trace=trace)
        REQUEST.set(names)
        method = name if name in self._methods else NO_HANDLER
        return Call(method, str(metadata.get("authorization", "")), names, started)

    def _count(self, call: Call, code: grpc.StatusCode) -> None:
        """Add the call to the metrics, and to log and traces if that was asked for."""
        seconds = perf_counter() - call.started
        self._common.metrics.call_answered(call.method, code.name, seconds)
        if self._common.settings.access_log:
            is_known = call.method != NO_HANDLER
            handler = f"/{GRPC_SERVICE}/{call.method}" if is_known else NO_HANDLER
            call_answered(handler, code.name, seconds, call.body_bytes)
        if call.names.trace is not None:
            call.names.trace.end(rpc_ended(code.name, code.value[0]))

    async def _reply(self, call: Call, context: Any) -> bytes:
        role, method = self._methods.get(call.method, (Role.READ, None))
        if self._gate is not None:
            self._gate.admit(role, call.authorization)
        if self.closing and role is not None:
            raise NotReady("the service is stopping. Ask another instance.")
        if method is None:
            raise UnknownMethod("the service has no such method; it is unary, and of version 2.")
        with self._common.memory.share() as share:
            reply = await method(await self._message(call, context, share))
            return bytes(reply.SerializeToString())

    async def _message(self, call: Call, context: Any, share: Share) -> bytes:
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
        call.body_bytes = len(body)
        share.take(len(body))
        return body

    def _refusal(self, error: Exception, request_id: str) -> Refusal:
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
        with tables.scorer.phase("respond"):
            return response_of(request, *outputs_to(tables, request, result))
