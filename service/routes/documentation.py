"""What `/openapi.json` says of bodies that FastAPI neither reads nor writes here."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from io import StringIO
from typing import Any

import msgspec
from fastapi import FastAPI

from anomaly.data.schema import Kind
from anomaly.detector import Detector
from service.routes.problems import MEDIA_TYPE
from service.wire.answer import (
    Answer,
    ImageAnswer,
    ModelInfo,
    Problem,
    Ready,
    Reloaded,
    ServedModels,
)
from service.wire.request import Mode

COMPONENTS = (Answer, ImageAnswer, ModelInfo, Problem, Ready, Reloaded, ServedModels)

_REF = "#/components/schemas/{name}"


def reference(component: type) -> dict[str, Any]:
    """The schema of a component."""
    return {"$ref": _REF.format(name=component.__name__)}


def answered(description: str, component: type) -> dict[str, Any]:
    """A response that holds a component."""
    content = {"application/json": {"schema": reference(component)}}
    return {"description": description, "content": content}


def problem(description: str) -> dict[str, Any]:
    """A refusal."""
    return {"description": description, "content": {MEDIA_TYPE: {"schema": reference(Problem)}}}


FILE = {"type": "string", "contentMediaType": "application/octet-stream", "format": "binary"}
TEXT = {"type": "string"}

_SCORED = answered(
    "One entry for each row, in their order. Ask for the others by `accept`.", Answer
)
_SCORED["content"] |= {
    "text/csv": {"schema": TEXT},
    "application/x-ndjson": {"schema": TEXT},
    "application/vnd.apache.parquet": {"schema": FILE},
    "application/vnd.apache.arrow.stream": {"schema": FILE},
}

_SCORE_RESPONSES = {
    200: _SCORED,
    400: problem("The body is empty, or not what its header says."),
    408: problem("The body did not arrive in time."),
    413: problem("Too many bytes, rows or columns."),
    415: problem("The body is compressed, or of no format that is read, by its own account."),
    422: problem("Columns are missing or unknown, or (mode strict) a row is faulty."),
    503: problem("Too many rows wait already; the header retry-after says how long to wait."),
}

_JSON_TYPES = {
    Kind.NUMERIC: {"type": ["number", "null"]},
    Kind.BOOLEAN: {"type": ["boolean", "null"]},
    Kind.CATEGORICAL: {"type": ["string", "null"]},
    Kind.DATETIME: {"type": ["string", "null"], "format": "date-time"},
}


def operation(
    summary: str,
    description: str,
    responses: dict[int, dict[str, Any]],
    parameters: list[dict[str, Any]],
    body: dict[str, Any],
) -> dict[str, Any]:
    """What there is to be said of a route that scores."""
    return {
        "tags": ["score"],
        "summary": summary,
        "description": description,
        "operationId": operation_id(summary),
        "parameters": parameters,
        "requestBody": {"required": True, **body},
        "responses": {str(status): response for status, response in responses.items()},
    }


def operation_id(summary: str) -> str:
    """As unique as the summary: names of models keep their capitals."""
    return f"{summary[0].lower()}{summary[1:]}".replace(" ", "_")


def score_operation(
    summary: str, detector: Detector, example: dict[str, list[Any]]
) -> dict[str, Any]:
    """A route that scores rows, with examples that this very model accepts."""
    names = list(example)
    rows = [list(row) for row in zip(*example.values(), strict=True)]
    options: dict[str, dict[str, Any]] = {
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
    explain = {
        "name": "explain",
        "in": "query",
        "description": "Also say which columns make the score of each flagged row.",
        "schema": {"type": "boolean", "default": False},
    }
    elsewhere = "Of bodies that are not JSON, which says it itself. "
    alpha, mode = (
        {
            "name": name,
            "in": "query",
            "description": elsewhere + options[name].get("description", ""),
            "schema": {key: value for key, value in options[name].items() if key != "description"},
        }
        for name in ("alpha", "mode")
    )
    schema = {"oneOf": [table_form, record_form]}
    content: dict[str, Any] = {
        "application/json": {"schema": schema, "examples": examples},
        "text/csv": {"schema": TEXT, "example": _as_csv(names, rows)},
        "application/x-ndjson": {"schema": TEXT, "example": _as_lines(names, rows)},
        "application/vnd.apache.parquet": {"schema": FILE},
        "application/vnd.apache.arrow.stream": {"schema": FILE},
    }
    return operation(
        summary,
        "Scores, p-values and verdicts for up to a few thousand rows, in their order.\n\n"
        "A row is an anomaly if and only if its p-value is at most alpha; among normal rows that "
        "happens with probability alpha at most. The same row always gets the same score, alone or "
        "in any company. Warnings tell what is remarkable about a row; they change no verdict.",
        _SCORE_RESPONSES,
        [explain, alpha, mode],
        {"content": content},
    )


def _as_csv(names: list[str], rows: list[list[Any]]) -> str:
    out = StringIO()
    csv.writer(out).writerows([names, *rows])
    return out.getvalue()


def _as_lines(names: list[str], rows: list[list[Any]]) -> str:
    return "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows)


def document(
    app: FastAPI,
    version: Callable[[], str],
    paths: Callable[[], dict[str, dict[str, Any]]],
    components: Sequence[type] = (),
) -> None:
    """Add the path items that the framework does not know of, by path, and the components that all
    of them refer to.

    Args:
        version: Of what is served, and
        paths: both asked at every look: models come and go.
    """
    generate = app.openapi
    _, schemas = msgspec.json.schema_components((*COMPONENTS, *components), ref_template=_REF)

    def openapi() -> dict[str, Any]:
        described = deepcopy(generate())
        described["info"]["version"] = version()
        described.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
        described["paths"].update(paths())
        # /docs shows the tags that are listed before all others: scoring is what most come for.
        described["tags"] = [{"name": "score"}]
        return described

    # The way that FastAPI's own documentation gives for extending the schema.
    app.openapi = openapi  # type: ignore[method-assign]
