"""What `/openapi.json` says of bodies that FastAPI neither reads nor writes here."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI

from anomaly.data.schema import Kind
from anomaly.detector import Detector
from service.routes.problems import MEDIA_TYPE
from service.wire.answer import Answer, ModelInfo, Problem
from service.wire.request import Mode

_REF = "#/components/schemas/{name}"


def answered(description: str, component: type) -> dict[str, Any]:
    """A response that holds a component."""
    schema = {"$ref": _REF.format(name=component.__name__)}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def problem(description: str) -> dict[str, Any]:
    """A refusal."""
    schema = {"$ref": _REF.format(name=Problem.__name__)}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}


SCORE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: answered("One entry for each row, in their order.", Answer),
    400: problem("The body is empty or not JSON."),
    408: problem("The body did not arrive in time."),
    413: problem("Too many bytes, rows or columns."),
    415: problem("The body is compressed, or not JSON by its own account."),
    422: problem("Columns are missing or unknown, or (mode strict) a row is faulty."),
    503: problem("Too many rows wait already; the header retry-after says how long to wait."),
}
READY_RESPONSES: dict[int | str, dict[str, Any]] = {503: problem("Not now.")}
MODEL_RESPONSES: dict[int | str, dict[str, Any]] = {200: answered("The model.", ModelInfo)}

_JSON_TYPES = {
    Kind.NUMERIC: {"type": ["number", "null"]},
    Kind.BOOLEAN: {"type": ["boolean", "null"]},
    Kind.CATEGORICAL: {"type": ["string", "null"]},
    Kind.DATETIME: {"type": ["string", "null"], "format": "date-time"},
}


def score_extra(detector: Detector, example: dict[str, list[Any]]) -> dict[str, Any]:
    """The parameters and the body of `/v1/score`, with examples that this very model accepts."""
    names = list(example)
    rows = [list(row) for row in zip(*example.values(), strict=True)]
    options = {
        "alpha": {
            "type": "number",
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 1,
            "description": "Another false-alarm rate for this request; no smaller than "
            f"{detector.calibration.smallest_alpha:.3g} for this model.",
        },
        "mode": {"type": "string", "enum": list(Mode), "default": Mode.STRICT},
    }
    record = {
        "type": "object",
        "properties": {
            column.name: _JSON_TYPES[column.kind] for column in detector.schema.required
        },
    }
    table_form = {
        "title": "Rows",
        "type": "object",
        "required": ["columns", "rows"],
        "properties": {
            "columns": {"type": "array", "items": {"type": "string"}},
            "rows": {"type": "array", "minItems": 1, "items": {"type": "array"}},
            **options,
        },
        "additionalProperties": False,
    }
    record_form = {
        "title": "Records",
        "type": "object",
        "required": ["records"],
        "properties": {
            "records": {"type": "array", "minItems": 1, "items": record},
            **options,
        },
        "additionalProperties": False,
    }
    examples = {
        "rows": {"value": {"columns": names, "rows": rows}},
        "records": {"value": {"records": [dict(zip(names, row, strict=True)) for row in rows]}},
        "partial": {"value": {"columns": names, "rows": rows, "mode": Mode.PARTIAL}},
    }
    return {
        "parameters": [
            {
                "name": "explain",
                "in": "query",
                "description": "Also say which columns make the score of each flagged row.",
                "schema": {"type": "boolean", "default": False},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"oneOf": [table_form, record_form]},
                    "examples": examples,
                }
            },
        },
    }


def document(app: FastAPI, answer: type) -> None:
    """Add the components that the routes refer to; `answer` is that of the score route."""
    generate = app.openapi
    _, components = msgspec.json.schema_components((answer, ModelInfo, Problem), ref_template=_REF)

    def openapi() -> dict[str, Any]:
        described = generate()
        described.setdefault("components", {}).setdefault("schemas", {}).update(components)
        return described

    # The way that FastAPI's own documentation gives for extending the schema.
    app.openapi = openapi  # type: ignore[method-assign]
