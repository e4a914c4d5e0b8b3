"""Parquet files as typed tables, with the number of every row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from anomaly.data.chunks import RawChunk, RawFile
from anomaly.data.convert import is_supported
from anomaly.data.options import ReadOptions
from anomaly.errors import BadData

CHUNK_CELLS = 2**19
"""Cells that are read at once: 16,384 rows of 32 columns."""

PAGE_BUFFER_BYTES = 2**20


@contextmanager
def open_parquet(path: Path, options: ReadOptions) -> Iterator[RawFile]:
    """The column names and rows of a Parquet file, in bounded memory.

    Columns of types that are not supported (nested, binary, decimal, ...) are named, so that a
    schema that asks for one is refused, but not read.

    Raises:
        OSError: the file cannot be opened.
        BadData: it is no Parquet file, is cut off or damaged, or unpacks to too much.
    """
    with path.open("rb") as raw:
        with refusing_damage():
            # Through a buffer, pages are read one by one and not whole row groups.
            file = parquet.ParquetFile(raw, buffer_size=PAGE_BUFFER_BYTES)
            schema = file.schema_arrow
        check_size(file, options)
        odd = {field.name: field.type for field in schema if not is_supported(field.type)}
        yield RawFile(tuple(schema.names), None, raw_chunks(file), odd)


def raw_chunks(file: parquet.ParquetFile) -> Iterator[RawChunk]:
    """The rows, as typed columns.

    Raises:
        BadData: there is no row, or a page is damaged.
    """
    fields = [field.name for field in file.schema_arrow if is_supported(field.type)]
    first = 1
    with refusing_damage():
        rows = max(1, CHUNK_CELLS // max(1, len(fields)))
        for batch in file.iter_batches(batch_size=rows, columns=fields, use_threads=False):
            if len(batch):
                lines = np.arange(first, first + len(batch), dtype=np.int64)
                yield RawChunk(pa.Table.from_batches([batch]), lines, has_lines=False)
                first += len(batch)
    if first == 1:
        raise BadData("the file has columns, but no row.", code="no_rows")


def check_size(file: parquet.ParquetFile, options: ReadOptions) -> None:
    """Refuse a file that says it unpacks to more than the cap."""
    metadata = file.metadata
    total = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if options.max_bytes is not None and total > options.max_bytes:
        raise BadData(
            f"unpacks to {total:,} bytes, more than the {options.max_bytes:,} that are allowed. "
            "If that is right, raise `max_bytes`.",
            code="decompressed_too_large",
        )


@contextmanager
def refusing_damage() -> Iterator[None]:
    """Turn what pyarrow says of a broken file into `BadData`."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk or the system, not the content
        raise BadData(
            f"not a sound Parquet file: {error}. It may be cut off, damaged or of another "
            "format; write it again.",
            code="not_parquet",
        ) from error
