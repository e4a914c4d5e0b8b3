"""Scoring a file: every row once, in order, and the output whole or not at all."""

from __future__ import annotations

import csv as plain_csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pyarrow import csv, parquet

from anomaly.assembly import DetectorConfig, assemble
from anomaly.batch.local import OUTPUT_COLUMNS, score_file, top_features, warning_texts
from anomaly.data.frames import records_from_array, schema_of_array
from anomaly.data.options import ReadOptions
from anomaly.data.records import Records
from anomaly.data.splits import split_rows
from anomaly.detector import Detector
from anomaly.errors import BadData, CannotWrite, ConfigInvalid, SchemaMismatch
from anomaly.fitting import FitConfig
from tests import machines

SMALL_BLOCKS = ReadOptions(block_bytes=2048)


@pytest.fixture(scope="module")
def numbers() -> Detector:
    """A detector of three numbers, without an id."""
    rows = np.random.default_rng(0).standard_normal((400, 3))
    schema = schema_of_array(3)
    config = DetectorConfig(fit=FitConfig(steps=20), alpha=0.05)
    records = records_from_array(rows, schema)
    return assemble(schema, records, split_rows(400, seed=0), config, seed=0).detector


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(plain_csv.DictReader(file))


def test_the_output_holds_the_ids_and_the_verdicts_in_the_order_of_the_input(
    detector: Detector, tmp_path: Path
) -> None:
    found = machines.both(200, 9, seed=3)
    source, output = machines.written(found, tmp_path / "in.csv"), tmp_path / "out.csv"
    sizes: list[int] = []

    report = score_file(detector, source, output, options=SMALL_BLOCKS, on_rows=sizes.append)

    verdicts, rows = detector.detect(found), rows_of(output)
    assert len(sizes) > 1
    assert list(rows[0]) == ["serial", *OUTPUT_COLUMNS]
    assert [row["serial"] for row in rows] == found.columns["serial"].tolist()
    assert [float(row["score"]) for row in rows] == verdicts.scores.tolist()
    assert [float(row["p_value"]) for row in rows] == verdicts.p_values.tolist()
    assert [row["is_anomaly"] == "true" for row in rows] == verdicts.is_anomaly.tolist()
    assert (report.rows, report.flagged) == (209, verdicts.is_anomaly.sum())
    assert report.rejected == 0
    assert report.alpha == detector.calibration.alpha
    assert report.warnings["missing_value"] == np.isnan(found.columns["heat"]).sum()


def test_flagged_rows_have_reasons_and_remarkable_rows_have_warnings(
    detector: Detector, tmp_path: Path
) -> None:
    found = machines.both(50, 9, seed=3)
    source, output = machines.written(found, tmp_path / "in.csv"), tmp_path / "out.csv"

    score_file(detector, source, output, top_k=2)

    for row, heat in zip(rows_of(output), found.columns["heat"], strict=True):
        assert bool(row["top_features"]) == (row["is_anomaly"] == "true")
        assert len(row["top_features"].split("; ")) <= 2
        assert ("missing_value: heat" in row["warnings"]) == np.isnan(heat)
    assert rows_of(output)[-1]["top_features"].startswith("load ")


def test_another_alpha_changes_flags_and_no_score(detector: Detector, tmp_path: Path) -> None:
    source = machines.written(machines.both(100, 9, seed=3), tmp_path / "in.csv")

    few = score_file(detector, source, tmp_path / "few.csv")
    many = score_file(detector, source, tmp_path / "many.csv", alpha=0.5)

    assert (few.flagged, many.alpha) < (many.flagged, 0.6)
    assert [row["score"] for row in rows_of(tmp_path / "few.csv")] == [
        row["score"] for row in rows_of(tmp_path / "many.csv")
    ]


def test_the_input_may_be_kept_in_front(detector: Detector, tmp_path: Path) -> None:
    found = machines.records(40, seed=3)
    note = np.array([f"note {i}" for i in range(40)], object)
    source = machines.written(found, tmp_path / "in.csv", note=note)

    score_file(detector, source, tmp_path / "out.csv", keep_input=True)
    score_file(detector, source, tmp_path / "out.parquet", keep_input=True, options=SMALL_BLOCKS)

    before, after = rows_of(source), rows_of(tmp_path / "out.csv")
    assert list(after[0]) == [*before[0], *OUTPUT_COLUMNS]
    assert [{name: row[name] for name in before[0]} for row in after] == before
    assert parquet.read_table(tmp_path / "out.parquet")["note"].to_pylist() == note.tolist()


def test_input_columns_with_the_names_of_the_output_are_refused_if_kept(
    detector: Detector, tmp_path: Path
) -> None:
    taken = np.zeros(5)
    source = machines.written(machines.records(5), tmp_path / "in.csv", score=taken)

    with pytest.raises(SchemaMismatch, match="'score'"):
        score_file(detector, source, tmp_path / "out.csv", keep_input=True)
    assert score_file(detector, source, tmp_path / "out.csv").rows == 5


def test_without_an_id_the_line_of_the_file_finds_a_row_again(
    numbers: Detector, tmp_path: Path
) -> None:
    source = tmp_path / "in.csv"
    source.write_text("x0,x1,x2\n1,2,3\n\n4,5,6\n")

    score_file(numbers, source, tmp_path / "out.csv")

    assert [row["line"] for row in rows_of(tmp_path / "out.csv")] == ["2", "4"]


def test_parquet_goes_in_and_comes_out(detector: Detector, tmp_path: Path) -> None:
    found = machines.both(60, 5, seed=3)
    source = machines.written(found, tmp_path / "in.csv")
    parquet.write_table(csv.read_csv(source), tmp_path / "in.parquet")

    score_file(detector, tmp_path / "in.parquet", tmp_path / "out.parquet")

    table = parquet.read_table(tmp_path / "out.parquet")
    assert table["score"].to_pylist() == detector.anomaly_score(found).tolist()
    assert table["serial"].to_pylist() == found.columns["serial"].tolist()


def test_a_chunk_without_flags_or_warnings_fits_the_same_parquet_file(
    numbers: Detector, tmp_path: Path
) -> None:
    source, as_parquet, as_csv = (tmp_path / n for n in ("rows.csv", "out.parquet", "out.csv"))
    usual, unusual = "0.1,-0.1,0.05\n" * 500, "90,-90,\n" * 3
    source.write_text("x0,x1,x2\n" + usual + unusual)
    chunks: list[int] = []
    options = ReadOptions(block_bytes=1024)

    score_file(numbers, source, as_parquet, options=options, on_rows=chunks.append)
    score_file(numbers, source, as_csv, options=options)

    assert len(chunks) > 2
    table = parquet.read_table(as_parquet)
    assert table["top_features"].null_count == table["warnings"].null_count == 500
    assert table["is_anomaly"].to_pylist()[-3:] == [True] * 3
    assert csv.read_csv(as_csv)["score"].to_pylist() == table["score"].to_pylist()


# Rows that cannot be read


BAD = "x0,x1,x2\n0,0,0\n1,abc,0\n2,0\n3,0,0\n4,inf,0\n5,0,0\n"


def test_a_bad_row_stops_everything_by_default(numbers: Detector, tmp_path: Path) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(BAD)
    output.write_text("the old result")

    with pytest.raises(BadData, match="line 3"):
        score_file(numbers, source, output)

    assert output.read_text() == "the old result"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_bad_rows_in_quarantine_are_listed_and_the_others_are_scored_as_ever(
    numbers: Detector, tmp_path: Path
) -> None:
    source, output, rejects = (tmp_path / name for name in ("in.csv", "out.csv", "rejects.csv"))
    source.write_text(BAD)

    report = score_file(numbers, source, output, rejects=rejects)

    assert (report.rows, report.rejected) == (3, 3)
    rows, listed = rows_of(output), rows_of(rejects)
    assert [row["line"] for row in rows] == ["2", "5", "7"]
    good = np.array([[0.0, 0, 0], [3, 0, 0], [5, 0, 0]])
    assert [float(row["score"]) for row in rows] == numbers.anomaly_score(good).tolist()
    assert [(row["line"], row["code"]) for row in listed] == [
        ("3", "not_a_number"),
        ("4", "ragged_row"),
        ("6", "not_finite"),
    ]
    assert all(row["message"] for row in listed)


def test_every_row_is_in_the_output_or_among_the_rejects(numbers: Detector, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cells = np.where(rng.random((300, 3)) < 0.05, "bad", "1.5")
    source = tmp_path / "in.csv"
    source.write_text("x0,x1,x2\n" + "".join(",".join(row) + "\n" for row in cells))

    report = score_file(
        numbers, source, tmp_path / "out.csv", rejects=tmp_path / "r.csv", options=SMALL_BLOCKS
    )

    assert report.rows == len(rows_of(tmp_path / "out.csv")) == (cells != "bad").all(axis=1).sum()
    assert report.rows + report.rejected == 300


def test_a_file_of_bad_rows_alone_gives_an_empty_output(numbers: Detector, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("x0,x1,x2\na,0,0\nb,0,0\n")

    report = score_file(numbers, source, tmp_path / "out.csv", rejects=tmp_path / "r.csv")

    assert (report.rows, report.rejected) == (0, 2)
    assert rows_of(tmp_path / "out.csv") == []


@pytest.mark.parametrize("text", ["", "x0,x1,x2\n", "x0,x1,x2"])
def test_a_file_without_rows_is_refused(numbers: Detector, tmp_path: Path, text: str) -> None:
    (tmp_path / "in.csv").write_text(text)

    with pytest.raises(BadData):
        score_file(numbers, tmp_path / "in.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


# What is written


def test_text_that_a_spreadsheet_would_run_is_made_harmless(
    detector: Detector, tmp_path: Path
) -> None:
    found = machines.records(4, seed=3)
    serial = np.array(["=1+1", "@SUM(1)", "-1.5", "M1"], object)
    source = machines.written(Records({**found.columns, "serial": serial}, 4), tmp_path / "in.csv")

    score_file(detector, source, tmp_path / "out.csv")
    score_file(detector, source, tmp_path / "out.parquet")

    assert [row["serial"] for row in rows_of(tmp_path / "out.csv")] == [
        "'=1+1",
        "'@SUM(1)",
        "-1.5",
        "M1",
    ]
    # Parquet is not opened by a spreadsheet that runs it: the text is what it was.
    assert parquet.read_table(tmp_path / "out.parquet")["serial"].to_pylist() == serial.tolist()


def test_files_are_never_written_over_each_other(numbers: Detector, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("x0,x1,x2\n1,2,3\n")
    (tmp_path / "link.csv").symlink_to(source)

    for output, rejects in (
        (source, None),
        (tmp_path / "link.csv", None),
        (tmp_path / "out.csv", source),
        (tmp_path / "out.csv", tmp_path / "." / "out.csv"),
    ):
        with pytest.raises(ConfigInvalid, match="different files"):
            score_file(numbers, source, output, rejects=rejects)
    assert source.read_text() == "x0,x1,x2\n1,2,3\n"


def test_what_cannot_be_read_and_what_cannot_be_written_are_told_apart(
    numbers: Detector, tmp_path: Path
) -> None:
    source = tmp_path / "in.csv"
    source.write_text("x0,x1,x2\n1,2,3\n")

    with pytest.raises(FileNotFoundError):
        score_file(numbers, tmp_path / "nothing.csv", tmp_path / "out.csv")
    for place in (tmp_path / "no" / "out.csv", source / "out.csv"):
        with pytest.raises(CannotWrite, match="cannot write"):
            score_file(numbers, source, place)


def test_the_texts_of_verdicts(detector: Detector) -> None:
    found = machines.both(3, 3, seed=3)
    verdicts = detector.detect(found)

    reasons = top_features(detector, found, verdicts, top_k=1)
    remarks = warning_texts(verdicts)

    assert [text is not None for text in reasons] == verdicts.is_anomaly.tolist()
    assert len(remarks) == 6


PEAK = """
import resource, sys
from pathlib import Path
import anomaly
from anomaly.batch.local import score_file
detector = anomaly.load(sys.argv[1])
assert score_file(detector, Path(sys.argv[2]), Path(sys.argv[3])).rows == int(sys.argv[4])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_ten_times_the_rows_need_no_more_memory(numbers: Detector, tmp_path: Path) -> None:
    from anomaly.artifact import save

    save(numbers, tmp_path / "model")
    rng = np.random.default_rng(0)
    peaks = []
    for n in (30_000, 300_000):
        rows = "\n".join(",".join(map(str, row)) for row in rng.normal(size=(n, 3)).round(4))
        (tmp_path / "in.csv").write_text(f"x0,x1,x2\n{rows}\n")
        done = subprocess.run(
            [sys.executable, "-c", PEAK, "model", "in.csv", "out.csv", str(n)],
            cwd=tmp_path,
            env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"},
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stdout) / 1024)

    assert peaks[1] - peaks[0] <= 50, f"MiB of 30,000 and of 300,000 rows: {peaks}"
