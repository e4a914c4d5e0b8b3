"""Tables of normal rows and anomalies: real ones, where they are at hand, and made ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from anomaly.arrays import Bool, Values
from benchmarks.record import ROOT

LABEL = "label"


@dataclass(frozen=True)
class LabelledTable:
    """A table whose anomalies are known.

    Attributes:
        values: (N, D) numbers.
        is_anomalous: (N,).
    """

    name: str
    values: Values
    is_anomalous: Bool

    @property
    def normal(self) -> Values:
        """The normal rows, in their order."""
        return self.values[~self.is_anomalous]

    def write_csv(self, path: Path) -> None:
        """Columns x0, x1, ... and `label`, 0 for normal."""
        by_column = np.asfortranarray(self.values)
        columns = {f"x{i}": by_column[:, i] for i in range(by_column.shape[1])}
        table = pa.table({**columns, LABEL: self.is_anomalous.astype(np.int8)})
        arrow_csv.write_csv(table, path)


def adbench() -> dict[str, Path]:
    """The tables of ADBench by name (11_donors, ...), smallest file first; none if not at hand.

    They are looked for in `$ANOMALY_DATA/adbench`, by default in `../shared/data/adbench` beside
    the project: NumPy files with X (N, D) and y (N,), 1 for an anomaly.
    """
    paths = (data_folder() / "adbench").glob("*.npz")
    return {path.stem: path for path in sorted(paths, key=lambda path: path.stat().st_size)}


def data_folder() -> Path:
    """Where data for measuring are looked for."""
    return Path(os.environ.get("ANOMALY_DATA", ROOT.parent / "shared" / "data"))


def skip_message() -> str:
    """What to say where the real tables are not at hand."""
    return (
        f"SKIPPED: no real tables in {data_folder() / 'adbench'}. Set ANOMALY_DATA to a folder "
        "that holds adbench/*.npz (keys X and y, 1 = anomaly) to measure them."
    )


def read_adbench(path: Path) -> LabelledTable:
    """One table of `adbench`."""
    with np.load(path) as arrays:
        return LabelledTable(path.stem, arrays["X"], arrays["y"] == 1)


def correlated(rng: np.random.Generator, rows: int, columns: int) -> Values:
    """(rows, columns) of a few common factors plus noise: what normal rows of a process look like.

    The factors' weights depend on `columns` alone, so that every call draws from one population.
    """
    factors = max(1, columns // 4)
    weights = np.random.default_rng(columns).standard_normal((factors, columns))
    common = rng.standard_normal((rows, factors)) @ weights
    together: Values = common + 0.3 * np.sqrt(factors) * rng.standard_normal((rows, columns))
    return together


def with_anomalies(rng: np.random.Generator, name: str, normal: Values) -> LabelledTable:
    """The rows, and a tenth as many whose entries were drawn from different rows.

    Every column of an anomaly looks usual; only the columns together do not.
    """
    n = max(5, len(normal) // 10)
    broken = np.column_stack([rng.choice(column, n) for column in normal.T])
    truth = np.arange(len(normal) + n) >= len(normal)
    return LabelledTable(name, np.concatenate([normal, broken]), truth)


def extremes() -> Iterator[tuple[str, Callable[[], LabelledTable]]]:
    """Made tables that real ones can look like, at worst."""

    def made(name: str, normal: Callable[[np.random.Generator], Values]) -> LabelledTable:
        rng = np.random.default_rng([7, len(name)])
        return with_anomalies(rng, name, normal(rng))

    def with_constants(rng: np.random.Generator) -> Values:
        rows = correlated(rng, 500, 8)
        return np.column_stack([rows, np.zeros(500), np.full(500, 1e9)])

    recipes: dict[str, Callable[[np.random.Generator], Values]] = {
        "made: 10 rows": lambda rng: correlated(rng, 10, 5),
        "made: 80 rows": lambda rng: correlated(rng, 80, 10),
        "made: 1,555 columns": lambda rng: correlated(rng, 1_000, 1_555),
        "made: constant columns": with_constants,
        "made: integers": lambda rng: np.round(3 * correlated(rng, 500, 6)).astype(np.int64),
        "made: duplicated rows": lambda rng: correlated(rng, 20, 6)[rng.integers(20, size=1_000)],
    }
    for name, recipe in recipes.items():
        yield name, lambda name=name, recipe=recipe: made(name, recipe)  # type: ignore[misc]
