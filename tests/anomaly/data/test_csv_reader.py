"""CSV files read as they are or refused with their place: C1 to C9 of the reliability tables."""

from __future__ import annotations

import csv
import io
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anomaly.data.readers import Chunk, ReadOptions, Reject, open_reader, read_records, read_sample
from anomaly.data.schema import Column, Kind, Role, Schema
from anomaly.errors import BadData, SchemaMismatch
from tests.anomaly.data.reference import reference_rows

NUMBERS = Schema((Column("a", Kind.NUMERIC), Column("b", Kind.NUMERIC)))
TEXTS = Schema((Column("a", Kind.CATEGORICAL), Column("b", Kind.CATEGORICAL)))


def file(folder: Path, text: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def values(path: Path, schema: Schema = NUMBERS, **options: object) -> dict[str, list[object]]:
    records = read_records(path, schema, options=ReadOptions(**options))  # type: ignore[arg-type]
    return {name: column.tolist() for name, column in records.columns.items()}


def lines(path: Path, schema: Schema = NUMBERS, **options: object) -> list[int]:
    chunks = open_reader(path, schema, options=ReadOptions(**options))  # type: ignore[arg-type]
    return [line for chunk in chunks for line in chunk.lines.tolist()]


def refusal(path: Path, schema: Schema = NUMBERS, **options: object) -> BadData:
    with pytest.raises(BadData) as caught:
        values(path, schema, **options)
    assert caught.value.file == path
    return caught.value


# C1


@pytest.mark.parametrize(("row", "found"), [("3", 1), ("3,4,5", 3), (" ", 1)])
def test_a_ragged_row_is_refused_with_line_expected_and_found(
    tmp_path: Path, row: str, found: int
) -> None:
    error = refusal(file(tmp_path, f"a,b\n1,2\n{row}\n5,6\n"))

    assert (error.code, error.line) == ("ragged_row", 3)
    assert f"expected 2 values, found {found}" in error.message


def test_rejected_rows_are_reported_in_order_and_the_good_ones_stay_aligned(tmp_path: Path) -> None:
    path = file(tmp_path, "a,b\n1,2\n\n3\nx,NA\n5,6\n7,8,9\n10,inf\n11,12\n")
    rejects: list[Reject] = []

    chunks = list(open_reader(path, NUMBERS, on_reject=rejects.append))

    assert [(r.line, r.column, r.code) for r in rejects] == [
        (4, None, "ragged_row"),
        (5, "a", "not_a_number"),
        (7, None, "ragged_row"),
        (8, "b", "not_finite"),
    ]
    (chunk,) = chunks
    assert chunk.lines.tolist() == [2, 6, 9]
    assert chunk.records.columns["a"].tolist() == [1, 5, 11]
    assert chunk.records.columns["b"].tolist() == [2, 6, 12]
    assert chunk.table.to_pydict() == {"a": ["1", "5", "11"], "b": ["2", "6", "12"]}


def test_the_first_row_at_fault_is_refused_whatever_its_fault(tmp_path: Path) -> None:
    assert refusal(file(tmp_path, "a,b\n1,2\n3,x\n4\n")).line == 3
    assert refusal(file(tmp_path, "a,b\n1,2\n3\n4,x\n")).line == 3
    assert refusal(file(tmp_path, "a,b\n1,2\n3,x\ny,4\n")).line == 3


# C2


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff", "a,b", "a,b\n", "a,b\r\n\r\n\r\n"])
def test_a_file_without_rows_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal(file(tmp_path, text)).code == "no_rows"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("block_bytes", [1, 2, 3, 2**20])
def test_every_line_end_will_do_also_none_at_the_end(
    tmp_path: Path, end: str, last: bool, block_bytes: int
) -> None:
    text = end.join(["a,b", "1,2", "3,4"]) + (end if last else "")
    path = file(tmp_path, text)

    assert values(path, block_bytes=block_bytes) == {"a": [1, 3], "b": [2, 4]}
    assert lines(path, block_bytes=block_bytes) == [2, 3]


def test_blank_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = file(tmp_path, "\r\n\n\na,b\n\n1,2\n\r\n\n3,4\n\n\n")

    assert values(path) == {"a": [1, 3], "b": [2, 4]}
    assert lines(path) == [6, 9]


# C3


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    assert values(file(tmp_path, "\ufeffa,b\n1,2\n")) == {"a": [1], "b": [2]}


@pytest.mark.parametrize("quote", ['"', "'"])
def test_names_and_values_may_be_quoted(tmp_path: Path, quote: str) -> None:
    text = 'a,"b"\n"x,y","say ""hi"""\n5" pipe,""\n'.replace('"', quote)

    assert values(file(tmp_path, text), TEXTS, quote=quote) == {
        "a": ["x,y", f"5{quote} pipe"],
        "b": [f"say {quote}hi{quote}", None],
    }


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        ("a,b\n1,2\n".encode("utf-16"), 0),
        ("a,b\n1,2\n".encode("utf-16-le"), 1),
        (b"a,b\n1,2\n\xe4,4\n", 8),
        (b"a,b\n1,2\n3,\0\n", 10),
    ],
)
def test_what_is_not_utf_8_is_refused_with_its_offset(
    tmp_path: Path, data: bytes, offset: int
) -> None:
    error = refusal(file(tmp_path, data))

    assert error.code == "encoding"
    assert f"byte {offset} " in error.message


# C4


def test_columns_are_found_by_name_and_further_ones_are_let_be(tmp_path: Path) -> None:
    path = file(tmp_path, "b,more,a\n2,x,1\n")

    (chunk,) = open_reader(path, NUMBERS)

    assert {name: v.tolist() for name, v in chunk.records.columns.items()} == {"a": [1], "b": [2]}
    assert chunk.table.to_pydict() == {"b": ["2"], "more": ["x"], "a": ["1"]}


def test_repeated_and_missing_columns_are_refused_by_name(tmp_path: Path) -> None:
    repeated = refusal(file(tmp_path, "a,b,a\n1,2,3\n"))
    missing = refusal(file(tmp_path, "a,c\n1,2\n"))

    assert (repeated.code, repeated.line) == ("duplicate_column", 1)
    assert "'a'" in repeated.message
    assert (missing.code, missing.line) == ("missing_column", 1)
    assert "missing columns: 'b'" in missing.message


@pytest.mark.parametrize(("mark", "shown"), [(";", "';'"), ("\t", r"'\t'"), ("|", "'|'")])
def test_a_wrong_delimiter_is_hinted_at(tmp_path: Path, mark: str, shown: str) -> None:
    path = file(tmp_path, f"a{mark}b\n1,5{mark}2,5\n")

    assert f"--delimiter {shown}" in refusal(path).message
    with pytest.raises(BadData, match="--delimiter"):
        read_sample(path)
    assert values(path, TEXTS, delimiter=mark) == {"a": ["1,5"], "b": ["2,5"]}


def test_a_tsv_file_has_tabs(tmp_path: Path) -> None:
    assert values(file(tmp_path, "a\tb\n1\t2\n", "table.tsv")) == {"a": [1], "b": [2]}


def test_a_column_without_a_name_is_called_as_pandas_calls_it(tmp_path: Path) -> None:
    path = file(tmp_path, ",a,b\n0,1,2\n")

    assert read_sample(path).column_names == ["Unnamed: 0", "a", "b"]
    assert values(path) == {"a": [1], "b": [2]}


# C5


def test_a_change_of_type_deep_in_the_file_names_line_and_column(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i}.5\n" for i in range(100_000))
    path = file(tmp_path, f"a,b\n{rows}7,oops\n1,1\n")
    read: list[Chunk] = []

    with pytest.raises(SchemaMismatch, match="'oops' is not a number") as caught:
        read.extend(open_reader(path, NUMBERS, options=ReadOptions(block_bytes=2**16)))

    assert (caught.value.line, caught.value.column) == (100_002, "b")
    # What came before was handed on: a job may keep the parts it has finished.
    assert sum(len(chunk.records) for chunk in read) > 90_000


# C6, C7


def test_a_value_that_goes_on_in_the_next_line_is_refused_unless_it_may(tmp_path: Path) -> None:
    path = file(tmp_path, 'a,b\nx,y\n1,"two\r\nlines, ""quoted"""\n\n3,4\n')

    error = refusal(path, TEXTS)
    assert (error.code, error.line) == ("out_of_sync", 3)
    for block_bytes in (1, 7, 2**20):
        options = {"newlines_in_values": True, "block_bytes": block_bytes}
        assert values(path, TEXTS, **options) == {
            "a": ["x", "1", "3"],
            "b": ["y", 'two\r\nlines, "quoted"', "4"],
        }
        assert lines(path, TEXTS, **options) == [2, 3, 6]


def test_a_row_that_goes_on_is_refused_even_if_bad_rows_may_be_left_out(tmp_path: Path) -> None:
    # Its second half has two values and would be read as a row that nobody wrote.
    path = file(tmp_path, 'a,b\n1,"x\n9,9\ny"\n')

    with pytest.raises(BadData) as caught:
        list(open_reader(path, TEXTS, on_reject=lambda reject: None))
    assert (caught.value.code, caught.value.line) == ("out_of_sync", 2)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_quote_that_is_never_closed_is_refused(tmp_path: Path, end: str) -> None:
    path = file(tmp_path, f'a,b\n1,2\n3,"4{end}')

    in_lines = refusal(path, TEXTS)
    over_lines = refusal(path, TEXTS, newlines_in_values=True)

    assert (in_lines.code, in_lines.line) == ("out_of_sync", 3)
    assert (over_lines.code, over_lines.line) == ("unterminated_quote", 3)


def test_a_quote_that_is_open_in_the_header_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path, 'a,"b\n1,2\n')

    assert refusal(path).code == "out_of_sync"
    assert refusal(path, newlines_in_values=True).code == "unterminated_quote"


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_value_of_gigabytes_is_refused_at_the_cap(tmp_path: Path, quote: str) -> None:
    path = file(tmp_path, f"a,b\n1,2\n3,{quote}" + "x" * 200_000)

    error = refusal(path, max_row_bytes=50_000, block_bytes=10_000)

    assert error.line == 3
    assert error.code == ("unterminated_quote" if quote else "field_too_large")


def test_a_name_that_is_no_name_is_refused(tmp_path: Path) -> None:
    error = refusal(file(tmp_path, "x" * 200_000 + ",b\n1,2\n"))

    assert (error.code, error.line) == ("field_too_large", 1)


# C8


@pytest.mark.parametrize("block_bytes", [1, 2**20])
def test_in_a_file_of_one_column_a_blank_line_is_a_missing_value(
    tmp_path: Path, block_bytes: int
) -> None:
    one = Schema((Column("a", Kind.NUMERIC),))
    path = file(tmp_path, 'a\n1\n\n2\n""\n\n')

    found = values(path, one, block_bytes=block_bytes)["a"]

    np.testing.assert_array_equal(found, [1, np.nan, 2, np.nan, np.nan])
    assert lines(path, one, block_bytes=block_bytes) == [2, 3, 4, 5, 6]


# C9 (which texts are numbers: test_convert.py)


def test_only_an_empty_cell_is_missing(tmp_path: Path) -> None:
    found = values(file(tmp_path, 'a,b\n,2\n"",3\n'))

    assert all(math.isnan(value) for value in found["a"])  # type: ignore[arg-type]
    for text in ("NA", "null", "nan", "None", " "):
        assert refusal(file(tmp_path, f"a,b\n1,2\n{text},3\n")).line == 3
        assert values(file(tmp_path, f"a,b\n{text},3\n"), TEXTS)["a"] == [text]


def test_ids_are_read_as_they_are_written_if_they_are_there(tmp_path: Path) -> None:
    schema = Schema((Column("id", Kind.NUMERIC, Role.ID), Column("a", Kind.NUMERIC)))

    found = values(file(tmp_path, "a,id\n1,007\n2,98765432109876543210\n3,\n"), schema)
    without = values(file(tmp_path, "a\n1\n"), schema)

    assert found == {"a": [1, 2, 3], "id": ["007", "98765432109876543210", None]}
    assert without == {"a": [1]}


def test_an_empty_cell_is_refused_where_the_schema_wants_a_value(tmp_path: Path) -> None:
    schema = Schema((Column("a", Kind.NUMERIC), Column("b", Kind.NUMERIC, nullable=False)))

    error = refusal(file(tmp_path, "a,b\n,2\n1,\n"), schema)

    assert (error.code, error.line, error.column) == ("missing_value", 3, "b")


# R3: generated files beside the csv module of the standard library

CELLS = st.one_of(
    st.sampled_from(["", "1", "-2.5", "1e3", "NA", "inf", "1e400", " 1", "007", "é", "漢字", "🙂"]),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.text(alphabet="ab\",;'\t ", max_size=4),
    st.sampled_from(["two\nlines", "\r\n", "a\rb", "\n"]),
)
ROWS = st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=8)


def written(rows: list[list[str]], draw: st.DataObject) -> str:
    """The rows as text, quoted where they must be and here and there where they need not."""
    text = ""
    for row in rows:
        for _ in range(draw.draw(st.integers(0, 2)) // 2):
            text += draw.draw(st.sampled_from(["\n", "\r\n"]))
        cells = []
        for cell in row:
            must = any(mark in cell for mark in ',\r\n"') or row == [""]
            quoted = must or draw.draw(st.booleans())
            cells.append('"' + cell.replace('"', '""') + '"' if quoted else cell)
        text += ",".join(cells) + draw.draw(st.sampled_from(["\n", "\r\n"]))
    return text.rstrip("\r\n") if draw.draw(st.booleans()) and not text.endswith('"') else text


def reference(text: str) -> list[tuple[int, bool, list[str]]]:
    """First line, whether it spans several, and the cells of each row that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, before = [], 0
    for cells in reader:
        if cells:
            rows.append((before + 1, reader.line_num > before + 1, cells))
        before = reader.line_num
    return rows


def number(cell: str) -> float | None:
    """The number a cell holds, NaN if it is empty, None if it holds none."""
    if cell == "":
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        return None
    is_plain = cell.strip() == cell and "_" not in cell
    return value if is_plain and math.isfinite(value) else None


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, draw=st.data(), block_bytes=st.sampled_from([1, 5, 16, 2**20]))
def test_a_generated_file_is_read_as_the_standard_library_reads_it(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[str]],
    draw: st.DataObject,
    block_bytes: int,
) -> None:
    text = "t,x\n" + written(rows, draw)
    path = file(tmp_path_factory.getbasetemp(), text, "generated.csv")
    schema = Schema((Column("t", Kind.CATEGORICAL), Column("x", Kind.NUMERIC)))
    options = ReadOptions(newlines_in_values=True, block_bytes=block_bytes)
    expected = reference(text)[1:]
    good = [
        (line, cells)
        for line, _, cells in expected
        if len(cells) == 2 and number(cells[1]) is not None
    ]
    rejects: list[Reject] = []

    def read(options: ReadOptions) -> list[Chunk]:
        return list(open_reader(path, schema, options=options, on_reject=rejects.append))

    if not expected:
        with pytest.raises(BadData, match="no row"):
            read(options)
        return
    chunks = read(options)

    assert [line for chunk in chunks for line in chunk.lines.tolist()] == [line for line, _ in good]
    assert [t for chunk in chunks for t in chunk.records.columns["t"].tolist()] == [
        cells[0] or None for _, cells in good
    ]
    np.testing.assert_array_equal(
        np.concatenate([chunk.records.columns["x"] for chunk in chunks]),
        np.array([number(cells[1]) for _, cells in good], dtype=np.float64),
    )
    assert len(good) + len(rejects) == len(expected)
    assert sorted([line for line, _ in good] + [reject.line for reject in rejects]) == [
        line for line, _, _ in expected
    ]
    # Without leave to do so, a row that spans lines is never read, and nothing else changes.
    spanning = [line for line, spans, _ in expected if spans]
    if spanning:
        with pytest.raises(BadData) as caught:
            read(ReadOptions(block_bytes=block_bytes))
        assert caught.value.code == "out_of_sync"
        assert caught.value.line == spanning[0]
    else:
        again = read(ReadOptions(block_bytes=block_bytes))
        assert [c.table.to_pydict() for c in again] == [c.table.to_pydict() for c in chunks]


@settings(max_examples=400, deadline=None)
@given(
    text=st.text(alphabet='",a\n\r', max_size=40),
    newlines_in_values=st.booleans(),
    block_bytes=st.sampled_from([1, 6, 2**20]),
)
def test_however_odd_the_text_each_row_is_read_or_reported_or_the_file_refused(
    tmp_path_factory: pytest.TempPathFactory,
    text: str,
    newlines_in_values: bool,
    block_bytes: int,
) -> None:
    text = "a,b\n" + text
    path = file(tmp_path_factory.getbasetemp(), text, "odd.csv")
    options = ReadOptions(newlines_in_values=newlines_in_values, block_bytes=block_bytes)
    rows, left_open = reference_rows(text, newlines_in_values)
    expected = [line for line, row in rows[1:] if row]
    rejects: list[Reject] = []

    def read() -> list[Chunk]:
        return list(open_reader(path, TEXTS, options=options, on_reject=rejects.append))

    if left_open is not None:
        with pytest.raises(BadData) as caught:
            read()
        assert caught.value.line == left_open
    elif not expected:
        with pytest.raises(BadData, match="no row"):
            read()
    else:
        good = [line for chunk in read() for line in chunk.lines.tolist()]
        assert sorted(good + [reject.line for reject in rejects]) == expected


# C11

MEASURE = """
import re, sys
from pathlib import Path
from anomaly.data.readers import open_reader
from anomaly.data.schema import Column, Kind, Schema
schema = Schema(tuple(Column(f"x{i}", Kind.NUMERIC) for i in range(10)))
rows = sum(len(chunk.records) for chunk in open_reader(sys.argv[1], schema))
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(rows, peak)
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak_megabytes(rows: int) -> float:
        line = ",".join(f"{i}.{i}23456789" for i in range(10)) + "\n"
        header = ",".join(f"x{i}" for i in range(10)) + "\n"
        path = file(tmp_path, header + line * rows)
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True
        )
        read, peak_kilobytes = map(int, done.stdout.split())
        assert read == rows
        return peak_kilobytes / 1024

    small, large = peak_megabytes(30_000), peak_megabytes(600_000)

    # 4 MB and 75 MB on disk.
    assert large - small <= 25
