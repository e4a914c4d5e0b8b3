from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from anomaly.arrays import Float64
from benchmarks.contest import Fitted, Work, answer, measured
from benchmarks.protocol import Split
from benchmarks.record import Record

GIVEN = Split(
    np.zeros((3, 1)),
    np.array([[1.0], [2.0], [5.0], [4.0], [6.0]]),
    np.array([False, False, False, True, True]),
)


def first_column(train: Float64, seed: int) -> Fitted:
    return Fitted(lambda rows: rows[:, 0])


def test_quality_is_that_of_the_ranking() -> None:
    figures = measured(first_column, GIVEN, seed=0)

    # Of six pairs of an anomaly and a normal row one is the wrong way round. From the top: 6 is
    # one of one, 4 is two of three.
    assert figures["auroc"] == pytest.approx(5 / 6)
    assert figures["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert (figures["train_rows"], figures["test_rows"], figures["anomalies"]) == (3, 5, 2)


def test_false_alarms_are_counted_on_normal_rows_alone() -> None:
    def fit(train: Float64, seed: int) -> Fitted:
        return Fitted(lambda rows: rows[:, 0], lambda scores: scores >= 4, alpha=0.25)

    figures = measured(fit, GIVEN, seed=0)

    assert figures["false_alarm_rate"] == pytest.approx(1 / 3)
    assert figures["alpha"] == 0.25
    assert "alpha" not in measured(first_column, GIVEN, seed=0)


def test_a_method_learns_from_training_rows_and_its_seed() -> None:
    learned: list[tuple[Float64, int]] = []

    def fit(train: Float64, seed: int) -> Fitted:
        learned.append((train, seed))
        return first_column(train, seed)

    measured(fit, GIVEN, seed=7)

    assert learned[0][0] is GIVEN.train
    assert learned[0][1] == 7


def test_a_process_answers_one_json_line_for_each_item_whatever_libraries_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    GIVEN.save(tmp_path / "3.npz")
    Work({"3": str(tmp_path / "3.npz")}, [("a", 3), ("b", 3)]).save(tmp_path / "work.json")
    monkeypatch.setattr(sys, "argv", ["side", str(tmp_path / "work.json")])

    def measure(method: str, raw: Split, seed: int) -> Record:
        print("epoch 1 of 1")
        return {"rows": len(raw.test)}

    answer(measure)

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["method"], line["seed"], line["rows"]) for line in lines] == [
        ("a", 3, 5),
        ("b", 3, 5),
    ]
    assert lines[0]["versions"]["numpy"] == np.__version__
