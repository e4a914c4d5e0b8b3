"""Where scored rows go: CSV or Parquet, a table at a time, shown only when complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from anomaly.data.export import safe_table
from anomaly.errors import CannotWrite, ConfigInvalid

SUFFIXES = (".csv", ".parquet")


def check_suffix(suffix: str) -> None:
    """Refuse other formats, before any work is done.

    Raises:
        ConfigInvalid: the suffix is neither `.csv` nor `.parquet`.
    """
    if suffix not in SUFFIXES:
        raise ConfigInvalid(
            f"an output is a .csv or a .parquet file, not {suffix or 'one without a suffix'!r}. "
            "Rename it."
        )


@contextmanager
def open_sink(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """A function that appends a table to the file; all tables must have one schema.

    The file is written beside its place and moved there when the block ends without an error: a
    reader sees the old file or the whole new one.

    Raises:
        ConfigInvalid: the suffix is neither `.csv` nor `.parquet`.
        CannotWrite: the disk refuses.
    """
    check_suffix(path.suffix)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    writer: Any = None
    schema: pa.Schema = None

    def write(table: pa.Table) -> None:
        nonlocal writer, schema
        if path.suffix == ".csv":
            table = safe_table(table)
        with _refusals(path):
            if writer is None:
                writer = _writer(partial, path.suffix, table.schema)
                schema = table.schema
            # Arrow's CSV writer does not look, and a table of another schema ends the process.
            assert table.schema == schema, "all tables of one file have one schema"
            writer.write_table(table)

    try:
        yield write
        with _refusals(path):
            writer.close()
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        # After a failure the writer may fail once more; the first failure is the one to tell.
        with suppress(OSError):
            if writer is not None:
                writer.close()
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """What the disk refuses, as our error."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(
            f"cannot write {path}: {os.strerror(error.errno) if error.errno else error}. Free some "
            "space or choose another place; a file that was there before is unchanged."
        ) from error


def _writer(path: Path, suffix: str, schema: pa.Schema) -> Any:
    if suffix == ".csv":
        from pyarrow import csv

        return csv.CSVWriter(str(path), schema)
    from pyarrow import parquet

    return parquet.ParquetWriter(str(path), schema)
