"""Calls of a service over gRPC, as bytes and as Triton's messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as triton

from anomaly.arrays import Values
from tests.service.app.test_server import Process, running
from tests.service.pumps import NUMBERS, as_request, normal_records, numbers

SERVICE = "/inference.GRPCInferenceService/"
RECORDS = normal_records(8, seed=5)
ROWS = numbers(8, seed=5)
MATRIX = ROWS.numbers(NUMBERS.names)


@dataclass(frozen=True)
class Answer:
    """How a call ended."""

    code: str
    body: bytes
    details: str
    trailing: dict[str, str]

    @property
    def outputs(self) -> dict[str, Values]:
        """The arrays of a `ModelInferResponse`."""
        assert self.code == "OK", self.details
        response = triton.ModelInferResponse.FromString(self.body)
        raw = zip(response.outputs, response.raw_output_contents, strict=True)
        return {
            output.name: np.frombuffer(
                content, dtype={"FP64": "<f8", "BOOL": "?"}[output.datatype]
            ).reshape(output.shape)
            for output, content in raw
        }


@dataclass(frozen=True)
class Line:
    """A channel to a running service."""

    process: Process
    channel: grpc.Channel

    def call(
        self, method: str, message: Any = b"", metadata: Sequence[tuple[str, str]] = (), **how: Any
    ) -> Answer:
        """One call; the method is one of the protocol, or a whole path."""
        path = method if method.startswith("/") else SERVICE + method
        body = message if isinstance(message, bytes) else message.SerializeToString()
        return ended(self.channel.unary_unary(path), body, metadata, **how)

    def infer(self, message: Any, **how: Any) -> Answer:
        """One `ModelInfer`."""
        return self.call("ModelInfer", message, **how)


def ended(
    method: Any,
    sent: bytes | Iterable[bytes],
    metadata: Sequence[tuple[str, str]] = (),
    **how: Any,
) -> Answer:
    """How the call ends; only a call that never ends raises."""
    try:
        body, call = method.with_call(sent, timeout=30, metadata=metadata, **how)
    except grpc.RpcError as error:
        trailing = dict(error.trailing_metadata() or ())
        return Answer(error.code().name, b"", error.details(), trailing)
    return Answer("OK", body, "", dict(call.trailing_metadata()))


@contextmanager
def line(artifact: Path, *arguments: str, **settings: str) -> Iterator[Line]:
    """A channel to a service of its own."""
    with running(artifact, *arguments, "--grpc-port", "0", **settings) as process:
        # It says where it will listen before it does; as soon as HTTP answers, gRPC does, too.
        assert process.is_ready()
        with grpc.insecure_channel(address_of(process)) as channel:
            yield Line(process, channel)


def address_of(process: Process) -> str:
    """Where it speaks gRPC, by its own account."""
    lines = [line.split() for line in process.greeting.splitlines()]
    return next(words[1] for words in lines if words[0] == "gRPC")


def matrix(**parameters: Any) -> Any:
    """The rows of numbers as one raw tensor."""
    request = triton.ModelInferRequest(model_name="numbers", id="42")
    request.inputs.add(name="input", datatype="FP64", shape=MATRIX.shape)
    request.raw_input_contents.append(MATRIX.tobytes())
    return with_parameters(request, **parameters)


def with_parameters(request: Any, **parameters: Any) -> Any:
    """The request, its parameters set by their Python types."""
    fields = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    for name, value in parameters.items():
        setattr(request.parameters[name], fields[type(value)], value)
    return request


def columns(count: int = 8) -> Any:
    """The pumps, one tensor a column, in typed contents."""
    sent = as_request(RECORDS.take(slice(0, count)))
    request = triton.ModelInferRequest(model_name="pumps")
    by_column = zip(*sent["rows"], strict=True)
    for name, values in zip(sent["columns"], by_column, strict=True):
        tensor = request.inputs.add(name=name, shape=[count])
        match name:
            case "valve_open":
                tensor.datatype = "BOOL"
                tensor.contents.bool_contents.extend(values)
            case "site" | "taken":
                tensor.datatype = "BYTES"
                tensor.contents.bytes_contents.extend((value or "").encode() for value in values)
            case _:
                tensor.datatype = "FP64"
                missing = (np.nan if value is None else value for value in values)
                tensor.contents.fp64_contents.extend(missing)
    return request
