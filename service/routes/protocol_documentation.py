"""What `/openapi.json` says of the routes of other protocols: `/v2` and `/invocations`."""

from __future__ import annotations

from typing import Any

from anomaly.data.schema import Kind
from anomaly.detector import Detector
from service.detectors import Served
from service.routes.body import JSON_TYPE
from service.routes.documentation import (
    FILE,
    TEXT,
    answered,
    operation,
    operation_id,
    problem,
    reference,
)
from service.routes.inference import Live, ModelReady, ServedInfo, ServerInfo
from service.routes.inference_errors import ROOT
from service.routes.invocations import PATH, VERSION_PATH
from service.routes.repository import INDEX, IndexBody, IndexedModel
from service.wire.inference import InferenceBody, InferenceError, InferenceResponse
from service.wire.invocations import Predictions

COMPONENTS = (
    IndexBody,
    IndexedModel,
    InferenceBody,
    InferenceError,
    InferenceResponse,
    Live,
    ModelReady,
    Predictions,
    ServedInfo,
    ServerInfo,
)

INFERENCE, MLFLOW = "open inference protocol", "mlflow protocol"
"""Tags."""

INDEX_SCHEMA = {"type": "array", "items": reference(IndexedModel)}

_LENGTH = {
    "name": "inference-header-content-length",
    "in": "header",
    "description": "How many bytes of the body are JSON, where bytes of tensors follow it.",
    "schema": {"type": "integer"},
}


def server_paths() -> dict[str, dict[str, Any]]:
    """Path items that belong to no model."""
    return {
        ROOT: _get("Server metadata", ServerInfo, {}),
        f"{ROOT}/health/live": _get("Server live", Live, {}),
        f"{ROOT}/health/ready": _get("Server ready", Live, {503: failed("Not now.")}),
        INDEX: {"post": _index()},
        VERSION_PATH: {
            "get": {
                "tags": [MLFLOW],
                "summary": "Version of MLflow",
                "operationId": "mlflow_version",
                "responses": {
                    "200": {"description": "As text.", "content": {"text/plain": {"schema": TEXT}}}
                },
            }
        },
    }


def model_paths(served: Served) -> dict[str, dict[str, Any]]:
    """Path items of a model; of one of images without the routes that take rows."""
    paths: dict[str, dict[str, Any]] = {}
    place = f"{ROOT}/models/{served.name}"
    for path, what in (
        (place, served.name),
        (f"{place}/versions/{served.version}", f"{served.name}, version {served.version}"),
    ):
        paths[path] = _get(f"Metadata of {what}", ServedInfo, {})
        paths[f"{path}/ready"] = _get(f"Readiness of {what}", ModelReady, {503: failed("Not now.")})
        if isinstance(served.detector, Detector):
            infer = _infer(f"Infer with {what}", served.detector, served.example)
            paths[f"{path}/infer"] = {"post": infer}
    return paths


def default_paths(served: Served) -> dict[str, dict[str, Any]]:
    """Path items of the model that answers where a path names none."""
    if not isinstance(served.detector, Detector):
        return {}
    return {PATH: {"post": _invocations(served.example)}}


def failed(description: str) -> dict[str, Any]:
    """A refusal in the words of the Open Inference Protocol."""
    return answered(description, InferenceError)


def _infer(summary: str, detector: Detector, example: dict[str, list[Any]]) -> dict[str, Any]:
    numeric = all(column.kind is Kind.NUMERIC for column in detector.schema.required)
    ok = answered("The outputs that were asked for.", InferenceResponse)
    ok["content"]["application/octet-stream"] = {"schema": FILE}
    body = {
        "content": {
            "application/json": {
                "schema": reference(InferenceBody),
                "example": {"inputs": _matrix(example) if numeric else _tensors(example)},
            },
            "application/octet-stream": {"schema": FILE},
        }
    }
    found = operation(
        summary,
        "Scores, p-values and verdicts of rows, as tensors in JSON or in bytes. `parameters` takes "
        "`alpha` and `explain`.",
        {
            200: ok,
            400: failed("No such request, or a row is faulty."),
            408: failed("The body did not arrive in time."),
            413: failed("Too many bytes, rows or columns."),
            415: failed("The body is compressed, or neither JSON nor JSON with bytes."),
            503: failed("Too many rows wait already; the header retry-after says how long."),
        },
        [_LENGTH],
        body,
    )
    return {**found, "tags": [INFERENCE]}


def _index() -> dict[str, Any]:
    found = operation(
        "Repository index",
        "Every model of the service, with the version of it that is served.",
        {200: {"description": "All of them.", "content": {JSON_TYPE: {"schema": INDEX_SCHEMA}}}},
        [],
        {"required": False, "content": {JSON_TYPE: {"schema": reference(IndexBody)}}},
    )
    return {**found, "tags": [INFERENCE]}


def _invocations(example: dict[str, list[Any]]) -> dict[str, Any]:
    rows = [list(row) for row in zip(*example.values(), strict=True)]
    records = [dict(zip(example, row, strict=True)) for row in rows]
    examples = {
        "dataframe_split": {"columns": list(example), "data": rows},
        "dataframe_records": records,
        "instances": records,
        "inputs": example,
    }
    found = operation(
        "Invoke as MLflow",
        "What `mlflow models serve` answers to the same request. `params` takes `alpha` and "
        "`explain_top_k`.",
        {
            200: answered("One entry for each row, in their order.", Predictions),
            400: problem("The body is empty, or not what its header says."),
            408: problem("The body did not arrive in time."),
            413: problem("Too many bytes, rows or columns."),
            415: problem("The body is compressed, or neither JSON nor CSV nor Parquet."),
            422: problem("Columns are missing, or a row is faulty."),
            503: problem("Too many rows wait already; the header retry-after says how long."),
        },
        [],
        {
            "content": {
                "application/json": {
                    "schema": {"type": "object"},
                    "examples": {form: {"value": {form: sent}} for form, sent in examples.items()},
                },
                "text/csv": {"schema": TEXT},
                "application/vnd.apache.parquet": {"schema": FILE},
            }
        },
    )
    return {**found, "tags": [MLFLOW]}


def _matrix(example: dict[str, list[Any]]) -> list[dict[str, Any]]:
    rows = [list(row) for row in zip(*example.values(), strict=True)]
    shape = [len(rows), len(example)]
    return [{"name": "input", "shape": shape, "datatype": "FP64", "data": rows}]


def _tensors(example: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": [len(values)], "datatype": _datatype(values), "data": values}
        for name, values in example.items()
    ]


def _datatype(values: list[Any]) -> str:
    if any(isinstance(value, bool) for value in values):
        return "BOOL"
    return "FP64" if any(isinstance(value, float) for value in values) else "BYTES"


def _get(summary: str, component: type, refusals: dict[int, dict[str, Any]]) -> dict[str, Any]:
    responses = {200: answered(f"{summary}.", component), **refusals}
    return {
        "get": {
            "tags": [INFERENCE],
            "summary": summary,
            "operationId": operation_id(summary),
            "responses": {str(status): response for status, response in responses.items()},
        }
    }
