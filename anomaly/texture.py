"""How rough a surface is from place to place, and where its surroundings promise otherwise.

A worn, scratched or torn place need not be brighter or darker than what lies around it: it is
rougher, smoother, or its grain runs another way. Linear prediction is enough, and learns in
seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomaly.arrays import Float32, Float64, Int64
from anomaly.preprocessing.images import halved

CELL = 8
"""Side of a cell in working pixels."""

SIZES = 2
"""The image, and the image at half its size."""

FIELDS = 2 * SIZES
"""Of each size the roughness across and down."""

REACH, HIDDEN = 3, 1
"""A cell is told from cells at most so far, and farther than that."""

FLOOR = 0.03
"""Added to roughness before the logarithm, in deviations of pixels: less is noise."""

LARGEST = 50.0
"""Squared errors count at most so much, in variances: one glint is no defect."""

RIDGE = 1e-3
"""Of the variance of each term."""

FOR_A_PLACE = 200
"""Cells that a place must have to be believed half as much as all cells together."""

SMALLEST = 1e-6

_STEPS = range(-REACH, REACH + 1)
_AROUND = [(y, x) for y in _STEPS for x in _STEPS if max(abs(y), abs(x)) > HIDDEN]
_LIGHT = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)] + [
    (-REACH, 0),
    (REACH, 0),
    (0, -REACH),
    (0, REACH),
]
TERMS = len(_AROUND) + len(_LIGHT)
PLACES = (REACH + 1) ** 2


@dataclass(frozen=True)
class Texture:
    """What the roughness of a cell is expected to be, from that of the cells around it and from
    how bright it is there; the cell and its eight neighbours are not looked at.

    Attributes:
        weights: (FIELDS, TERMS).
        constant: (FIELDS,).
        spread: (PLACES, FIELDS) standard deviation of the errors, by distance from the borders.
    """

    weights: Float64
    constant: Float64
    spread: Float64

    @staticmethod
    def shapes() -> dict[str, tuple[int, ...]]:
        """The shape of every array, by name."""
        return {
            "weights": (FIELDS, TERMS),
            "constant": (FIELDS,),
            "spread": (PLACES, FIELDS),
        }

    @staticmethod
    def of(images: Sequence[Float32]) -> Texture:
        """From normal images (height, width, channels) as the networks see them: ridge regression,
        one image after the other."""
        count, sums, products = (
            0,
            np.zeros((FIELDS, TERMS + 1)),
            np.zeros((FIELDS, TERMS + 1, TERMS + 1)),
        )
        for image in images:
            terms, values = _regression(image)
            both = np.concatenate([terms, values.T[..., None]], axis=-1)
            count += len(values)
            sums += both.sum(1)
            products += both.transpose(0, 2, 1) @ both
        means = sums / count
        moments = products / count - means[:, :, None] * means[:, None, :]
        weights = np.stack([_ridge(of) for of in moments])
        constant = means[:, -1] - (weights * means[:, :-1]).sum(1)
        bare = Texture(weights, constant, np.ones((PLACES, FIELDS)))
        squares, cells = np.zeros((PLACES, FIELDS)), np.zeros(PLACES)
        for image in images:
            errors, places = bare._errors(image)
            squares += np.stack([np.bincount(places, of**2, PLACES) for of in errors.T], axis=-1)
            cells += np.bincount(places, minlength=PLACES)
        usual = squares.sum(0) / cells.sum()
        variance = (squares + FOR_A_PLACE * usual) / (cells[:, None] + FOR_A_PLACE)
        return Texture(weights, constant, np.maximum(np.sqrt(variance), SMALLEST))

    def surprise(self, image: Float32) -> Float64:
        """(height / CELL, width / CELL, FIELDS), rounded down but at least 1: squared errors in
        variances of normal images, at most `LARGEST`. Part of a cell at the border is not looked
        at, for its roughness would scatter more than that of the others."""
        errors, places = self._errors(image)
        squares = np.minimum((errors / self.spread[places]) ** 2, LARGEST)
        return squares.reshape(*_grid(image), FIELDS)

    def _errors(self, image: Float32) -> tuple[Float64, Int64]:
        """Errors (cells, FIELDS) and the place (cells,) of each."""
        terms, values = _regression(image)
        expected = np.einsum("fct,ft->cf", terms, self.weights) + self.constant
        return values - expected, _places(*_grid(image))


def roughness(image: Float32) -> tuple[Float64, Float64]:
    """What each cell is like.

    Returns:
        Logarithms (down, across, FIELDS) of the mean difference of neighbouring pixels, and the
        brightness (down, across).
    """
    grey = image.mean(-1, keepdims=True)
    down, across = (CELL * n for n in _grid(image))
    missing = [(0, max(0, CELL - side)) for side in grey.shape[:2]]
    level = np.pad(grey, (*missing, (0, 0)), mode="symmetric")[:down, :across]
    light = _cells(level[..., 0], CELL)
    found = []
    for size in range(SIZES):
        for axis in (1, 0):
            first = np.take(level, [0], axis=axis)
            steps = np.abs(np.diff(level, axis=axis, prepend=first))[..., 0]
            found.append(np.log(_cells(steps, CELL >> size) + FLOOR))
        level = halved(level)
    return np.stack(found, axis=-1), light


def _regression(image: Float32) -> tuple[Float64, Float64]:
    """Terms (FIELDS, cells, TERMS) and what they are to tell (cells, FIELDS)."""
    fields, light = roughness(image)
    lit = _shifted(light, _LIGHT)
    terms = [
        np.concatenate([_shifted(field, _AROUND), lit], axis=-1)
        for field in np.moveaxis(fields, -1, 0)
    ]
    return np.stack(terms), fields.reshape(-1, FIELDS)


def _ridge(moments: Float64) -> Float64:
    """(TERMS,) from the covariance of terms and target; each term is penalised in its own unit."""
    scale = np.sqrt(np.maximum(np.diag(moments)[:-1], SMALLEST**2))
    penalised = moments[:-1, :-1] / np.outer(scale, scale) + RIDGE * np.eye(TERMS)
    found: Float64 = np.linalg.solve(penalised, moments[:-1, -1] / scale) / scale
    return found


def _shifted(field: Float64, offsets: Sequence[tuple[int, int]]) -> Float64:
    """(cells, offsets) the values at these offsets from each cell, mirrored at the borders."""
    down, across = field.shape
    wide = np.pad(field, REACH, mode="reflect")
    return np.stack(
        [wide[REACH + y :, REACH + x :][:down, :across].ravel() for y, x in offsets], axis=-1
    )


def _places(down: int, across: int) -> Int64:
    """(cells,) a number for each pair of distances from the borders, as far as told apart."""
    rows, columns = (
        np.minimum(np.minimum(np.arange(n), np.arange(n)[::-1]), REACH) for n in (down, across)
    )
    found: Int64 = (rows[:, None] * (REACH + 1) + columns).ravel()
    return found


def _cells(plane: Float64, side: int) -> Float64:
    """The means of squares of pixels."""
    height, width = plane.shape
    squares = plane.reshape(height // side, side, width // side, side)
    means: Float64 = squares.mean((1, 3), dtype=np.float64)
    return means


def _grid(image: Float32) -> tuple[int, int]:
    height, width = image.shape[:2]
    return max(1, height // CELL), max(1, width // CELL)
