"""Where the rows of delimited text begin and end.

The grammar is the one the parser has: a value that begins with a quote runs to the next single
quote (a doubled one stands for itself), and what follows up to the delimiter still belongs to
it; in any other value a quote is an ordinary character. Lines end with LF, CRLF or CR.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from anomaly.arrays import Int64
from anomaly.data.options import ReadOptions
from anomaly.errors import BadData

FEWEST_LINES = 100
"""A block is this long at least, ..."""

LONGEST_BLOCK = 16
"""... or this many times `block_bytes`."""


@dataclass(frozen=True)
class Block:
    """A piece of text that ends where a row ends.

    Attributes:
        line: The 1-based line of the file that it begins at.
        n_lines: How many lines it has, blank ones included.
    """

    text: bytes
    line: int
    n_lines: int


def blocks(chunks: Iterator[bytes], options: ReadOptions) -> Iterator[Block]:
    """Cut chunks of text into blocks of whole rows; the last one may be empty.

    Raises:
        BadData: a row is longer than `max_row_bytes`.
    """
    line = 1
    rest = b""
    for chunk in chunks:
        rest += chunk
        block = block_of(rest[: end_of_rows(rest, options)], line)
        unfinished = rest[len(block.text) :]
        if len(unfinished) > options.max_row_bytes:
            raise too_long(unfinished, line + block.n_lines, options)
        # Parsing costs so much a block and column: a wide table gets longer blocks.
        is_long = len(rest) >= LONGEST_BLOCK * options.block_bytes
        if block.n_lines >= FEWEST_LINES or (block.n_lines and is_long):
            yield block
            line, rest = line + block.n_lines, unfinished
    yield block_of(rest, line)


def block_of(text: bytes, line: int) -> Block:
    return Block(text, line, count_lines(text))


def end_of_rows(text: bytes, options: ReadOptions) -> int:
    """Where the last complete row of the text ends; 0 if none does."""
    # A CR at the very end may be the first half of a CRLF.
    stop = len(text) - text.endswith(b"\r")
    if not goes_on(text, options):
        return max(text.rfind(b"\n", 0, stop), text.rfind(b"\r", 0, stop)) + 1
    return max((end for _, end, _ in whole_rows(text[:stop], options)), default=0)


def goes_on(text: bytes, options: ReadOptions) -> bool:
    """Whether a row of this text may go on in the next line."""
    return options.newlines_in_values and options.quote.encode() in text


def too_long(text: bytes, line: int, options: ReadOptions) -> BadData:
    """Why no row ends within the cap."""
    if is_open(text, options):
        return unterminated(line, f"within {options.max_row_bytes:,} bytes")
    return BadData(
        f"this row is longer than the {options.max_row_bytes:,} bytes that are allowed. "
        "Is it a text table at all? If so, raise `max_row_bytes`.",
        code="field_too_large",
        line=line,
    )


def last_line(text: bytes) -> bytes:
    """The last line that is not blank, without its line end."""
    end = len(text)
    while end and text[end - 1] in b"\r\n":
        end -= 1
    return text[max(text.rfind(b"\n", 0, end), text.rfind(b"\r", 0, end)) + 1 : end]


def unterminated(line: int, where: str) -> BadData:
    return BadData(
        f"a quoted value begins in this line and is not closed {where}. "
        "Close the quote, or double it if it belongs to the value.",
        code="unterminated_quote",
        line=line,
    )


def count_lines(text: bytes) -> int:
    """Lines of the text; a line end at its very end begins no further one."""
    ends = text.count(b"\n")
    if b"\r" in text:
        ends += text.count(b"\r") - text.count(b"\r\n")
    return ends + (text[-1:] not in (b"\n", b"\r", b""))


def row_lines(block: Block, options: ReadOptions, *, keep_blank: bool) -> Int64:
    """(N,) the line of each row of a block that does not simply have one row a line.

    Args:
        keep_blank: Whether a blank line is a row (of one missing value) or nothing.

    Raises:
        BadData: a quoted value is not closed where it must be.
    """
    rows = spans(block, options) if goes_on(block.text, options) else closed_lines(block, options)
    return np.array([line for line, row in rows if row or keep_blank], dtype=np.int64)


def spans(block: Block, options: ReadOptions) -> Iterator[tuple[int, bytes]]:
    """The first line and the text of each row, where values may contain line ends."""
    line, end = block.line, 0
    for start, end, row in whole_rows(block.text, options):
        yield line, row
        line += count_lines(block.text[start:end])
    if rest := block.text[end:]:
        if is_open(rest, options):
            raise unterminated(line, "before the file ends")
        yield line, rest


def closed_lines(block: Block, options: ReadOptions) -> Iterator[tuple[int, bytes]]:
    """The number and the text of each line, where a row is a line."""
    for number, row in enumerate(block.text.splitlines(), block.line):
        if is_open(row, options):
            raise out_of_sync(number)
        yield number, row


def out_of_sync(line: int) -> BadData:
    return BadData(
        "a quoted value is still open at the end of this line, so that the rows would be out of "
        "sync. If values may contain line ends, say --newlines-in-values; otherwise close the "
        "quote, or double it if it belongs to the value.",
        code="out_of_sync",
        line=line,
    )


def whole_rows(text: bytes, options: ReadOptions) -> Iterator[tuple[int, int, bytes]]:
    """Start, end and text (without line end) of each complete row, from the start of `text`."""
    end = 0
    pattern = row_pattern(options)
    # `match` at the end of the row before, never `finditer`, which would try every later byte.
    while found := pattern.match(text, end):
        yield found.start(), found.end(), found[1]
        end = found.end()


def is_open(row: bytes, options: ReadOptions) -> bool:
    """Whether the row ends inside a quoted value."""
    if options.quote.encode() not in row:
        return False
    return closed_pattern(options).fullmatch(row) is None


@lru_cache(maxsize=8)
def closed_pattern(options: ReadOptions) -> re.Pattern[bytes]:
    """One row whose quotes are all closed, without its line end."""
    return re.compile(_fields(options))


@lru_cache(maxsize=8)
def row_pattern(options: ReadOptions) -> re.Pattern[bytes]:
    """One row with its line end; group 1 is the row without it."""
    return re.compile(b"(" + _fields(options) + rb")(?:\r\n|\n|\r)")


def _fields(options: ReadOptions) -> bytes:
    # The ++ and *+ never give back what they took: the match is linear in the length, and a
    # doubled quote can never be read as the end of a value.
    q, d = re.escape(options.quote.encode()), re.escape(options.delimiter.encode())
    plain = rb"[^" + d + rb"\r\n]*+"
    quoted = q + rb"(?:[^" + q + rb"]++|" + q + q + rb")*+" + q + plain
    field = rb"(?:" + quoted + rb"|(?!" + q + rb")" + plain + rb")"
    return field + rb"(?:" + d + field + rb")*+"
