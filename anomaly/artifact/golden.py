"""Golden rows: what a loaded detector must score as it did when it was saved."""

from __future__ import annotations

import numpy as np

from anomaly.arrays import Float64, Values
from anomaly.artifact.manifest import GoldenRows, Plain
from anomaly.data.records import Records
from anomaly.data.schema import Column, Kind, Schema
from anomaly.detector import Detector
from anomaly.errors import ArtifactRejected
from anomaly.preprocessing.encodings import (
    BooleanEncoding,
    CategoricalEncoding,
    ConstantColumn,
    Encoding,
    NumericEncoding,
)

N_ROWS = 32


def golden_rows(detector: Detector) -> GoldenRows:
    """Rows in which each column takes its own quantiles, in an order of its own, and their scores.

    No row is a row of the training data: that is the point.
    """
    rng = np.random.default_rng(0)
    preprocessor = detector.preprocessor
    known: dict[str, Encoding | ConstantColumn] = {
        part.name: part
        for part in (
            *preprocessor.features.encodings,
            *preprocessor.context.encodings,
            *preprocessor.constants,
        )
    }
    columns = {
        column.name: _values(column, known[column.name], rng) for column in detector.schema.required
    }
    records = golden_records(detector.schema, columns)
    return GoldenRows(columns, [float(s) for s in detector.anomaly_score(records)])


def golden_records(schema: Schema, columns: dict[str, list[Plain]]) -> Records:
    """The rows as records."""
    arrays = {column.name: _array(column, columns[column.name]) for column in schema.required}
    return Records(arrays, len(next(iter(arrays.values()))))


def check_golden_rows(detector: Detector, golden: GoldenRows) -> None:
    """Score the golden rows again; see `check_scores`."""
    scores = detector.anomaly_score(golden_records(detector.schema, golden.columns))
    check_scores(scores, np.array(golden.scores), detector.calibration.tolerance)


def check_scores(scores: Float64, expected: Float64, tolerance: float) -> None:
    """Compare scores (N,) with what they were when the model was saved.

    Raises:
        ArtifactRejected: a score differs by more than the calibration's tolerance.
    """
    # Devices differ in the last bits of float32, so a score far beyond the threshold may move by
    # more than the tolerance without ever moving a verdict.
    allowed = np.maximum(tolerance, 1e-5 * np.abs(expected))
    worst = int(np.argmax(np.abs(scores - expected) - allowed))
    if not np.abs(scores - expected)[worst] <= allowed[worst]:
        raise ArtifactRejected(
            f"golden row {worst} scores {scores[worst]:.9g} here and scored {expected[worst]:.9g} "
            f"when the model was saved (allowed difference {allowed[worst]:.3g}). The weights, the "
            "libraries or this machine's arithmetic have changed: do not use the model; train or "
            "register it again."
        )


def _values(
    column: Column, encoding: Encoding | ConstantColumn, rng: np.random.Generator
) -> list[Plain]:
    match encoding:
        case NumericEncoding():
            levels = (np.arange(N_ROWS) + 0.5) / N_ROWS
            positions = np.linspace(0, 1, len(encoding.quantiles))
            values: list[Plain] = [
                float(v) for v in np.interp(levels, positions, encoding.quantiles)
            ]
        case BooleanEncoding():
            values = [float(i % 2) for i in range(N_ROWS)]
        case CategoricalEncoding():
            values = [encoding.categories[i % len(encoding.categories)] for i in range(N_ROWS)]
        case ConstantColumn():
            # A constant that was never present has no value to repeat; one stands in.
            absent: Plain = "" if column.kind is Kind.CATEGORICAL else 0.0
            values = [absent if encoding.value is None else encoding.value] * N_ROWS
        case _:
            hours = np.arange(N_ROWS) * np.timedelta64(7 * 60 + 13, "m")
            values = [str(t) for t in np.datetime64("2001-01-01T00:00:00", "us") + hours]
    return [values[i] for i in rng.permutation(N_ROWS)]


def _array(column: Column, values: list[Plain]) -> Values:
    match column.kind:
        case Kind.CATEGORICAL:
            return np.array(values, dtype=object)
        case Kind.DATETIME:
            return np.array(
                [np.datetime64("NaT") if v in (0.0, None) else v for v in values],
                dtype="datetime64[us]",
            )
        case _:
            return np.array(values, dtype=np.float64)
