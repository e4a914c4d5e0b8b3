"""The door: formats by name, samples for inference, files as a stream."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from anomaly.data.readers import ReadOptions, Reject, open_reader, read_records, read_sample
from anomaly.data.schema import Column, Kind, Schema
from anomaly.errors import BadData

SCHEMA = Schema((Column("a", Kind.NUMERIC), Column("b", Kind.NUMERIC)))
TEXT = b"a,b\n1,2\n3,4\n"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.csv", TEXT),
        ("t.CSV", TEXT),
        ("t.txt", TEXT),
        ("t.csv.gz", gzip.compress(TEXT, mtime=0)),
        ("t.tsv", TEXT.replace(b",", b"\t")),
        ("t.v2.tsv.gz", gzip.compress(TEXT.replace(b",", b"\t"), mtime=0)),
    ],
)
def test_the_format_is_known_by_the_suffix(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)

    records = read_records(tmp_path / name, SCHEMA)

    assert {n: v.tolist() for n, v in records.columns.items()} == {"a": [1, 3], "b": [2, 4]}


@pytest.mark.parametrize("name", ["t.xlsx", "t", "t.gz"])
def test_another_suffix_is_refused_with_those_that_can_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(TEXT)

    with pytest.raises(BadData, match=r"\.csv.*\.parquet") as refusal:
        read_records(tmp_path / name, SCHEMA)
    assert refusal.value.code == "unknown_format"


def test_a_file_that_is_not_there_is_no_bad_data(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_records(tmp_path / "nowhere.csv", SCHEMA)


def test_csv_and_parquet_of_the_same_table_are_the_same_records(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n1.25,\n-3e-7,4\n")
    parquet.write_table(pa.table({"a": [1.25, -3e-7], "b": [None, 4]}), tmp_path / "t.pq")

    text = read_records(tmp_path / "t.csv", SCHEMA)
    typed = read_records(tmp_path / "t.pq", SCHEMA)

    for name in ("a", "b"):
        assert text.columns[name].tobytes() == typed.columns[name].tobytes()


def test_a_sample_of_text_is_text_and_of_typed_text_a_dictionary(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,x\n2,y\n")
    parquet.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "t.parquet")

    assert read_sample(tmp_path / "t.csv").schema.types == [pa.string(), pa.string()]
    number, text = read_sample(tmp_path / "t.parquet").schema.types
    assert pa.types.is_integer(number)
    assert pa.types.is_dictionary(text)


def test_a_sample_reads_no_further_than_it_must(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n" + b"1,2\n" * 1000 + b"ragged\n")

    sample = read_sample(tmp_path / "t.csv", ReadOptions(block_bytes=100), rows=10)

    assert sample.to_pydict() == {"a": ["1"] * 10, "b": ["2"] * 10}


def test_a_sample_refuses_or_reports_ragged_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,2\n3\n5,6\n")
    rejects: list[Reject] = []

    with pytest.raises(BadData, match="line 3") as refusal:
        read_sample(tmp_path / "t.csv")
    sample = read_sample(tmp_path / "t.csv", on_reject=rejects.append)

    assert refusal.value.code == "ragged_row"
    assert sample.to_pydict() == {"a": ["1", "5"], "b": ["2", "6"]}
    assert [reject.line for reject in rejects] == [3]


def test_only_the_columns_that_are_asked_for_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,not a number\n")

    (chunk,) = open_reader(tmp_path / "t.csv", SCHEMA, columns=SCHEMA.columns[:1])

    assert list(chunk.records.columns) == ["a"]
    assert chunk.table.column_names == ["a", "b"]
