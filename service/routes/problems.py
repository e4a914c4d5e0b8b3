"""Every refusal as one kind of document, `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import logging
from http import HTTPStatus

from fastapi import Response

from anomaly.errors import AlphaNotSupported, AnomalyError, BadData, DependencyDown, ModelNotFound
from service.access.gate import Forbidden, TooManyRequests, Unauthorised
from service.batcher import Overloaded
from service.logs import LOGGER
from service.wire.answer import JSON, Problem
from service.wire.refusals import (
    ImagesOfOtherFormat,
    ImagesTooLarge,
    InvalidRequest,
    NotATable,
    NotJSON,
    NotMultipart,
    RowError,
    TooLarge,
)

log = logging.getLogger(LOGGER)

MEDIA_TYPE = "application/problem+json"


class BodyUnreadable(AnomalyError):
    """The body is empty, or the client went away before its end."""

    code = "body_empty"


class BodyTooSlow(AnomalyError):
    """The body did not arrive in time."""

    code = "body_too_slow"


class MediaTypeRefused(AnomalyError):
    """Not what the model wants by its own account, or compressed."""

    code = "media_type_refused"


STOPPING = "the service is stopping or a queue is full. Ask another instance."


class NotReady(AnomalyError):
    """The service is stopping, or a queue is full."""

    code = "not_ready"


class ModelRejected(AnomalyError):
    """Another version of the model is not served."""

    code = "model_rejected"


STATUS: dict[type[Exception], HTTPStatus] = {
    NotJSON: HTTPStatus.BAD_REQUEST,
    NotMultipart: HTTPStatus.BAD_REQUEST,
    NotATable: HTTPStatus.BAD_REQUEST,
    BodyUnreadable: HTTPStatus.BAD_REQUEST,
    BodyTooSlow: HTTPStatus.REQUEST_TIMEOUT,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ImagesTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    MediaTypeRefused: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ImagesOfOtherFormat: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    BadData: HTTPStatus.UNPROCESSABLE_ENTITY,
    AlphaNotSupported: HTTPStatus.UNPROCESSABLE_ENTITY,
    Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    NotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    ModelRejected: HTTPStatus.CONFLICT,
    ModelNotFound: HTTPStatus.NOT_FOUND,
    DependencyDown: HTTPStatus.SERVICE_UNAVAILABLE,
    Unauthorised: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
}
"""The status of an error is that of its nearest class here. Any other error is a bug, and 500."""


def response_to(error: Exception, request_id: str) -> Response:
    """The problem document for an error; a bug tells nothing about itself."""
    status = status_of(error)
    if not isinstance(error, AnomalyError) or status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "internal",
            "The service failed on this request. Its log tells more under the request id.",
            request_id,
        )
    listed = error.errors if isinstance(error, InvalidRequest) else ()
    answer = problem(status, error.code, str(error), request_id, listed)
    if (seconds := retry_seconds(error)) is not None:
        answer.headers["retry-after"] = str(seconds)
    elif status is HTTPStatus.UNAUTHORIZED:
        answer.headers["www-authenticate"] = "Bearer"
    return answer


def logged(response: Response, error: Exception, request_id: str) -> Response:
    """The response, a bug's with what the log must tell."""
    if response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request %s failed", request_id, exc_info=error)
    return response


def status_of(error: Exception) -> HTTPStatus:
    """See `STATUS`."""
    known = [STATUS[kind] for kind in type(error).__mro__ if kind in STATUS]
    return known[0] if known else HTTPStatus.INTERNAL_SERVER_ERROR


def retry_seconds(error: Exception) -> int | None:
    """When it may be worth trying again; None where that would change nothing."""
    if isinstance(error, Overloaded | TooManyRequests):
        return error.retry_seconds
    return 1 if status_of(error) is HTTPStatus.SERVICE_UNAVAILABLE else None


def response_for(status: HTTPStatus, request_id: str) -> Response:
    """The problem document for a status that the framework decided on, such as 404."""
    return problem(
        status, status.name.lower(), f"{status.description or status.phrase}.", request_id
    )


def problem(
    status: HTTPStatus,
    code: str,
    detail: str,
    request_id: str,
    errors: tuple[RowError, ...] = (),
) -> Response:
    """The document itself."""
    document = Problem(
        type="about:blank",
        title=status.phrase,
        status=status.value,
        code=code,
        detail=detail,
        request_id=request_id,
        errors=list(errors),
    )
    return Response(JSON.encode(document), status.value, media_type=MEDIA_TYPE)
