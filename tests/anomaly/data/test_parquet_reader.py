"""Parquet files: typed, in bounded memory, damage refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from anomaly.data.parquet_reader import CHUNK_CELLS
from anomaly.data.readers import ReadOptions, Reject, open_reader, read_records, read_sample
from anomaly.data.schema import Column, Kind, Role, Schema
from anomaly.errors import BadData, SchemaMismatch

SCHEMA = Schema((Column("x", Kind.NUMERIC), Column("kind", Kind.CATEGORICAL)))


def file(folder: Path, table: pa.Table, **settings: object) -> Path:
    path = folder / "table.parquet"
    parquet.write_table(table, path, **settings)
    return path


def test_typed_columns_are_read_and_rows_are_numbered(tmp_path: Path) -> None:
    path = file(tmp_path, pa.table({"kind": ["a", None], "x": [1.5, None], "more": [1, 2]}))

    (chunk,) = open_reader(path, SCHEMA)

    np.testing.assert_array_equal(chunk.records.columns["x"], [1.5, np.nan])
    assert chunk.records.columns["kind"].tolist() == ["a", None]
    assert chunk.lines.tolist() == [1, 2]
    assert chunk.table.column_names == ["kind", "x", "more"]


def test_a_large_row_group_comes_in_pieces_and_in_order(tmp_path: Path) -> None:
    n = CHUNK_CELLS
    path = file(tmp_path, pa.table({"x": np.arange(n), "kind": pa.nulls(n, pa.string())}))

    chunks = list(open_reader(path, SCHEMA))

    assert max(len(chunk.records) for chunk in chunks) * 2 <= CHUNK_CELLS
    for name in ("x", "lines"):
        parts = [c.lines - 1 if name == "lines" else c.records.columns["x"] for c in chunks]
        np.testing.assert_array_equal(np.concatenate(parts), np.arange(n))


def test_a_value_at_fault_is_refused_with_its_row_or_left_out(tmp_path: Path) -> None:
    path = file(tmp_path, pa.table({"x": [1.0, np.inf, 3.0], "kind": ["a", "b", "c"]}))
    rejects: list[Reject] = []

    with pytest.raises(SchemaMismatch) as refusal:
        list(open_reader(path, SCHEMA))
    records = read_records(path, SCHEMA, on_reject=rejects.append)

    assert (refusal.value.row, refusal.value.line, refusal.value.column) == (1, None, "x")
    assert refusal.value.file == path
    assert records.columns["kind"].tolist() == ["a", "c"]
    assert [(reject.line, reject.column, reject.code) for reject in rejects] == [
        (2, "x", "not_finite")
    ]


def test_an_unsupported_column_is_refused_only_if_it_is_asked_for(tmp_path: Path) -> None:
    path = file(tmp_path, pa.table({"x": [1.0], "kind": ["a"], "nested": [[1, 2]]}))
    asking = Schema((*SCHEMA.columns, Column("nested", Kind.CATEGORICAL)))

    assert len(read_records(path, SCHEMA)) == 1
    assert read_sample(path).column_names == ["x", "kind"]
    with pytest.raises(BadData) as refusal:
        read_records(path, asking)
    assert (refusal.value.code, refusal.value.column) == ("unsupported_type", "nested")


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    empty = pa.table({"x": pa.array([], pa.float64()), "kind": pa.array([], pa.string())})

    with pytest.raises(BadData) as refusal:
        read_records(file(tmp_path, empty), SCHEMA)
    assert refusal.value.code == "no_rows"


def test_repeated_columns_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["x", "x"])

    with pytest.raises(SchemaMismatch) as refusal:
        read_records(file(tmp_path, table), Schema((Column("x", Kind.NUMERIC),)))
    assert refusal.value.code == "duplicate_column"


def test_a_file_that_says_it_unpacks_to_more_than_the_cap_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path, pa.table({"x": np.zeros(10_000), "kind": ["a"] * 10_000}))

    with pytest.raises(BadData) as refusal:
        read_records(path, SCHEMA, options=ReadOptions(max_bytes=100))
    assert refusal.value.code == "decompressed_too_large"


@settings(max_examples=60, deadline=None)
@given(kept=st.floats(0.0, 1.0, exclude_max=True))
def test_a_truncated_file_is_refused_wherever_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, kept: float
) -> None:
    path = file(tmp_path_factory.mktemp("cut"), pa.table({"x": [1.0, 2.0], "kind": ["a", "b"]}))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])

    with pytest.raises(BadData) as refusal:
        read_records(path, SCHEMA)
    assert refusal.value.code == "not_parquet"
    assert refusal.value.file == path


def test_text_is_not_parquet_and_a_file_that_is_not_there_is_no_bad_data(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("x,kind\n1,a\n")

    with pytest.raises(BadData) as refusal:
        read_records(tmp_path / "text.parquet", SCHEMA)
    assert refusal.value.code == "not_parquet"
    with pytest.raises(FileNotFoundError):
        read_records(tmp_path / "nowhere.parquet", SCHEMA)


def test_ids_are_read_as_text(tmp_path: Path) -> None:
    schema = Schema((Column("id", Kind.NUMERIC, Role.ID), *SCHEMA.columns))
    path = file(tmp_path, pa.table({"id": [2**60 + 1], "x": [1.0], "kind": ["a"]}))

    assert read_records(path, schema).columns["id"].tolist() == [str(2**60 + 1)]
