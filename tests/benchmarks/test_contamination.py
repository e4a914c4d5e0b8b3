"""Hidden anomalies: the right number, nested, and judged on the same rows at every level."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.classical import NEAREST
from benchmarks.contamination import SHARES, contaminated, main
from benchmarks.labelled import correlated, with_anomalies
from benchmarks.record import read_lines

TRUTH = np.arange(300) >= 200
VALUES = np.arange(300.0)[:, None]


def test_each_level_hides_its_share_and_all_are_judged_on_the_same_rows() -> None:
    splits = [contaminated(VALUES, TRUTH, 0, share) for share in SHARES]
    hidden = []
    for given in splits:
        assert given is not None
        first = splits[0]
        assert first is not None
        np.testing.assert_array_equal(given.test, first.test)
        rows = given.train[:, 0]
        assert not np.isin(rows, given.test[:, 0]).any()
        assert len(rows) == len(set(rows)) == 100
        hidden.append(set(rows[rows >= 200].tolist()))

    assert [len(rows) for rows in hidden] == [0, 1, 5, 10]
    assert hidden[1] < hidden[2] < hidden[3]


def test_a_table_of_too_few_anomalies_is_left_out() -> None:
    # Of 200 normal rows 100 train, so ten are hidden at most, and ten more must be left.
    assert contaminated(VALUES[:220], TRUTH[:220], 0, 0.0) is not None
    assert contaminated(VALUES[:219], TRUTH[:219], 0, 0.0) is None


def test_a_run_goes_on_where_it_was_and_reports_what_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANOMALY_DATA", str(tmp_path))
    (tmp_path / "adbench").mkdir()
    rng = np.random.default_rng(0)
    made = with_anomalies(rng, "1_made", correlated(rng, 400, 4))
    np.savez(tmp_path / "adbench" / "1_made.npz", X=made.values, y=made.is_anomalous.astype(int))
    results = tmp_path / "results.jsonl"
    command = ["contamination", "--results", str(results), "--methods", NEAREST]
    monkeypatch.setattr(sys, "argv", command)

    assert main() == 0
    whole = read_lines(results)
    capsys.readouterr()
    assert main() == 0

    assert read_lines(results) == whole
    assert [record["share"] for record in whole] == list(SHARES)
    assert "1_made" in capsys.readouterr().out
