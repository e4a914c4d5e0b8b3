"""A network that tells drawn defects from normal surfaces, place by place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Parameters, Tensor
from anomaly.data.schema import STRICT
from anomaly.models.convolutional import (
    Channels,
    activated,
    convolved,
    initial_of,
    layer_shapes,
    norm_shapes,
)
from anomaly.models.ops import Ops

REDUCTION = 4
"""Pixels to a side of a place that is judged."""

LEVELS = 3
"""Of the pyramid: the network sees an image at full, half and quarter size."""

DILATIONS = (1, 2, 4, 1)
"""Of the convolutions at quarter size: together they see 68 pixels around a place."""

RARE = -3.0
"""The first guess, in logits: most places are normal."""


@dataclass(frozen=True, config=STRICT)
class DefectNetwork:
    """Fully convolutional: halved twice, each time joined by the next level of the pyramid, then
    dilated convolutions and one logit for each 4 x 4 pixels.

    Attributes:
        channels: Of the image; each level comes with one plane more, which is 1 where there is an
            image to see.
        widths: Channels at half, at quarter size, and of the dilated convolutions.
    """

    channels: Annotated[int, Field(ge=1, le=3)]
    widths: tuple[Channels, Channels, Channels] = (16, 32, 48)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by name."""
        first, second, third = self.widths
        seen = self.channels + 1
        shapes = {
            **layer_shapes("defects.half", seen, first, 4),
            **norm_shapes("defects.half", first),
            **layer_shapes("defects.quarter", first + seen, second, 4),
            **norm_shapes("defects.quarter", second),
        }
        fan_in = second + seen
        for number in range(len(DILATIONS)):
            shapes |= layer_shapes(f"defects.{number}", fan_in, third, 3)
            shapes |= norm_shapes(f"defects.{number}", third)
            fan_in = third
        return {**shapes, **layer_shapes("defects.logit", third, 1, 1)}

    def initial(self, rng: np.random.Generator) -> Parameters:
        """Fresh float32 parameters."""
        found = {name: initial_of(name, shape, rng) for name, shape in self.shapes().items()}
        return {**found, "defects.logit.bias": np.full(1, RARE, np.float32)}

    def logits(self, ops: Ops, parameters: Parameters, levels: Sequence[Tensor]) -> Tensor:
        """log odds of a defect, (N, H / 4, W / 4).

        Args:
            levels: (N, channels + 1, H, W), and the same at half and at quarter size; H and W are
                multiples of 4.
        """
        return ops.network(partial(self._logits, ops, parameters, levels))

    def _logits(self, ops: Ops, parameters: Parameters, levels: Sequence[Tensor]) -> Tensor:
        full, half, quarter = levels
        x = convolved(ops, parameters, "defects.half", full, stride=2)
        x = activated(ops, parameters, "defects.half", x)
        x = ops.concatenate([x, half], axis=1)
        x = convolved(ops, parameters, "defects.quarter", x, stride=2)
        x = activated(ops, parameters, "defects.quarter", x)
        x = ops.concatenate([x, quarter], axis=1)
        for number, dilation in enumerate(DILATIONS):
            x = convolved(ops, parameters, f"defects.{number}", x, dilation=dilation)
            x = activated(ops, parameters, f"defects.{number}", x)
        return convolved(ops, parameters, "defects.logit", x)[:, 0]
