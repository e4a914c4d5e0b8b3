"""Between the messages of the protocol and what is scored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from anomaly.arrays import Values
from anomaly.data.schema import Schema
from anomaly.errors import BadData
from service.grpc.messages import MESSAGES, ONE_OF
from service.routes.inference import ServedInfo
from service.settings import Limits
from service.wire.inference import (
    ALL_BINARY,
    BINARY,
    DATATYPES,
    InferenceBody,
    InferenceRequest,
    InferenceResponse,
    TensorInfo,
    WantedOutput,
    understood,
)
from service.wire.refusals import InvalidRequest
from service.wire.tensors import NUMBERS, TEXT, InputTensor, refused, to_bytes, values_of

CONTENTS = {
    "FP64": "fp64_contents",
    "FP32": "fp32_contents",
    "INT64": "int64_contents",
    "INT32": "int_contents",
    "INT16": "int_contents",
    "INT8": "int_contents",
    "UINT64": "uint64_contents",
    "UINT32": "uint_contents",
    "UINT16": "uint_contents",
    "UINT8": "uint_contents",
    "BOOL": "bool_contents",
    TEXT: "bytes_contents",
}
"""The field of each datatype; FP16 has none, and can only be sent raw."""


class NotAMessage(BadData):
    """Bytes that are no message of the kind that the method takes."""


def parsed(kind: str, body: bytes) -> Any:
    """The message.

    Raises:
        NotAMessage: it is none of that kind.
    """
    try:
        return MESSAGES[kind].FromString(body)
    except DecodeError as error:
        raise NotAMessage(
            f"the message is no {kind} of the Open Inference Protocol, version 2.",
            code="message_invalid",
        ) from error


def read_request(sent: Any, schema: Schema, limits: Limits) -> InferenceRequest:
    """Read a `ModelInferRequest`.

    Raises:
        TooLarge: more rows or columns than the limits allow.
        InvalidRequest: no such request, or a row is faulty.
    """
    inputs = [
        InputTensor(tensor.name, list(tensor.shape), tensor.datatype) for tensor in sent.inputs
    ]
    wanted = [WantedOutput(wish.name, _parameters(wish.parameters)) for wish in sent.outputs]
    body = InferenceBody(inputs, sent.id, _parameters(sent.parameters), wanted)
    if ALL_BINARY in body.parameters or any(BINARY in wish.parameters for wish in wanted):
        raise InvalidRequest(
            f"`{ALL_BINARY}` and `{BINARY}` belong to REST. Leave them out: over gRPC every output "
            "is in raw_output_contents.",
            code="body_invalid",
        )
    return understood(body, _arrays(sent, inputs), schema, limits)


def response_of(
    request: InferenceRequest, arrays: Mapping[str, Values], said: InferenceResponse
) -> Any:
    """The `ModelInferResponse`, its outputs raw as Triton's are."""
    response = MESSAGES["ModelInferResponse"](
        model_name=said.model_name, model_version=said.model_version, id=request.id
    )
    for name, value in said.parameters.items():
        response.parameters[name].double_param = value
    for name in request.binary:
        values = arrays[name]
        datatype = DATATYPES[values.dtype.kind]
        response.outputs.add(name=name, datatype=datatype, shape=values.shape)
        response.raw_output_contents.append(to_bytes(values))
    return response


def metadata_of(info: ServedInfo) -> Any:
    """The `ModelMetadataResponse`."""
    response = MESSAGES["ModelMetadataResponse"](
        name=info.name, versions=info.versions, platform=info.platform
    )
    for tensors, described in ((response.inputs, info.inputs), (response.outputs, info.outputs)):
        for tensor in described:
            _describe(tensors.add(), tensor)
    return response


def _describe(tensor: Any, info: TensorInfo) -> None:
    tensor.name, tensor.datatype = info.name, info.datatype
    tensor.shape.extend(info.shape)
    for name, value in info.parameters.items():
        tensor.parameters[name].string_param = json.dumps(value, ensure_ascii=False)


def _parameters(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values; None for one that is empty."""
    chosen = {name: (value, value.WhichOneof(ONE_OF)) for name, value in sent.items()}
    return {
        name: None if field is None else getattr(value, field)
        for name, (value, field) in chosen.items()
    }


def _arrays(sent: Any, inputs: Sequence[InputTensor]) -> list[Values]:
    """The values of each input, all of them raw or none."""
    raw = sent.raw_input_contents
    if not raw:
        for tensor, message in zip(inputs, sent.inputs, strict=True):
            tensor.data = _typed(tensor, message.contents)
        return [values_of(tensor, None) for tensor in inputs]
    if len(raw) != len(inputs) or any(message.HasField("contents") for message in sent.inputs):
        raise InvalidRequest(
            "raw_input_contents must hold the bytes of every input, in their order, and no input "
            "may have contents besides.",
            code="body_invalid",
        )
    pairs = zip(inputs, raw, strict=True)
    return [values_of(tensor, memoryview(content)) for tensor, content in pairs]


def _typed(tensor: InputTensor, contents: Any) -> list[Any]:
    """The values, which stand in the field of the datatype and in no other."""
    field = CONTENTS.get(tensor.datatype)
    if field is None and tensor.datatype in NUMBERS:
        raise refused(tensor, f"is {tensor.datatype}, which can only be sent raw")
    if field is None:
        return []  # There is no such datatype, and whoever reads the values says so.
    if {found.name for found, _ in contents.ListFields()} - {field}:
        raise refused(tensor, f"has values that are no {tensor.datatype}; those go into {field}")
    values = list(getattr(contents, field))
    return _decoded(tensor, values) if tensor.datatype == TEXT else values


def _decoded(tensor: InputTensor, values: Sequence[bytes]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        try:
            found.append(value.decode())
        except UnicodeDecodeError as error:
            raise refused(tensor, f"is not UTF-8 in element {len(found)}") from error
    return found
