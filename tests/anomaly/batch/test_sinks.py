"""An output file appears when it is complete, and not before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from anomaly.batch.sinks import check_suffix, open_sink
from anomaly.errors import CannotWrite, ConfigInvalid

TABLE = pa.table({"a": [1.5, -2.0], "b": ["x", "=y"]})


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_are_appended_in_order(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"

    with open_sink(path) as write:
        write(TABLE)
        write(TABLE)

    table = parquet.read_table(path) if suffix == ".parquet" else csv.read_csv(path)
    assert table["a"].to_pylist() == [1.5, -2.0, 1.5, -2.0]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_reader_sees_the_old_file_until_the_new_one_is_complete(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_text("old")

    with open_sink(path) as write:
        write(TABLE)
        assert path.read_text() == "old"

    assert path.read_bytes() != b"old"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_text("old")

    def fail() -> None:
        with open_sink(path) as write:
            write(TABLE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


WRITE = """
import resource, signal, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from anomaly.batch.sinks import open_sink
from anomaly.errors import CannotWrite
table = pa.table({"a": np.random.default_rng(0).standard_normal(100_000)})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    with open_sink(Path(sys.argv[1])) as write:
        write(table)
except CannotWrite as error:
    sys.exit(0 if "cannot write" in str(error) else 2)
sys.exit(3)
"""


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("limit", [0, 100_000])
def test_a_disk_that_refuses_is_told_and_leaves_the_old_file(
    tmp_path: Path, suffix: str, limit: int
) -> None:
    """The limit on the size of a file stands for a full disk: writing fails in the middle."""
    path = tmp_path / f"out{suffix}"
    path.write_text("old")

    done = subprocess.run([sys.executable, "-c", WRITE, path, str(limit)], check=False)

    assert done.returncode == 0
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["no/out.csv", "file/out.csv", "x" * 300 + ".csv"])
def test_an_impossible_place_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(CannotWrite, match="choose another place"),
        open_sink(tmp_path / place) as write,
    ):
        write(TABLE)


@pytest.mark.parametrize("suffix", ["", ".xlsx", ".csv.gz", ".CSV"])
def test_other_formats_are_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"a \.csv or a \.parquet"):
        check_suffix(suffix)


def test_csv_is_made_harmless_for_spreadsheets_and_parquet_is_left_alone(tmp_path: Path) -> None:
    for name in ("out.csv", "out.parquet"):
        with open_sink(tmp_path / name) as write:
            write(TABLE)

    assert csv.read_csv(tmp_path / "out.csv")["b"].to_pylist() == ["x", "'=y"]
    assert parquet.read_table(tmp_path / "out.parquet")["b"].to_pylist() == ["x", "=y"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_of_another_schema_is_an_error_and_not_the_end_of_the_process(
    tmp_path: Path, suffix: str
) -> None:
    def fail() -> None:
        with open_sink(tmp_path / f"out{suffix}") as write:
            write(TABLE)
            write(pa.table({"another": [1]}))

    with pytest.raises(AssertionError, match="one schema"):
        fail()
