"""Refusals in the words of the Open Inference Protocol: `{"error": "..."}`."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from service.routes.body import JSON_TYPE
from service.wire.answer import JSON, Problem
from service.wire.inference import InferenceError
from service.wire.refusals import RowError

ROOT = "/v2"

MOST_TOLD = 5
"""Faults of rows that an error tells of."""


def as_told_at(path: str, response: Response) -> Response:
    """The refusal as callers of that path expect it: a problem document everywhere but here."""
    if path != ROOT and not path.startswith(f"{ROOT}/"):
        return response
    problem = msgspec.json.decode(response.body, type=Problem)
    status = response.status_code
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        # The protocol knows one status for whatever is wrong with a request.
        status = HTTPStatus.BAD_REQUEST
    error = InferenceError(in_words(problem.detail, problem.errors))
    told = Response(JSON.encode(error), status, media_type=JSON_TYPE)
    for name in ("allow", "retry-after", "www-authenticate"):
        if name in response.headers:
            told.headers[name] = response.headers[name]
    return told


def in_words(detail: str, errors: Sequence[RowError]) -> str:
    """A refusal and the first of its faults, as one text."""
    return " ".join([detail, *map(_told, errors[:MOST_TOLD])])


def _told(error: RowError) -> str:
    place = [] if error.row is None else [f"row {error.row}"]
    if error.column is not None:
        place.append(f'column "{error.column}"')
    return f"{', '.join(place)}: {error.msg}."
