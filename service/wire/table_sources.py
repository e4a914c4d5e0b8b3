"""The three formats of whole tables, opened: CSV, Parquet and Arrow streams.

Hostile bodies shape this module. Before anything is unpacked it is known to how much
(`parquet_pages`, `arrow_messages`); what pyarrow read is validated before it is looked at, because
an array of an Arrow stream may point anywhere; and nothing that pyarrow says of a body is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import ipc, parquet

from anomaly.data.chunks import RawChunk
from anomaly.data.convert import is_supported, is_text
from anomaly.data.csv_reader import text_table
from anomaly.data.options import ReadOptions
from anomaly.data.schema import Schema
from anomaly.data.stream import checked, without_bom
from anomaly.errors import BadData
from service.settings import Limits
from service.wire import arrow_messages, parquet_pages
from service.wire.options import Options
from service.wire.refusals import InvalidRequest, NotATable, TooLarge
from service.wire.request import ScoreRequest
from service.wire.table_request import Piece, Source, check_most, request_of, wrong_type

MOST_TIMES = 20
"""A table may unpack to so many times the limit on bodies."""

CSV = ReadOptions(newlines_in_values=True, max_row_bytes=2**20)

TITLES = {"csv": "CSV", "parquet": "Parquet file", "arrow": "Arrow stream"}
"""Of the formats."""

READING = {
    "encoding": "is not UTF-8 text",
    "unterminated_quote": "has a quoted value that is not closed",
    "out_of_sync": "has a quoted value that is not closed",
    "field_too_large": "has a row of more than a megabyte",
}
"""Why a text is no table, by the code of the reader's own message."""

Hold = Callable[[int], None]
"""Is told of bytes before they are allocated; raises if there is no room."""


def read_csv(
    body: bytes, schema: Schema, limits: Limits, options: Options, hold: Hold
) -> ScoreRequest:
    """The request that comma-separated text is; see `request_of`."""
    hold(len(body))
    with refusing("csv"):
        chunks = (body[at : at + CSV.block_bytes] for at in range(0, len(body), CSV.block_bytes))
        raw = text_table(without_bom(checked(chunks)), CSV)
        source = Source(raw.names, frozenset(), lambda _: map(_piece_of_text, raw.chunks))
        return request_of(source, schema, limits, options)


def read_parquet(
    body: bytes, schema: Schema, limits: Limits, options: Options, hold: Hold
) -> ScoreRequest:
    """The request that a Parquet file is; see `request_of`."""
    with refusing("parquet"):
        return request_of(_parquet(body, limits, hold), schema, limits, options)


def read_arrow(
    body: bytes, schema: Schema, limits: Limits, options: Options, hold: Hold
) -> ScoreRequest:
    """The request that an Arrow stream is; see `request_of`."""
    hold(len(body))
    with refusing("arrow"):
        return request_of(_arrow(body, limits), schema, limits, options)


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """What a reader says of a body, in words that repeat nothing of it.

    Args:
        name: Of the format.

    Raises:
        NotATable: the body is damaged, or of another format.
        InvalidRequest: it has no rows.
    """
    try:
        yield
    except (InvalidRequest, NotATable, TooLarge):
        raise
    except BadData as error:
        if error.code == "no_rows":
            raise InvalidRequest("there are no rows. Send at least one.", code="no_rows") from error
        reason = READING.get(error.code, "cannot be read")
        place = "" if error.line is None else f", in line {error.line}"
        raise NotATable(f"the body {reason}{place}.", code=f"{name}_invalid") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        raise NotATable(
            f"the body is no sound {TITLES[name]}: it is cut off, damaged or of another format.",
            code=f"{name}_invalid",
        ) from error


def _piece_of_text(raw: RawChunk) -> Piece:
    lines = np.sort(np.concatenate([raw.lines, [reject.line for reject in raw.rejects]]))
    ragged = np.searchsorted(lines, [reject.line for reject in raw.rejects])
    rows = np.searchsorted(lines, raw.lines)
    return Piece(raw.table, rows, len(lines), tuple(ragged.tolist()))


def _parquet(body: bytes, limits: Limits, hold: Hold) -> Source:
    metadata = parquet.read_metadata(pa.BufferReader(body))
    check_most(metadata.num_rows, limits)
    check_most(metadata.num_row_groups, limits)
    schema = parquet.ParquetFile(pa.BufferReader(body), metadata=metadata).schema_arrow
    # pyarrow finds columns by paths, in which `a.b` may be a column or a part of one.
    if nested := [field.name for field in schema if pa.types.is_nested(field.type)]:
        raise wrong_type(nested)

    def pieces(names: Sequence[str]) -> Iterator[Piece]:
        size = parquet_pages.unpacked_bytes(body, metadata, _read_with(names, schema.names))
        check_unpacked(size, limits)
        hold(size)
        file = parquet.ParquetFile(
            pa.BufferReader(body),
            metadata=metadata,
            # A text that is repeated stays one text, whatever its length.
            read_dictionary=[name for name in names if is_text(schema.field(name).type)],
        )
        for batch in file.iter_batches(limits.rows, columns=list(names), use_threads=False):
            yield _validated(batch, limits)

    return Source(tuple(schema.names), _unsupported(schema), pieces)


def _arrow(body: bytes, limits: Limits) -> Source:
    arrow_messages.check_messages(body)
    schema = ipc.open_stream(pa.BufferReader(body)).schema

    def pieces(names: Sequence[str]) -> Iterator[Piece]:
        fields = [place for place, name in enumerate(schema.names) if name in set(names)]
        options = ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        for batch in ipc.open_stream(pa.BufferReader(body), options=options):
            # A batch may claim any number of rows that take no byte.
            check_most(len(batch), limits)
            yield _validated(batch, limits)

    return Source(tuple(schema.names), _unsupported(schema), pieces)


def _validated(batch: pa.RecordBatch, limits: Limits) -> Piece:
    batch.validate(full=True)
    table = pa.Table.from_batches([batch])
    check_unpacked(sum(map(_text_bytes, batch.columns)), limits)
    return Piece(table, np.arange(len(table)), len(table))


def check_unpacked(size: int, limits: Limits) -> None:
    """Refuse what unpacks to far more than a body may have.

    Args:
        size: In bytes.

    Raises:
        TooLarge: accordingly.
    """
    if size > (most := MOST_TIMES * limits.body_bytes):
        raise TooLarge(
            f"the body unpacks to {size:,} bytes; the service takes {most:,}. Send the rows in "
            "parts, or score a file with `anomaly score`.",
            code="unpacked_too_large",
        )


def _text_bytes(array: pa.Array) -> int:
    """Of a dictionary of texts, how long it is with every text written out; else 0."""
    kind = array.type
    if not pa.types.is_dictionary(kind) or not is_text(kind.value_type):
        return 0
    lengths = pc.take(pc.binary_length(array.dictionary), array.indices)
    return int(pc.sum(lengths.cast(pa.int64())).as_py() or 0)


def _read_with(names: Sequence[str], all_names: Sequence[str]) -> list[int]:
    """Which columns of a file pyarrow reads for these names: also those with a name that goes on
    after a point."""
    wanted = set(names)
    return [
        place
        for place, name in enumerate(all_names)
        if any(name[:end] in wanted for end in _ends(name))
    ]


def _ends(name: str) -> list[int]:
    return [*(at for at, mark in enumerate(name) if mark == "."), len(name)]


def _unsupported(schema: pa.Schema) -> frozenset[str]:
    return frozenset(field.name for field in schema if not _is_readable(field.type))


def _is_readable(kind: pa.DataType) -> bool:
    # Views of a stream may all be of the same megabyte.
    if pa.types.is_dictionary(kind):
        return _is_readable(kind.value_type)
    return is_supported(kind) and not pa.types.is_string_view(kind)
