"""Held-out images that a model may have seen already: other pictures of the same thing.

Several pictures of one object in fit and test make recognition look like detection, and the
false-alarm rate hold for objects that were seen. On the magnetic tiles, each photographed six
times, 72 % of the held-out images have a near-copy among the fit images when divided at random,
2 % when divided by tile.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from anomaly.arrays import Float32
from anomaly.data.pixels import Pixels, as_unit, to_channels
from anomaly.preprocessing.images import Contrast, contrasted, resized

SIDE = 24
SEEN_AT = 96
"""Pixels to a side at which illumination is removed."""

ALIKE = 0.95
"""Correlation of two thumbnails, less what all fit images have in common, that unrelated images of
one kind rarely reach."""

MANY = 0.1
"""Share of held-out images with a near-copy that is worth a note."""


def thumbnails(images: Iterable[Pixels]) -> Float32:
    """(N, SIDE * SIDE) of grey images without their illumination."""
    return np.array([_thumbnail(pixels) for pixels in images], np.float32)


def share_of_near_copies(fit: Float32, held_out: Float32) -> float:
    """The share of held-out thumbnails that a fit thumbnail nearly equals."""
    if not len(held_out) or not len(fit):
        return 0.0
    usual = fit.mean(0)
    known, asked = (_normalised(part - usual) for part in (fit, held_out))
    return float(((asked @ known.T).max(1) > ALIKE).mean())


def note(share: float, by_group: bool) -> str:
    """What to tell the user, whose images were divided by groups or one by one."""
    if by_group:
        return (
            f"{share:.0%} of the calibration and test images are near-copies of a fit image of "
            "another group. If groups share objects, join them; if the images are alike by nature, "
            "nothing is wrong."
        )
    return (
        f"{share:.0%} of the calibration and test images are near-copies of a fit image. If they "
        "are other pictures of the same objects, the measured quality and the false-alarm rate "
        "hold for known objects only: name the objects by --group-column in a table of paths. If "
        "they are alike by nature, nothing is wrong."
    )


def _thumbnail(pixels: Pixels) -> Float32:
    small = resized(as_unit(to_channels(pixels, 1)), SEEN_AT, SEEN_AT)
    return resized(contrasted(small, Contrast.LOCAL), SIDE, SIDE).ravel()


def _normalised(rows: Float32) -> Float32:
    normalised: Float32 = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return normalised
