"""Which status of gRPC an error becomes."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

import grpc

from anomaly.errors import AnomalyError
from service.routes.inference_errors import in_words
from service.routes.problems import retry_seconds, status_of
from service.wire.refusals import InvalidRequest

CODES = {
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    HTTPStatus.TOO_MANY_REQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    HTTPStatus.INTERNAL_SERVER_ERROR: grpc.StatusCode.INTERNAL,
}
"""Of what HTTP answers to the same error; whatever else is wrong is an invalid argument."""

LONGEST_DETAILS = 2_000
"""Bytes. On the way they may become three times as many, and 8 KB are what a client takes."""


class UnknownMethod(AnomalyError):
    """The service has no such method."""

    code = "unknown_method"


@dataclass(frozen=True)
class Refusal:
    """What a call is ended with.

    Attributes:
        metadata: That follows; `retry-after` is in seconds.
    """

    code: grpc.StatusCode
    details: str
    metadata: tuple[tuple[str, str], ...] = ()


def refusal_of(error: Exception, request_id: str) -> Refusal:
    """What an error is ended with; a bug tells nothing about itself."""
    if isinstance(error, UnknownMethod):
        return Refusal(grpc.StatusCode.UNIMPLEMENTED, str(error))
    code = CODES.get(status_of(error), grpc.StatusCode.INVALID_ARGUMENT)
    if code is grpc.StatusCode.INTERNAL:
        return Refusal(
            code, f"The service failed on this request. Its log tells more under {request_id}."
        )
    details = in_words(str(error), error.errors if isinstance(error, InvalidRequest) else ())
    seconds = retry_seconds(error)
    metadata = () if seconds is None else (("retry-after", str(seconds)),)
    return Refusal(code, details.encode()[:LONGEST_DETAILS].decode(errors="ignore"), metadata)
