"""Delimited text as tables of text, with the line of every row.

Every column is read as text and converted afterwards (`anomaly.data.convert`), so that each
refusal knows its line, its column and its reason, and one bad row need not cost the others.
That costs 1.1 to 1.3 of the time of typed parsing on 200,000 x 32 numbers.

pyarrow does the parsing; whether its rows are the rows of the file is checked here, block by
block, by counting: it drops blank lines without a word, joins lines that a stray quote connects,
and reads a value whose quote is never closed as if it were.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from anomaly.arrays import Int64
from anomaly.data.chunks import RawChunk, RawFile, Reject
from anomaly.data.lines import (
    Block,
    blocks,
    count_lines,
    goes_on,
    is_open,
    out_of_sync,
    row_lines,
    unterminated,
    whole_rows,
)
from anomaly.data.options import ReadOptions
from anomaly.data.stream import open_text
from anomaly.errors import BadData


@contextmanager
def open_csv(path: Path, options: ReadOptions) -> Iterator[RawFile]:
    """The header and the rows of a file of delimited text, in bounded memory.

    A column without a name is called by its position, as pandas does: ``Unnamed: 0``. Blank
    lines are skipped, but counted; in a file of one column a blank line is a missing value.

    Raises:
        BadData: the file has no header, or its bytes are not text; while iterating, also what
            is wrong with the rows as a whole (single bad rows are `RawChunk.rejects`).
    """
    with open_text(path, options) as chunks:
        rest = blocks(chunks, options)
        header, block = split_header(first_text(rest), options)
        names = column_names(header, options)
        yield RawFile(names, header.line, raw_chunks(names, chain([block], rest), options))


def first_text(blocks: Iterator[Block]) -> Block:
    """The first block that is more than blank lines, without those at its start."""
    for block in blocks:
        if text := block.text.lstrip(b"\r\n"):
            blank = count_lines(block.text[: len(block.text) - len(text)])
            return Block(text, block.line + blank, block.is_last)
    raise BadData("the file is empty: there is not even a header.", code="no_rows")


def split_header(block: Block, options: ReadOptions) -> tuple[Block, Block]:
    """The first row of the block without its line end, and what comes after it."""
    if goes_on(block.text, options):
        end = next((end for _, end, _ in whole_rows(block.text, options)), len(block.text))
    else:
        end = len(block.text.splitlines(keepends=True)[0])
    header = block.text[:end].rstrip(b"\r\n")
    if is_open(header, options):
        is_all = block.is_last and end == len(block.text)
        raise unterminated(block.line, "in the header") if is_all else out_of_sync(block.line)
    line = block.line + count_lines(block.text[:end])
    return Block(header, block.line, False), Block(block.text[end:], line, block.is_last)


def column_names(header: Block, options: ReadOptions) -> tuple[str, ...]:
    """The names in the header line."""
    text = header.text.decode()
    try:
        found = next(csv.reader([text], delimiter=options.delimiter, quotechar=options.quote))
    except csv.Error as error:
        raise BadData(
            f"the header cannot be read: {error}", code="field_too_large", line=header.line
        ) from error
    return tuple(name or f"Unnamed: {i}" for i, name in enumerate(found))


def raw_chunks(
    names: tuple[str, ...], blocks: Iterator[Block], options: ReadOptions
) -> Iterator[RawChunk]:
    """The rows of each block.

    Raises:
        BadData: there is no row at all, or quotes put the rows out of step with the lines.
    """
    is_empty = True
    for block in blocks:
        if block.text.strip(b"\r\n") or (len(names) == 1 and block.text):
            is_empty = False
            yield parse(names, block, options)
    if is_empty:
        raise BadData("there is a header, but no row of values below it.", code="no_rows")


def parse(names: tuple[str, ...], block: Block, options: ReadOptions) -> RawChunk:
    """The rows of one block as text, None where a value is empty."""
    ragged: list[arrow_csv.InvalidRow] = []

    def leave_out(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    keys = [str(i) for i in range(len(names))]  # names may repeat here; the caller refuses that
    table = arrow_csv.read_csv(
        pa.BufferReader(block.text),
        # One block, one thread: with more of them the parser does not number the rows.
        arrow_csv.ReadOptions(use_threads=False, block_size=len(block.text) + 1, column_names=keys),
        arrow_csv.ParseOptions(
            delimiter=options.delimiter,
            quote_char=options.quote,
            newlines_in_values=options.newlines_in_values,
            ignore_empty_lines=len(names) > 1,
            invalid_row_handler=leave_out,
        ),
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(keys, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            check_utf8=False,  # checked by `stream`, which knows the offset
        ),
    )
    lines = lines_of(block, len(table) + len(ragged), options, is_single=len(names) == 1)
    positions = np.array([row.number - 1 for row in ragged], dtype=np.int64)
    return RawChunk(
        table.rename_columns(names),
        np.delete(lines, positions),
        tuple(ragged_row(int(lines[row.number - 1]), row) for row in ragged),
    )


def lines_of(block: Block, n_rows: int, options: ReadOptions, *, is_single: bool) -> Int64:
    """(n_rows,) the line of each row that the parser found.

    Raises:
        BadData: the parser's rows are not the rows of the text.
    """
    last_line = block.text[block.text.rstrip(b"\r\n").rfind(b"\n") + 1 :].rstrip(b"\r\n")
    one_row_a_line = (
        not goes_on(block.text, options)
        and n_rows == count_lines(block.text)
        # An open quote in any other line would have swallowed a line end.
        and not is_open(last_line.rpartition(b"\r")[2], options)
    )
    if one_row_a_line:
        return np.arange(block.line, block.line + n_rows, dtype=np.int64)
    lines = row_lines(block, options, keep_blank=is_single)
    if len(lines) != n_rows:
        raise out_of_sync(block.line)
    return lines


def ragged_row(line: int, row: arrow_csv.InvalidRow) -> Reject:
    return Reject(
        line,
        None,
        "ragged_row",
        f"expected {row.expected_columns} values, found {row.actual_columns}. A value that "
        "contains the delimiter must be quoted, and an empty one still needs its delimiter.",
    )
