"""Where the rows of delimited text begin and end.

The grammar is the one the parser has: a value that begins with a quote runs to the next single
quote (a doubled one stands for itself), and what follows up to the delimiter still belongs to
it; in any other value a quote is an ordinary character. Lines end with LF, CRLF or CR.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from anomaly.arrays import Int64
from anomaly.data.options import ReadOptions
from anomaly.errors import BadData

_NEWLINE = re.compile(rb"\r\n|\n|\r")


def blocks(chunks: Iterator[bytes], options: ReadOptions) -> Iterator[tuple[bytes, int, bool]]:
    """Cut chunks of text into blocks of whole rows.

    Yields:
        The block, the 1-based line it begins at, and whether it is the last one.

    Raises:
        BadData: a row is longer than `max_row_bytes`, or the text ends inside a quoted value.
    """
    line = 1
    rest = b""
    for chunk in chunks:
        rest += chunk
        if end := end_of_rows(rest, options):
            yield rest[:end], line, False
            line += count_lines(rest[:end])
            rest = rest[end:]
        if len(rest) > options.max_row_bytes:
            raise too_long(rest, line, options)
    yield rest, line, True


def end_of_rows(text: bytes, options: ReadOptions) -> int:
    """Where the last complete row of the text ends; 0 if none does."""
    if options.newlines_in_values and options.quote.encode() in text:
        end = 0
        for row in row_pattern(options).finditer(text):
            if row.start() != end:
                break
            end = row.end()
        # A CR at the very end may be the first half of a CRLF.
        return end if end < len(text) or text[-1:] == b"\n" else max(0, row_before(text, options))
    return max(text.rfind(b"\n"), text.rfind(b"\r", 0, len(text) - 1)) + 1


def row_before(text: bytes, options: ReadOptions) -> int:
    """Where the last complete row ends if the final byte is not looked at."""
    return end_of_rows(text[:-1] + b" ", options) if len(text) > 1 else 0


def too_long(text: bytes, line: int, options: ReadOptions) -> BadData:
    """Why no row ends within the cap."""
    first = text if options.newlines_in_values else _NEWLINE.split(text, maxsplit=1)[0]
    if is_open(first, options):
        return unterminated(line, f"within {options.max_row_bytes:,} bytes")
    return BadData(
        f"this row is longer than the {options.max_row_bytes:,} bytes that are allowed. "
        "Is it a text table at all? If so, raise `max_row_bytes`.",
        code="field_too_large",
        line=line,
    )


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


def row_lines(
    text: bytes, first_line: int, options: ReadOptions, *, is_last: bool, keep_blank: bool
) -> Int64:
    """(N,) the line of each row of a block that does not simply have one row a line.

    Args:
        keep_blank: Whether a blank line is a row (of one missing value) or nothing.

    Raises:
        BadData: a quoted value is not closed where it must be.
    """
    if options.newlines_in_values:
        rows = list(spans(text, first_line, options))
    else:
        rows = list(enumerate(text.splitlines(), first_line))
        for number, row in rows:
            if is_open(row, options):
                if is_last and number == rows[-1][0]:
                    raise unterminated(number, "before the file ends")
                raise BadData(
                    "a quoted value goes on beyond the end of this line: the rows are out of "
                    "sync. If values may contain line ends, say --newlines-in-values; otherwise "
                    "close the quote, or double it if it belongs to the value.",
                    code="out_of_sync",
                    line=number,
                )
    return np.array([number for number, row in rows if row or keep_blank], dtype=np.int64)


def spans(text: bytes, line: int, options: ReadOptions) -> Iterator[tuple[int, bytes]]:
    """The first line and the text of each row, where values may contain line ends."""
    end = 0
    for row in row_pattern(options).finditer(text):
        if row.start() != end:
            break
        yield line, row[1]
        end = row.end()
        line += count_lines(row[0])
    if end < len(text):
        if is_open(text[end:], options):
            raise unterminated(line, "before the file ends")
        yield line, text[end:]


def is_open(row: bytes, options: ReadOptions) -> bool:
    """Whether the text ends inside a quoted value."""
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
