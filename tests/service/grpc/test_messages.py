"""The messages are those of the protocol, field by field, and live beside those of a client."""

from __future__ import annotations

from typing import Any

import pytest
from tritonclient.grpc import service_pb2 as triton

from service.grpc.messages import MESSAGES

OUR_EXTENSION = {("TensorMetadata", "parameters")}
"""MLServer has it, Triton passes it over."""

ENDS = [name for name in MESSAGES if name.endswith(("Request", "Response"))]


def assert_same(ours: Any, theirs: Any) -> None:
    """Every field has the number, the type, the kind of repetition that Triton's has."""
    known = theirs.fields_by_name
    for field in ours.fields:
        if (ours.name, field.name) in OUR_EXTENSION:
            assert field.number not in theirs.fields_by_number
            continue
        other = known[field.name]
        assert (field.number, field.type, field.is_repeated) == (
            other.number,
            other.type,
            other.is_repeated,
        )
        assert field.is_packed == other.is_packed
        assert (field.containing_oneof is None) == (other.containing_oneof is None)
        if field.message_type is not None:
            assert field.message_type.GetOptions() == other.message_type.GetOptions()
            assert_same(field.message_type, other.message_type)
    extra = {(ours.name, field.name) for field in ours.fields} & OUR_EXTENSION
    assert len(known) == len(ours.fields) - len(extra)


@pytest.mark.parametrize("name", ENDS)
def test_every_message_is_tritons_field_by_field(name: str) -> None:
    assert_same(MESSAGES[name].DESCRIPTOR, getattr(triton, name).DESCRIPTOR)


def test_what_triton_writes_is_read_and_written_again_alike() -> None:
    theirs = triton.ModelInferRequest(model_name="pumps", raw_input_contents=[b"\0" * 8])
    theirs.parameters["alpha"].double_param = 0.05
    theirs.inputs.add(name="flow", datatype="FP64", shape=[1])
    theirs.outputs.add(name="score")

    ours = MESSAGES["ModelInferRequest"].FromString(theirs.SerializeToString())

    assert ours.parameters["alpha"].WhichOneof("parameter_choice") == "double_param"
    assert triton.ModelInferRequest.FromString(ours.SerializeToString()) == theirs
