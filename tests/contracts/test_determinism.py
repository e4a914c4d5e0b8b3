"""The same row gets the same score, to the bit: alone, in any batch, by every door."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet

import anomaly
from anomaly import VAEDetector
from anomaly.arrays import Float64
from anomaly.cli import run
from anomaly.detector import Detector
from anomaly.presets import PRESETS
from tests import machines
from tests.anomaly.artifact.sealing import copied

FOUND = machines.both(150, 30, seed=11)
N = len(FOUND)


@given(rows=st.lists(st.integers(0, N - 1), min_size=1, max_size=70))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("preset", PRESETS)
def test_in_any_batch_in_any_order_any_number_of_times(
    every_preset: dict[str, Detector], preset: str, rows: list[int]
) -> None:
    detector = every_preset[preset]
    together = detector.anomaly_score(FOUND)

    np.testing.assert_array_equal(
        detector.anomaly_score(FOUND.take(np.array(rows))), together[rows]
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_alone(every_preset: dict[str, Detector], preset: str) -> None:
    detector = every_preset[preset]
    together = detector.anomaly_score(FOUND)

    alone = [detector.anomaly_score(FOUND.take(slice(row, row + 1)))[0] for row in range(N)]

    assert alone == together.tolist()


@given(rows=st.lists(st.integers(0, 356), min_size=1, max_size=40))
@settings(max_examples=40, deadline=None)
def test_of_a_table_of_real_measurements(
    estimator: VAEDetector, benign: Float64, rows: list[int]
) -> None:
    detector = estimator.detector_
    together = detector.anomaly_score(benign)

    np.testing.assert_array_equal(detector.anomaly_score(benign[rows]), together[rows])


def test_verdicts_reasons_and_latents_do_not_depend_on_the_batch_either(
    detector: Detector,
) -> None:
    verdicts, reasons, latents = (
        detector.detect(FOUND),
        detector.explain(FOUND),
        detector.encode(FOUND),
    )
    for row in range(0, N, 17):
        one = FOUND.take(slice(row, row + 1))
        alone = detector.detect(one)
        assert alone.p_values[0] == verdicts.p_values[row]
        assert alone.is_anomaly[0] == verdicts.is_anomaly[row]
        assert detector.explain(one).share[0].tolist() == reasons.share[row].tolist()
        assert detector.encode(one)[0].tolist() == latents[row].tolist()


def test_after_saving_and_loading_and_saving_again(detector: Detector, tmp_path: Path) -> None:
    from anomaly.artifact import save

    save(detector, tmp_path / "once")
    save(anomaly.load(tmp_path / "once"), tmp_path / "twice")

    np.testing.assert_array_equal(
        anomaly.load(tmp_path / "twice").anomaly_score(FOUND), detector.anomaly_score(FOUND)
    )


def test_through_the_estimator(estimator: VAEDetector, benign: Float64) -> None:
    scores = estimator.detector_.anomaly_score(benign)

    np.testing.assert_array_equal(estimator.anomaly_score(benign), scores)
    np.testing.assert_array_equal(-estimator.score_samples(benign), scores)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_through_the_command_line_and_back_from_its_file(
    detector: Detector,
    artifact: Path,
    tmp_path: Path,
    suffix: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, output = machines.written(FOUND, tmp_path / "in.csv"), tmp_path / f"out.{suffix}"

    assert run(["score", str(source), "--model", str(artifact), "--output", str(output)]) == 0

    table = parquet.read_table(output) if suffix == "parquet" else csv.read_csv(output)
    verdicts = detector.detect(FOUND)
    assert table["score"].to_pylist() == verdicts.scores.tolist()
    assert table["p_value"].to_pylist() == verdicts.p_values.tolist()
    assert table["is_anomaly"].to_pylist() == verdicts.is_anomaly.tolist()
    if suffix == "csv":  # by Python's own parser, too
        lines = output.read_text().splitlines()[1:]
        assert [float(line.split(",")[1]) for line in lines] == verdicts.scores.tolist()


IN_A_NEW_PROCESS = """
import sys
import anomaly
from anomaly.data.readers import read_records
from pathlib import Path
detector = anomaly.load(sys.argv[1])
{imports}
found = read_records(Path(sys.argv[2]), detector.schema)
print(*(score.hex() for score in detector.anomaly_score(found).tolist()))
"""


@pytest.mark.parametrize("imports", ["", "import torch, pandas, sklearn"])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_in_a_new_process_with_other_libraries_and_threads(
    detector: Detector, artifact: Path, tmp_path: Path, imports: str, threads: str
) -> None:
    source = machines.written(FOUND, tmp_path / "in.csv")

    done = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS.format(imports=imports), artifact, source],
        env={"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
        capture_output=True,
        text=True,
        check=True,
    )

    found = [float.fromhex(score) for score in done.stdout.split()]
    assert found == detector.anomaly_score(FOUND).tolist()


def test_from_another_place_on_disk(detector: Detector, artifact: Path, tmp_path: Path) -> None:
    moved = anomaly.load(copied(artifact, tmp_path / "moved"))

    np.testing.assert_array_equal(moved.anomaly_score(FOUND), detector.anomaly_score(FOUND))
