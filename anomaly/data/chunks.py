"""What a reader hands on, piece by piece, and what it does with rows it cannot read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from anomaly.arrays import Int64
from anomaly.data.convert import to_records
from anomaly.data.flaws import Flaw
from anomaly.data.records import Records
from anomaly.data.schema import Column
from anomaly.errors import BadData, SchemaMismatch


@dataclass(frozen=True)
class Reject:
    """A row that was left out.

    Attributes:
        line: 1-based line of the file; the number of the row in a Parquet file.
        column: The column at fault, or None if it is the whole row.
        code: Stable machine word, such as ``ragged_row``.
    """

    line: int
    column: str | None
    code: str
    message: str


OnReject: TypeAlias = Callable[[Reject], None]


@dataclass(frozen=True)
class RawChunk:
    """Rows as they stand in the file.

    Attributes:
        lines: (N,) as in `Chunk`.
        rejects: Rows of this piece that have no place in `table`.
        has_lines: Whether the format has lines; Parquet has numbered rows only.
    """

    table: pa.Table
    lines: Int64
    rejects: tuple[Reject, ...] = ()
    has_lines: bool = True


@dataclass(frozen=True)
class RawFile:
    """An open file: its column names, and its rows as an iterator that reads as it goes.

    Attributes:
        header_line: The line of the names, or None if the format has no lines.
        unsupported: The columns that are not in the chunks, and the type that is the reason.
    """

    names: tuple[str, ...]
    header_line: int | None
    chunks: Iterator[RawChunk]
    unsupported: Mapping[str, pa.DataType] = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """Some consecutive rows of a file, read and checked.

    Attributes:
        records: The columns that were asked for.
        table: All columns as they were read: of CSV the text as written.
        lines: (N,) 1-based line of the file in which each row begins; for Parquet the number
            of the row.
    """

    records: Records
    table: pa.Table
    lines: Int64


def checked(raw: RawChunk, columns: Sequence[Column], on_reject: OnReject | None) -> Chunk:
    """Convert the columns; rows that do not fit are reported, or refused if nobody listens.

    Raises:
        BadData: the first row at fault, if `on_reject` is None.
    """
    records, flaws = to_records(raw.table, columns)
    flawed = first_of_each_row(flaws)
    report(
        (*raw.rejects, *(rejected(flaw, raw.lines) for flaw in flawed)), on_reject, raw.has_lines
    )
    if not flawed:
        return Chunk(records, raw.table, raw.lines)
    keep = np.ones(len(raw.lines), dtype=bool)
    keep[[flaw.row for flaw in flawed]] = False
    return Chunk(records.take(keep), raw.table.filter(pa.array(keep)), raw.lines[keep])


def report(rejects: Sequence[Reject], on_reject: OnReject | None, has_lines: bool = True) -> None:
    """Tell of each row that is left out, in the order of the file; refuse the first if unheard.

    Raises:
        BadData: `on_reject` is None and there is a row to reject.
    """
    for reject in sorted(rejects, key=lambda reject: reject.line):
        if on_reject is None:
            raise refusal(reject, has_lines)
        on_reject(reject)


def refusal(reject: Reject, has_lines: bool) -> BadData:
    """The rejected row as an error: a value contradicts the schema, a ragged row the format."""
    kind = BadData if reject.column is None else SchemaMismatch
    line, row = (reject.line, None) if has_lines else (None, reject.line - 1)
    return kind(reject.message, code=reject.code, line=line, row=row, column=reject.column)


def first_of_each_row(flaws: Sequence[Flaw]) -> list[Flaw]:
    """One flaw a row, in the order of the rows; of several the one of the first column."""
    by_row: dict[int, Flaw] = {}
    for flaw in flaws:
        by_row.setdefault(flaw.row, flaw)
    return [by_row[row] for row in sorted(by_row)]


def rejected(flaw: Flaw, lines: Int64) -> Reject:
    return Reject(int(lines[flaw.row]), flaw.column, flaw.code, flaw.message)


@contextmanager
def located(*, file: Path | None = None, line: int | None = None) -> Iterator[None]:
    """Add the place to errors that are raised where it is not known."""
    try:
        yield
    except BadData as error:
        raise type(error)(
            error.message,
            code=error.code,
            file=error.file or file,
            line=error.line or line,
            row=error.row,
            column=error.column,
        ) from error.__cause__
