"""Delimited text as tables of text, with the line of every row.

Every column is read as text and converted afterwards (`anomaly.data.convert`), so that each
refusal knows its line, its column and its reason, and one bad row need not cost the others.
That costs 1.6 to 2.2 of the time of typed parsing (0.7 to 0.9 s for 200,000 x 32 long numbers).

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
from anomaly.data.chunks import RawChunk, RawFile, Reject, located
from anomaly.data.lines import (
    Block,
    blocks,
    count_lines,
    goes_on,
    is_open,
    last_line,
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
        yield text_table(chunks, options)


def text_table(chunks: Iterator[bytes], options: ReadOptions) -> RawFile:
    """The header and the rows of delimited text in UTF-8; see `open_csv`."""
    rest = blocks(chunks, options)
    start = first_text(rest)
    header, block = split_header(start, options)
    with located(line=start.line):
        names = column_names(header, options)
    return RawFile(names, start.line, raw_chunks(names, chain([block], rest), options))


def first_text(blocks: Iterator[Block]) -> Block:
    """The first block that is more than blank lines, without those at its start."""
    for block in blocks:
        if text := block.text.lstrip(b"\r\n"):
            blank = count_lines(block.text[: len(block.text) - len(text)])
            return Block(text, block.line + blank, block.n_lines - blank)
    raise BadData("the file is empty: there is not even a header.", code="no_rows")


def split_header(block: Block, options: ReadOptions) -> tuple[bytes, Block]:
    """The first row of the block without its line end, and what comes after it."""
    if goes_on(block.text, options):
        end = next((end for _, end, _ in whole_rows(block.text, options)), len(block.text))
    else:
        end = len(block.text.splitlines(keepends=True)[0])
    header = block.text[:end].rstrip(b"\r\n")
    if is_open(header, options):
        if options.newlines_in_values:
            raise unterminated(block.line, "before the file ends")
        raise out_of_sync(block.line)
    taken = count_lines(block.text[:end])
    return header, Block(block.text[end:], block.line + taken, block.n_lines - taken)


def column_names(header: bytes, options: ReadOptions) -> tuple[str, ...]:
    """The names in the header line."""
    text = header.decode()
    try:
        found = next(csv.reader([text], delimiter=options.delimiter, quotechar=options.quote))
    except csv.Error as error:
        raise BadData(f"the header cannot be read: {error}", code="field_too_large") from error
    return tuple(name or f"Unnamed: {i}" for i, name in enumerate(found))


def raw_chunks(
    names: tuple[str, ...], blocks: Iterator[Block], options: ReadOptions
) -> Iterator[RawChunk]:
    """The rows of each block.

    Raises:
        BadData: there is no row at all, or quotes put the rows out of step with the lines.
    """
    parser = TextParser(names, options)
    is_empty = True
    for block in blocks:
        # `lstrip` copies nothing where there is nothing to strip.
        if block.text if len(names) == 1 else block.text.lstrip(b"\r\n"):
            is_empty = False
            yield parser.parse(block)
    if is_empty:
        raise BadData("there is a header, but no row of values below it.", code="no_rows")


class TextParser:
    """pyarrow's parser, set up once for a file: every column is text, None where empty."""

    def __init__(self, names: tuple[str, ...], options: ReadOptions) -> None:
        self._names = names
        self._options = options
        self._ragged: list[arrow_csv.InvalidRow] = []
        keys = [str(i) for i in range(len(names))]  # names may repeat; who opens refuses that
        self._settings = (
            # A block is parsed by one thread and at once: otherwise rows are not numbered.
            arrow_csv.ReadOptions(use_threads=False, block_size=2**31 - 1, column_names=keys),
            arrow_csv.ParseOptions(
                delimiter=options.delimiter,
                quote_char=options.quote,
                newlines_in_values=options.newlines_in_values,
                ignore_empty_lines=len(names) > 1,
                invalid_row_handler=self._leave_out,
            ),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(keys, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                check_utf8=False,  # `stream` has checked, and knows the offset
            ),
        )

    def _leave_out(self, row: arrow_csv.InvalidRow) -> str:
        self._ragged.append(row)
        return "skip"

    def parse(self, block: Block) -> RawChunk:
        """The rows of one block with their lines.

        Raises:
            BadData: the parser's rows are not the rows of the text.
        """
        self._ragged.clear()
        table = arrow_csv.read_csv(pa.BufferReader(block.text), *self._settings)
        n_rows = len(table) + len(self._ragged)
        lines = lines_of(block, n_rows, self._options, is_single=len(self._names) == 1)
        return RawChunk(
            table.rename_columns(self._names),
            np.delete(lines, np.array([row.number - 1 for row in self._ragged], dtype=np.int64)),
            tuple(ragged_row(int(lines[row.number - 1]), row) for row in self._ragged),
        )


def lines_of(block: Block, n_rows: int, options: ReadOptions, *, is_single: bool) -> Int64:
    """(n_rows,) the line of each row that the parser found.

    Raises:
        BadData: the parser's rows are not the rows of the text.
    """
    one_row_a_line = (
        n_rows == block.n_lines
        and not goes_on(block.text, options)
        # An open quote in any other line would have swallowed a line end.
        and not is_open(last_line(block.text), options)
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
