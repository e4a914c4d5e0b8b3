"""Score one file on this machine: stream, score, write, and show the result only when complete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from anomaly.batch.sinks import open_sink
from anomaly.data.options import ReadOptions
from anomaly.data.readers import Chunk, Reject, open_reader
from anomaly.data.records import Records
from anomaly.detector import Detector, Verdicts
from anomaly.errors import ConfigInvalid, SchemaMismatch

OUTPUT_COLUMNS = ("score", "p_value", "is_anomaly", "top_features", "warnings")


@dataclass(frozen=True)
class BatchReport:
    """What was done.

    Attributes:
        rows: Scored.
        flagged: Of those.
        rejected: Rows left out and listed.
        alpha: The false-alarm rate that was applied.
        warnings: How many rows each `code` concerns.
    """

    rows: int
    flagged: int
    rejected: int
    alpha: float
    warnings: dict[str, int]


def score_file(
    detector: Detector,
    source: Path,
    output: Path,
    *,
    alpha: float | None = None,
    keep_input: bool = False,
    rejects: Path | None = None,
    top_k: int = 3,
    options: ReadOptions | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> BatchReport:
    """Score every row of a CSV or Parquet file, in order.

    The output holds the id columns, `score, p_value, is_anomaly, top_features, warnings`, one row
    for each input row. It is written beside its place and moved there when complete: a reader sees
    the old file or the whole new one.

    Args:
        output: `.csv` or `.parquet`.
        keep_input: Keep all input columns in front.
        rejects: Where rows that cannot be read are listed (CSV: line, column, code, message). None
            stops at the first of them.
        top_k: How many reasons a flagged row gets.
        on_rows: Called with the number of rows of each chunk that is done.

    Raises:
        ConfigInvalid: the output is the input, or rejects are to be written over either of them.
        BadData: a row cannot be read and `rejects` is None.
        CannotWrite: the output cannot be written.
    """
    _check_places(source, output, rejects)
    bad_rows: list[Reject] = []
    rows = flagged = 0
    counts: dict[str, int] = {}
    reader = open_reader(
        source,
        detector.schema,
        options=options or ReadOptions(),
        on_reject=None if rejects is None else bad_rows.append,
    )
    with open_sink(output) as write:
        for chunk in reader:
            verdicts = detector.detect(chunk.records, alpha)
            write(_output_table(detector, chunk, verdicts, keep_input, top_k))
            rows += len(verdicts)
            flagged += int(verdicts.is_anomaly.sum())
            for warning in verdicts.warnings:
                counts[warning.code] = counts.get(warning.code, 0) + len(warning.rows)
            if on_rows is not None:
                on_rows(len(verdicts))
    if rejects is not None and bad_rows:
        _write_rejects(rejects, bad_rows)
    applied = detector.calibration.alpha if alpha is None else alpha
    return BatchReport(rows, flagged, len(bad_rows), applied, counts)


def _check_places(source: Path, output: Path, rejects: Path | None) -> None:
    """Refuse to write one file over another."""
    places = [path.resolve() for path in (source, output, rejects) if path is not None]
    if len(set(places)) < len(places):
        raise ConfigInvalid(
            "the input, the output and the rejects must be different files: one would be written "
            "over another. Give the output another name."
        )


def _output_table(
    detector: Detector, chunk: Chunk, verdicts: Verdicts, keep_input: bool, top_k: int
) -> pa.Table:
    front = chunk.table if keep_input else _id_columns(detector, chunk)
    taken = sorted(set(front.column_names) & set(OUTPUT_COLUMNS))
    if taken:
        raise SchemaMismatch(
            f"the input already has columns named {', '.join(map(repr, taken))}, which the output "
            "needs for its own. Rename them, or score without --keep-input.",
            code="duplicate_column",
        )
    added = {
        "score": pa.array(verdicts.scores),
        "p_value": pa.array(verdicts.p_values),
        "is_anomaly": pa.array(verdicts.is_anomaly),
        # Of text by name: a chunk without any flagged row would have columns of no type at all,
        # and a Parquet file has one type from its first chunk to its last.
        "top_features": pa.array(
            top_features(detector, chunk.records, verdicts, top_k), pa.string()
        ),
        "warnings": pa.array(warning_texts(verdicts), pa.string()),
    }
    for name, values in added.items():
        front = front.append_column(name, values)
    return front


def _id_columns(detector: Detector, chunk: Chunk) -> pa.Table:
    names = [c.name for c in detector.schema.ids if c.name in chunk.table.column_names]
    if names:
        return chunk.table.select(names)
    # Without an id the line of the file is what finds a row again.
    return pa.table({"line": pa.array(chunk.lines)})


def top_features(
    detector: Detector, records: Records, verdicts: Verdicts, top_k: int
) -> list[str | None]:
    """(N,) for flagged rows the columns with the largest shares, as `area 62%; texture 21%`."""
    texts: list[str | None] = [None] * len(verdicts)
    rows = np.flatnonzero(verdicts.is_anomaly)
    if len(rows):
        reasons = detector.explain(records.take(rows))
        for position, row in enumerate(rows):
            texts[row] = "; ".join(
                f"{reason.column} {reason.share:.0%}" for reason in reasons.top(position, top_k)
            )
    return texts


def warning_texts(verdicts: Verdicts) -> list[str | None]:
    """(N,) such as `unseen_category: colour; missing_value: age`, None for nothing."""
    found: dict[int, list[str]] = {}
    for warning in verdicts.warnings:
        for row in warning.rows:
            found.setdefault(int(row), []).append(f"{warning.code}: {warning.column}")
    return ["; ".join(found[row]) if row in found else None for row in range(len(verdicts))]


def _write_rejects(path: Path, rejects: list[Reject]) -> None:
    table = pa.table(
        {
            "line": pa.array([r.line for r in rejects], pa.int64()),
            "column": pa.array([r.column for r in rejects], pa.string()),
            "code": pa.array([r.code for r in rejects], pa.string()),
            "message": pa.array([r.message for r in rejects], pa.string()),
        }
    )
    with open_sink(path) as write:
        write(table)
