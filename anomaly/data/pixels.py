"""Images as arrays."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from anomaly.arrays import Float32
from anomaly.errors import ConfigInvalid

Pixels: TypeAlias = npt.NDArray[Any]
"""(H, W, C) uint8 or uint16; C is 1 (grey) or 3 (RGB)."""

LUMA = np.array([19595, 38470, 7471], dtype=np.uint32)
"""0.299, 0.587 and 0.114 of Rec. 601 in units of 2^-16; they sum to 2^16."""


def to_channels(pixels: Pixels, channels: int) -> Pixels:
    """The image as grey (1) or RGB (3).

    RGB becomes grey by the luma of Rec. 601, rounded; grey is repeated in each channel.

    Args:
        pixels: (H, W, C).

    Returns:
        (H, W, channels) of the same type; the array itself if it has as many.

    Raises:
        ConfigInvalid: `channels` is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise ConfigInvalid(f"channels must be 1 (grey) or 3 (RGB), got {channels!r}")
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    # In whole numbers: the same bits on every machine, and at most 2^32 - 2^15.
    luma = np.full((*pixels.shape[:2], 1), 2**15, dtype=np.uint32)
    for channel, weight in enumerate(LUMA):
        luma[..., 0] += pixels[..., channel] * weight
    return (luma >> 16).astype(pixels.dtype)


def as_unit(pixels: Pixels) -> Float32:
    """(H, W, C) in [0, 1]: uint8 divided by 255, uint16 by 65,535."""
    top = np.float32(np.iinfo(pixels.dtype).max)
    return pixels.astype(np.float32) / top
