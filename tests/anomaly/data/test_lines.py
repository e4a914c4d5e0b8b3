"""Rows of delimited text: where they begin, where they end, and which are not closed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.data.lines import blocks, count_lines, is_open, row_lines
from anomaly.data.options import ReadOptions
from anomaly.errors import BadData
from tests.anomaly.data.reference import reference_rows

ODD_TEXT = st.text(alphabet='",a\n\r', max_size=40)


def pieces(text: bytes, size: int) -> Iterator[bytes]:
    return (text[i : i + size] for i in range(0, len(text), size))


@pytest.mark.parametrize("newlines_in_values", [False, True])
@given(text=ODD_TEXT, size=st.integers(1, 9))
def test_rows_are_those_of_a_parser_that_reads_one_character_at_a_time(
    text: str, size: int, newlines_in_values: bool
) -> None:
    options = ReadOptions(newlines_in_values=newlines_in_values)
    rows, left_open = reference_rows(text, newlines_in_values)

    def found() -> list[int]:
        return [
            line
            for block in blocks(pieces(text.encode(), size), options)
            for line in row_lines(block, options, keep_blank=True).tolist()
        ]

    if left_open is not None:
        with pytest.raises(BadData) as refusal:
            found()
        assert refusal.value.line == left_open
    else:
        assert found() == [line for line, _ in rows]


@given(text=ODD_TEXT, size=st.integers(1, 9), newlines_in_values=st.booleans())
def test_blocks_are_the_text_and_know_their_line(
    text: str, size: int, newlines_in_values: bool
) -> None:
    data = text.encode()
    options = ReadOptions(newlines_in_values=newlines_in_values)

    found = list(blocks(pieces(data, size), options))

    assert b"".join(block.text for block in found) == data
    before = b""
    for block in found:
        assert block.line == 1 + count_lines(before)
        before += block.text


@given(text=st.text(alphabet="a\n\r", max_size=30))
def test_lines_are_counted_as_python_splits_them(text: str) -> None:
    assert count_lines(text.encode()) == len(text.encode().splitlines())


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (b"", False),
        (b"a,b", False),
        (b'"a,b"', False),
        (b'"a""b"', False),
        (b'5" pipe,a"b', False),
        (b'"a"b"c', False),
        (b'"a', True),
        (b'a,"', True),
        (b'"a""', True),
        (b'"a""b,c', True),
    ],
)
def test_a_row_is_open_if_it_ends_inside_a_quoted_value(row: bytes, expected: bool) -> None:
    assert is_open(row, ReadOptions()) is expected


@pytest.mark.parametrize(
    ("start", "newlines_in_values", "code"),
    [
        (b"1,", False, "field_too_large"),
        (b'1,"', False, "unterminated_quote"),
        (b'1,"', True, "unterminated_quote"),
    ],
)
def test_a_row_without_an_end_stops_at_the_cap(
    start: bytes, newlines_in_values: bool, code: str
) -> None:
    options = ReadOptions(newlines_in_values=newlines_in_values, max_row_bytes=10_000)
    pulled = 0

    def endless() -> Iterator[bytes]:
        nonlocal pulled
        yield b"a,b\n1,2\n" + start
        while True:
            pulled += 1_000
            yield b"x" * 1_000

    with pytest.raises(BadData) as refusal:
        list(blocks(endless(), options))

    assert refusal.value.code == code
    assert refusal.value.line == 3
    assert pulled <= 11_000
