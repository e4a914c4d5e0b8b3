"""Where scored rows go: CSV or Parquet, a table at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from anomaly.data.export import safe_table
from anomaly.errors import ConfigInvalid

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
def open_sink(path: Path, suffix: str) -> Iterator[Callable[[pa.Table], None]]:
    """A function that appends a table to the file; all tables must have one schema.

    Raises:
        ConfigInvalid: the suffix is neither `.csv` nor `.parquet`.
    """
    check_suffix(suffix)
    writer: Any = None

    def write(table: pa.Table) -> None:
        nonlocal writer
        if suffix == ".csv":
            table = safe_table(table)
        if writer is None:
            writer = _writer(path, suffix, table.schema)
        writer.write_table(table)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()


def _writer(path: Path, suffix: str, schema: pa.Schema) -> Any:
    if suffix == ".csv":
        from pyarrow import csv

        return csv.CSVWriter(str(path), schema)
    from pyarrow import parquet

    return parquet.ParquetWriter(str(path), schema)
