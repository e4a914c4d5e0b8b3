"""Rows and images as drift watches them: numbers and categories."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from anomaly.arrays import Float64
from anomaly.data.pixels import Pixels
from anomaly.data.records import Records
from anomaly.data.schema import Cycle, Kind, Schema
from anomaly.preprocessing.encodings import cycle_share
from anomaly.reference import Watched

IMAGE_NUMBERS = ("brightness", "contrast", "width", "height")


@dataclass(frozen=True)
class WatchedColumns:
    """What is watched of a table: features and context.

    Attributes:
        plain: Numbers and booleans.
        cycles: A date is watched as the share of each of its cycles that has passed, `column:part`.
        categories: As text.
    """

    plain: tuple[str, ...]
    cycles: tuple[tuple[str, Cycle], ...]
    categories: tuple[str, ...]

    @staticmethod
    def of(schema: Schema) -> WatchedColumns:
        """Those of the schema, in its order."""
        numeric, columns = (Kind.NUMERIC, Kind.BOOLEAN), schema.required
        return WatchedColumns(
            tuple(column.name for column in columns if column.kind in numeric),
            tuple((column.name, cycle) for column in columns for cycle in column.cycles),
            tuple(column.name for column in columns if column.kind is Kind.CATEGORICAL),
        )

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of what is watched as numbers."""
        return (*self.plain, *(f"{name}:{cycle}" for name, cycle in self.cycles))

    @property
    def columns(self) -> tuple[str, ...]:
        """The column behind each number, and then behind each category."""
        return (*self.plain, *(name for name, _ in self.cycles), *self.categories)

    def watched(self, records: Records) -> Watched:
        """The records, as a reference counts them."""
        numbers = records.numbers(self.plain)
        if self.cycles:
            times = [records.columns[name].astype("datetime64[us]") for name, _ in self.cycles]
            shares = [cycle_share(t, c) for t, (_, c) in zip(times, self.cycles, strict=True)]
            numbers = np.column_stack([numbers, *shares])
        return Watched(numbers, tuple(records.columns[name] for name in self.categories))


def watched_images(images: Iterable[Pixels]) -> Watched:
    """Images by `IMAGE_NUMBERS`: mean and standard deviation of all channels as shares of the
    brightest that their type can hold, and their size in pixels."""
    found = [_image_numbers(pixels) for pixels in images]
    return Watched(np.array(found, dtype=np.float64).reshape(-1, len(IMAGE_NUMBERS)))


def _image_numbers(pixels: Pixels) -> Float64:
    brightest = np.iinfo(pixels.dtype).max
    height, width = pixels.shape[:2]
    return np.array([pixels.mean() / brightest, pixels.std() / brightest, width, height])
