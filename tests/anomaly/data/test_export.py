"""Cells that a spreadsheet would run get an apostrophe; nothing else changes."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.data.export import safe_table, safe_text


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(1)",
        "\tx",
        "\rx",
        "=",
        "-",
        "--1",
        "+1e5x",
        "-inf",
    ],
)
def test_a_cell_that_would_be_run_gets_an_apostrophe(text: str) -> None:
    assert safe_text(pa.array([text])).to_pylist() == [f"'{text}"]


@pytest.mark.parametrize(
    "text", ["", "a", "a=b", " =1", "'=1", "1", "-1", "+1.5", "-.5e-3", "a\n=1"]
)
def test_other_cells_and_numbers_are_untouched(text: str) -> None:
    assert safe_text(pa.array([text])).to_pylist() == [text]


@given(texts=st.lists(st.none() | st.text(max_size=5), max_size=8))
def test_no_cell_begins_as_a_formula_and_the_text_is_still_there(texts: list[str | None]) -> None:
    safe = safe_text(pa.array(texts, pa.string())).to_pylist()

    for before, after in zip(texts, safe, strict=True):
        assert after == before or after == f"'{before}"
        if before is None:
            assert after is None
        elif after and after[0] in "=+-@\t\r":
            float(after)


def test_a_table_keeps_its_numbers_and_its_column_names_are_safe() -> None:
    table = pa.table(
        {
            "=name": pa.array(["=a", None]),
            "x": pa.array([-1.5, 2.0]),
            "kind": pa.array(["@b", "c"]).dictionary_encode(),
        }
    )

    safe = safe_table(table)

    assert safe.to_pydict() == {"'=name": ["'=a", None], "x": [-1.5, 2.0], "kind": ["'@b", "c"]}
