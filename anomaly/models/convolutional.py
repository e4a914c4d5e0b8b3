"""Convolutional networks: rows that are squares of pixels."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Float32, Parameters, Tensor
from anomaly.data.schema import STRICT
from anomaly.models.networks import Sizes
from anomaly.models.ops import Ops

Channels = Annotated[int, Field(ge=1, le=4096)]
Side = Annotated[int, Field(ge=1, le=4096)]

MOST_GROUPS = 8
"""Groups of channels that are normalised together, at most."""


@dataclass(frozen=True, config=STRICT)
class ConvNetworks:
    """Convolutional encoder and mirrored decoder: a spatial VAE, whose latents are a small image.

    Each stage of the encoder halves the sides by a 4 x 4 convolution with stride 2, and all but the
    first look again by a 3 x 3 one; a 1 x 1 convolution then gives the posterior of
    `latent_channels` numbers for each place. Each stage of the decoder is a 3 x 3 convolution, the
    last has two, and a 1 x 1 convolution whose channels become pixels, so that nothing is computed
    at full size but the outputs. Between convolutions groups of channels are normalised and SiLU is
    applied. A row is an image in the order (channel, y, x); context values become constant
    channels.

    Attributes:
        height, width: Of a row in pixels; multiples of 2 ** len(widths).
        widths: Channels after each stage, outermost first.
        latent_channels: Latents of each place of the innermost image.
    """

    height: Side
    width: Side
    kind: Literal["conv"] = "conv"
    widths: Annotated[tuple[Channels, ...], Field(min_length=1, max_length=6)] = (24, 32, 48)
    latent_channels: Channels = 8

    def __post_init__(self) -> None:
        if self.height % self.reduction or self.width % self.reduction:
            raise ValueError(
                f"{len(self.widths)} stages halve the sides as often, so these must be multiples "
                f"of {self.reduction}, not {self.height} x {self.width}"
            )

    @property
    def reduction(self) -> int:
        """Pixels to a side of a place of the latent image."""
        return int(2 ** len(self.widths))

    @property
    def latent(self) -> int:
        """L."""
        return self.latent_channels * self._places

    @property
    def _places(self) -> int:
        return (self.height // self.reduction) * (self.width // self.reduction)

    def shapes(self, sizes: Sizes, encoder_outputs: int) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by name."""
        pixels = self.height * self.width
        shapes: dict[str, tuple[int, ...]] = {}
        channels = sizes.inputs // pixels + sizes.context
        for stage, width in enumerate(self.widths):
            shapes |= layer_shapes(f"encoder.{stage}", channels, width, 4)
            shapes |= norm_shapes(f"encoder.{stage}", width)
            if stage:
                shapes |= layer_shapes(f"encoder.{stage}.again", width, width, 3)
                shapes |= norm_shapes(f"encoder.{stage}.again", width)
            channels = width
        outputs = encoder_outputs // self._places
        shapes |= layer_shapes(f"encoder.{len(self.widths)}", channels, outputs, 1)
        channels = sizes.latent // self._places + sizes.context
        outward = (*reversed(self.widths[:-1]), sizes.outputs // pixels)
        for stage, (width, after) in enumerate(zip(reversed(self.widths), outward, strict=True)):
            shapes |= layer_shapes(f"decoder.{stage}", channels, width, 3)
            shapes |= norm_shapes(f"decoder.{stage}", width)
            if stage == len(self.widths) - 1:
                shapes |= layer_shapes(f"decoder.{stage}.again", width, width, 3)
                shapes |= norm_shapes(f"decoder.{stage}.again", width)
            shapes |= layer_shapes(f"decoder.{stage}.up", width, 4 * after, 1)
            channels = after
        return shapes

    def initial(self, sizes: Sizes, encoder_outputs: int, rng: np.random.Generator) -> Parameters:
        """Fresh float32 parameters: uniform weights within sqrt(3 / fan-in), neutral norms."""
        return {
            name: initial_of(name, shape, rng)
            for name, shape in self.shapes(sizes, encoder_outputs).items()
        }

    def encode(self, ops: Ops, parameters: Parameters, inputs: Tensor, context: Tensor) -> Tensor:
        """inputs (N, P), context (N, K) -> (N, encoder outputs)."""
        x = inputs.reshape(len(inputs), -1, self.height, self.width)
        x = _with_context(ops, x, context)
        outputs = ops.network(partial(self._encoded, ops, parameters, x))
        return outputs.reshape(len(inputs), -1)

    def _encoded(self, ops: Ops, parameters: Parameters, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, channels, h, w), of the innermost image."""
        for stage in range(len(self.widths)):
            x = convolved(ops, parameters, f"encoder.{stage}", x, stride=2)
            x = activated(ops, parameters, f"encoder.{stage}", x)
            if stage:
                x = convolved(ops, parameters, f"encoder.{stage}.again", x)
                x = activated(ops, parameters, f"encoder.{stage}.again", x)
        return convolved(ops, parameters, f"encoder.{len(self.widths)}", x)

    def decode(self, ops: Ops, parameters: Parameters, z: Tensor, context: Tensor) -> Tensor:
        """z (S, N, L), context (N, K) -> (S, N, R)."""
        draws, rows = z.shape[0], z.shape[1]
        places = (self.height // self.reduction, self.width // self.reduction)
        x = z.reshape(draws * rows, -1, *places)
        if context.shape[-1]:
            told = ops.broadcast(context, (draws, *context.shape))
            x = _with_context(ops, x, told.reshape(draws * rows, -1))
        outputs = ops.network(partial(self._decoded, ops, parameters, x))
        return outputs.reshape(draws, rows, -1)

    def _decoded(self, ops: Ops, parameters: Parameters, x: Tensor) -> Tensor:
        """(S N, channels, h, w), of the innermost image, -> (S N, channels, H, W)."""
        for stage in range(len(self.widths)):
            x = convolved(ops, parameters, f"decoder.{stage}", x)
            x = activated(ops, parameters, f"decoder.{stage}", x)
            if stage == len(self.widths) - 1:
                x = convolved(ops, parameters, f"decoder.{stage}.again", x)
                x = activated(ops, parameters, f"decoder.{stage}.again", x)
            x = ops.pixel_shuffle(convolved(ops, parameters, f"decoder.{stage}.up", x))
        return x


def _with_context(ops: Ops, x: Tensor, context: Tensor) -> Tensor:
    if not context.shape[-1]:
        return x
    planes = ops.broadcast(context[:, :, None, None], (*context.shape, *x.shape[-2:]))
    return ops.concatenate([x, planes], axis=1)


def convolved(
    ops: Ops, parameters: Parameters, name: str, x: Tensor, stride: int = 1, dilation: int = 1
) -> Tensor:
    """The convolution of that name."""
    weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
    return ops.convolve(x, weight, bias, stride, dilation)


def activated(ops: Ops, parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """Normalised by groups of channels, then SiLU."""
    scale, shift = parameters[f"{name}.norm_scale"], parameters[f"{name}.norm_shift"]
    return ops.silu(ops.group_norm(x, _groups(len(scale)), scale, shift))


def _groups(channels: int) -> int:
    """The most groups, up to `MOST_GROUPS`, that divide the channels."""
    return max(groups for groups in range(1, MOST_GROUPS + 1) if channels % groups == 0)


def layer_shapes(name: str, fan_in: int, fan_out: int, kernel: int) -> dict[str, tuple[int, ...]]:
    """Of a convolution."""
    return {f"{name}.weight": (fan_out, fan_in, kernel, kernel), f"{name}.bias": (fan_out,)}


def norm_shapes(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    """Of the normalisation after it."""
    return {f"{name}.norm_scale": (channels,), f"{name}.norm_shift": (channels,)}


def initial_of(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Float32:
    """Fresh numbers: uniform weights within sqrt(3 / fan-in), neutral norms, zero biases."""
    if name.endswith("norm_scale"):
        return np.ones(shape, np.float32)
    if len(shape) == 1:
        return np.zeros(shape, np.float32)
    bound = np.sqrt(3 / np.prod(shape[1:]))
    return rng.uniform(-bound, bound, shape).astype(np.float32)
