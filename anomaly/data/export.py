"""Text that a spreadsheet shows and does not run.

A cell that begins with ``= + - @``, a tab or a carriage return is a formula to a spreadsheet
(OWASP, CSV injection). Such a cell gets an apostrophe in front, which spreadsheets take as "this
is text". Numbers are untouched, also where they are held as text: ``-1.5`` stays what it is.
"""

from __future__ import annotations

import pyarrow as pa
from pyarrow import compute as pc

from anomaly.data.convert import NUMBER, is_text

_FORMULA = r"\A[=+\-@\t\r]"


def safe_text(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """(N,) the same texts, with an apostrophe before those that would be run as a formula."""
    runs = pc.and_not(
        pc.match_substring_regex(values, _FORMULA), pc.match_substring_regex(values, NUMBER)
    )
    return pc.if_else(runs, pc.binary_join_element_wise("'", values, ""), values)


def safe_table(table: pa.Table) -> pa.Table:
    """The table as it may be written to CSV: text and column names are safe, the rest is as is."""
    for i, field in enumerate(table.schema):
        kind = field.type
        if pa.types.is_dictionary(kind) and is_text(kind.value_type):
            kind = kind.value_type
        if is_text(kind):
            table = table.set_column(i, field.name, safe_text(table.column(i).cast(kind)))
    return table.rename_columns(safe_text(pa.array(table.column_names, pa.string())).to_pylist())
