"""The door through which every file comes in."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa

from anomaly.data.chunks import Chunk, OnReject, RawFile, Reject, checked, located, report
from anomaly.data.convert import is_text, scoring_columns, unsupported
from anomaly.data.csv_reader import open_csv
from anomaly.data.options import ReadOptions
from anomaly.data.parquet_reader import open_parquet
from anomaly.data.records import Records
from anomaly.data.schema import Column, Schema, delimiter_hint, refuse_repeated
from anomaly.errors import BadData

__all__ = [
    "Chunk",
    "OnReject",
    "ReadOptions",
    "Reject",
    "open_reader",
    "read_records",
    "read_sample",
]

DEFAULT_OPTIONS = ReadOptions()

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")


def open_reader(
    path: Path | str,
    schema: Schema,
    *,
    options: ReadOptions = DEFAULT_OPTIONS,
    columns: Iterable[Column] | None = None,
    on_reject: OnReject | None = None,
) -> Iterator[Chunk]:
    """Read a file piece by piece, in bounded memory, checked against the schema.

    Columns are found by name; their order in the file and further columns do not matter. Every
    row of the file is either in a chunk, in the order of the file, or reported as rejected.

    Args:
        path: `.csv`, `.tsv` or `.txt`, each also with `.gz`, or `.parquet`, `.pq`.
        columns: Which columns of the schema to read; by default those that a score needs, and
            the ids that are present.
        on_reject: Is told of each row that is left out because its values do not fit. Without
            it the first such row is an error. What makes the rest of a file unreadable (a broken
            encoding, an open quote, a file cut off) is an error in any case.

    Raises:
        OSError: the file cannot be opened.
        SchemaMismatch: a column is missing or repeated, or a value does not fit its column.
        BadData: the file cannot be read. Both name the file, and the line and column if any.
    """
    path = Path(path)
    with located(file=path), opened(path, options) as file:
        with located(line=file.header_line):
            wanted = tuple(scoring_columns(schema, file.names) if columns is None else columns)
            schema.check_names(file.names, required=wanted)
        for column in wanted:
            if column.name in file.unsupported:
                raise unsupported(column.name, file.unsupported[column.name])
        for raw in file.chunks:
            yield checked(raw, wanted, on_reject)


def read_records(
    path: Path | str,
    schema: Schema,
    *,
    options: ReadOptions = DEFAULT_OPTIONS,
    columns: Iterable[Column] | None = None,
    on_reject: OnReject | None = None,
) -> Records:
    """All rows of a file at once; otherwise as `open_reader`."""
    chunks = open_reader(path, schema, options=options, columns=columns, on_reject=on_reject)
    return Records.concatenate(chunk.records for chunk in chunks)


def read_sample(
    path: Path | str,
    options: ReadOptions = DEFAULT_OPTIONS,
    rows: int = 50_000,
    on_reject: OnReject | None = None,
) -> pa.Table:
    """The first rows of a file as they stand in it, to infer a schema from.

    Columns of CSV are text. Text in Parquet is a dictionary, which says that it is text by type
    and not for want of one. Columns of types that are not supported are left out.

    Raises:
        OSError: the file cannot be opened.
        BadData: as `open_reader`.
    """
    path = Path(path)
    parts: list[pa.Table] = []
    with located(file=path), opened(path, options) as file:
        with located(line=file.header_line):
            refuse_repeated(file.names)
            if hint := delimiter_hint(file.names):
                raise BadData(f"there is one column only.{hint}", code="missing_column")
        for raw in file.chunks:
            report(raw.rejects, on_reject)
            parts.append(raw.table if raw.has_lines else with_typed_text(raw.table))
            if sum(map(len, parts)) >= rows:
                break
    return pa.concat_tables(parts)[:rows]


def with_typed_text(table: pa.Table) -> pa.Table:
    """The table with its text as dictionaries."""
    for i, field in enumerate(table.schema):
        if is_text(field.type):
            table = table.set_column(i, field.name, table.column(i).dictionary_encode())
    return table


def opened(path: Path, options: ReadOptions) -> AbstractContextManager[RawFile]:
    """The open file, by the suffix of its name.

    Raises:
        BadData: the suffix is none of those that can be read.
    """
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = next((suffix for suffix in reversed(suffixes) if suffix != ".gz"), "")
    if last in PARQUET_SUFFIXES:
        return open_parquet(path, options)
    if last in TEXT_SUFFIXES:
        return open_csv(path, options.for_path(path))
    raise BadData(
        f"cannot tell the format from the name; the suffixes that can be read are "
        f"{', '.join((*TEXT_SUFFIXES, *PARQUET_SUFFIXES))}, and text also with .gz. Rename it.",
        code="unknown_format",
    )
