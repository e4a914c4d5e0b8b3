"""Networks: maps from what is seen to the parameters of a distribution."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Float32, Parameters, Tensor
from anomaly.data.schema import STRICT
from anomaly.models.ops import Ops

Width = Annotated[int, Field(ge=1, le=65_536)]


@dataclass(frozen=True, config=STRICT)
class Sizes:
    """The widths that data and likelihood dictate.

    Attributes:
        inputs: P, what the encoder sees of a row.
        context: K, what both networks are told; 0 without context columns.
        latent: L.
        outputs: R, the numbers the likelihood needs from the decoder.
    """

    inputs: Annotated[int, Field(ge=1)]
    context: Annotated[int, Field(ge=0)]
    latent: Annotated[int, Field(ge=1)]
    outputs: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=STRICT)
class DenseNetworks:
    """Fully connected encoder and mirrored decoder with SiLU (Hendrycks & Gimpel 2016).

    With no hidden layer both maps are linear: with a deterministic posterior and squared error
    this is PCA (Bourlard & Kamp 1988), with a Gaussian one probabilistic PCA.

    Attributes:
        hidden: Widths of the encoder's hidden layers, outermost first.
    """

    kind: Literal["dense"] = "dense"
    hidden: tuple[Width, ...] = (128, 128)

    def shapes(self, sizes: Sizes, encoder_outputs: int) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by name."""
        encoder = (sizes.inputs + sizes.context, *self.hidden, encoder_outputs)
        decoder = (sizes.latent + sizes.context, *reversed(self.hidden), sizes.outputs)
        return {**_stack_shapes("encoder", encoder), **_stack_shapes("decoder", decoder)}

    def initial(self, sizes: Sizes, encoder_outputs: int, rng: np.random.Generator) -> Parameters:
        """Fresh float32 parameters: uniform weights within 1 / sqrt(fan-in), zero biases."""
        return {
            name: _initial(shape, rng)
            for name, shape in self.shapes(sizes, encoder_outputs).items()
        }

    def encode(self, ops: Ops, parameters: Parameters, inputs: Tensor, context: Tensor) -> Tensor:
        """inputs (N, P), context (N, K) -> (N, encoder outputs)."""
        x = ops.concatenate([inputs, context]) if context.shape[-1] else inputs
        return self._stack(ops, parameters, "encoder", x)

    def decode(self, ops: Ops, parameters: Parameters, z: Tensor, context: Tensor) -> Tensor:
        """z (S, N, L), context (N, K) -> (S, N, R)."""
        if context.shape[-1]:
            z = ops.concatenate([z, ops.broadcast(context, (z.shape[0], *context.shape))])
        flat = self._stack(ops, parameters, "decoder", z.reshape(-1, z.shape[-1]))
        return flat.reshape(z.shape[0], z.shape[1], -1)

    def _stack(self, ops: Ops, parameters: Parameters, name: str, x: Tensor) -> Tensor:
        layers = (f"{name}.{number}" for number in range(len(self.hidden) + 1))
        return ops.perceptron(
            x, [(parameters[f"{layer}.weight"], parameters[f"{layer}.bias"]) for layer in layers]
        )


def _stack_shapes(name: str, widths: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (fan_in, fan_out) in enumerate(pairwise(widths)):
        shapes[f"{name}.{layer}.weight"] = (fan_out, fan_in)
        shapes[f"{name}.{layer}.bias"] = (fan_out,)
    return shapes


def _initial(shape: tuple[int, ...], rng: np.random.Generator) -> Float32:
    if len(shape) == 1:
        return np.zeros(shape, np.float32)
    bound = 1 / np.sqrt(shape[1])
    return rng.uniform(-bound, bound, shape).astype(np.float32)
