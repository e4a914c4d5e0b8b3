from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks.labelled import LabelledTable, correlated, with_anomalies
from benchmarks.tables import chance_of, faults_of_scores, measure, report_faults


def test_a_tiny_table_runs_through_the_command_line_without_a_fault(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = with_anomalies(rng, "tiny", correlated(rng, 60, 4))

    record = measure(table, tmp_path)

    assert record["faults"] == []
    assert record["test_rows"] == 12
    assert record["train_mb"] > 50
    assert 0 <= record["auroc"] <= 1


def test_a_table_that_cannot_be_trained_on_is_a_fault(tmp_path: Path) -> None:
    constant = LabelledTable("flat", np.ones((30, 2)), np.zeros(30, dtype=bool))

    record = measure(constant, tmp_path)

    assert "train ended with" in record["faults"][0]
    assert report_faults([record]) == 1


@pytest.mark.parametrize(
    ("scores", "p_values", "fault"),
    [
        ([1.0, np.nan], [0.5, 0.5], "not finite"),
        ([1.0, 2.0], [0.0, 0.5], "outside"),
        ([1.0], [0.5], "1 rows of 2"),
    ],
)
def test_impossible_outputs_are_faults(
    scores: list[float], p_values: list[float], fault: str, tmp_path: Path
) -> None:
    path = tmp_path / "scored.parquet"
    parquet.write_table(pa.table({"score": scores, "p_value": p_values}), path)

    assert fault in faults_of_scores(path, rows=2)[0]


def test_one_calibration_row_gives_the_chance_in_closed_form() -> None:
    # n = 1, alpha = 1/2: a row is flagged if it exceeds the only calibration score, so m of m are
    # flagged when the calibration row is the smallest of m + 1.
    assert chance_of(4, 4, 1, 0.5) == pytest.approx(1 / 5)


def test_the_rate_that_was_asked_for_is_no_surprise_and_ten_times_it_is() -> None:
    assert chance_of(100, 10_000, 10_000, 0.01) > 0.3
    assert chance_of(1_000, 10_000, 10_000, 0.01) < 1e-12
    assert chance_of(0, 10_000, 99, 0.01) == 1
