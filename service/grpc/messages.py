"""The messages of the protocol, built from a table.

https://github.com/kserve/open-inference-protocol. They have a pool of descriptors of their own: in
the common one each name is there once, and clients of the protocol bring theirs along. Generated
code would also ask for a release of protobuf as new as its generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "inference"

ONE_OF = "parameter_choice"
"""At most one of the fields of an `InferParameter` is there."""

FIELDS = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready",
    "ModelReadyRequest": "string name, string version",
    "ModelReadyResponse": "bool ready",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "string name, string version, repeated string extensions",
    "ModelMetadataRequest": "string name, string version",
    "ModelMetadataResponse": "string name, repeated string versions, string platform, "
    "repeated TensorMetadata inputs, repeated TensorMetadata outputs",
    "TensorMetadata": "string name, string datatype, repeated int64 shape, map parameters",
    "ModelInferRequest": "string model_name, string model_version, string id, map parameters, "
    "repeated InferInputTensor inputs, repeated InferRequestedOutputTensor outputs, "
    "repeated bytes raw_input_contents",
    "ModelInferResponse": "string model_name, string model_version, string id, map parameters, "
    "repeated InferOutputTensor outputs, repeated bytes raw_output_contents",
    "InferInputTensor": "string name, string datatype, repeated int64 shape, map parameters, "
    "InferTensorContents contents",
    "InferOutputTensor": "string name, string datatype, repeated int64 shape, map parameters, "
    "InferTensorContents contents",
    "InferRequestedOutputTensor": "string name, map parameters",
    "InferParameter": "bool bool_param, int64 int64_param, string string_param, "
    "double double_param, uint64 uint64_param",
    "InferTensorContents": "repeated bool bool_contents, repeated int32 int_contents, "
    "repeated int64 int64_contents, repeated uint32 uint_contents, "
    "repeated uint64 uint64_contents, repeated float fp32_contents, "
    "repeated double fp64_contents, repeated bytes bytes_contents",
}
"""Of each message, numbered from 1 in this order; a `map` is one from texts to `InferParameter`s.

The parameters of a `TensorMetadata` are MLServer's: others pass them over."""


def _descriptor(name: str) -> DescriptorProto:
    """One message; its fields of the kind `map` bring a type of their own."""
    found = DescriptorProto(name=name)
    for number, said in enumerate(filter(None, FIELDS[name].split(", ")), start=1):
        *label, kind, field = said.split()
        added = found.field.add(name=field, number=number)
        added.label = _label(kind == "map" or label == ["repeated"])
        _set_type(added, f"{name}.ParametersEntry" if kind == "map" else kind)
        if kind == "map":
            found.nested_type.append(_entry())
        if name == "InferParameter":
            added.oneof_index = 0
    if name == "InferParameter":
        found.oneof_decl.add(name=ONE_OF)
    return found


def _entry() -> DescriptorProto:
    """What a map is on the wire: repeated pairs."""
    entry = DescriptorProto(name="ParametersEntry")
    entry.options.map_entry = True
    for number, (field, kind) in enumerate((("key", "string"), ("value", "InferParameter")), 1):
        _set_type(entry.field.add(name=field, number=number, label=_label(False)), kind)
    return entry


def _label(is_repeated: bool) -> Any:
    name = "LABEL_REPEATED" if is_repeated else "LABEL_OPTIONAL"
    return FieldDescriptorProto.Label.Value(name)


def _set_type(field: Any, kind: str) -> None:
    if kind[0].isupper():
        field.type_name = f".{PACKAGE}.{kind}"
        kind = "message"
    field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")


def _classes() -> Iterator[tuple[str, Any]]:
    file = FileDescriptorProto(name="anomaly/inference.proto", package=PACKAGE, syntax="proto3")
    file.message_type.extend(map(_descriptor, FIELDS))
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    for name in FIELDS:
        yield name, GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


MESSAGES: dict[str, Any] = dict(_classes())
"""The class of each message, by its name."""
