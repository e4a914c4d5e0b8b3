from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import (
    ONE_CORE,
    PEERS,
    Sides,
    main,
    opened,
    peer_python,
    report,
    run_side,
    shares,
)
from benchmarks.contest import Work
from benchmarks.labelled import LabelledTable, correlated, with_anomalies
from benchmarks.protocol import split
from benchmarks.record import ROOT, Record

PYOD_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
Measure = Callable[..., int]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


@pytest.fixture
def measure(tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> Measure:
    """The command, on the two made tables of a data folder."""
    for name, value in ONE_CORE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ANOMALY_DATA", str(tmp_path))
    (tmp_path / "adbench").mkdir()
    rng = np.random.default_rng(0)
    for name in ("1_first", "2_second"):
        save(tmp_path, with_anomalies(rng, name, correlated(rng, 80, 4)))

    def run(*options: str) -> int:
        command = ["accuracy", "--results", str(results), "--all-rows", "--presets", *options]
        monkeypatch.setattr(sys, "argv", command)
        return main()

    return run


def save(folder: Path, table: LabelledTable) -> None:
    path = folder / "adbench" / f"{table.name}.npz"
    np.savez(path, X=table.values, y=table.is_anomalous.astype(int))


def lines_of(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_that_was_killed_goes_on_where_it_was(
    measure: Measure, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--peers", "sklearn/knn-1", "sklearn/pca", "--seeds", "0", "1")
    assert measure(*asked) == 0
    whole = lines_of(results)
    results.write_text(results.read_text()[:-20])

    assert measure(*asked) == 0

    keys = {(r["table"], r["method"], r["seed"]) for r in whole}
    assert len(keys) == len(whole) == 8
    resumed = lines_of(results)
    assert resumed[:-1] == whole[:-1]
    for figure in ("table", "method", "seed", "auroc", "average_precision"):
        assert resumed[-1][figure] == whole[-1][figure]
    assert {"code", "machine", "versions", "fit_s", "score_s"} <= whole[0].keys()
    printed = capsys.readouterr().out
    assert printed.count(": done") == 9
    assert "| sklearn/pca | 2 |" in printed


def test_again_measures_only_what_is_asked_for_anew(measure: Measure, results: Path) -> None:
    measure("--peers", "sklearn/knn-1", "sklearn/pca", "--seeds", "0")
    before = lines_of(results)

    measure("--again", "--only", "first", "--peers", "sklearn/pca", "--seeds", "0")

    asked = {("1_first", "sklearn/pca")}
    kept = [r for r in before if (r["table"], r["method"]) not in asked]
    after = lines_of(results)
    assert after[:-1] == kept
    assert (after[-1]["table"], after[-1]["method"]) == ("1_first", "sklearn/pca")


def test_a_preset_gets_raw_rows_and_states_its_false_alarms(
    measure: Measure, results: Path
) -> None:
    measure("fast", "--only", "first", "--peers", "--seeds", "0")

    (record,) = lines_of(results)
    assert record["method"] == "ours/fast"
    assert 0 < record["alpha"] <= 0.5
    assert 0 <= record["false_alarm_rate"] <= 1


def test_a_method_that_fails_is_a_fault_and_the_others_go_on(
    measure: Measure, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, LabelledTable("1_first", np.full((20, 2), np.nan), np.arange(20) > 17))

    assert measure("--peers", "sklearn/knn-1", "--seeds", "0") == 1

    assert [r["table"] for r in lines_of(results)] == ["2_second"]
    assert "FAULT: 1_first: benchmarks.accuracy_ours ended with 1" in capsys.readouterr().out


def test_without_tables_nothing_is_measured(
    measure: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results: Path
) -> None:
    monkeypatch.setenv("ANOMALY_DATA", str(tmp_path / "nowhere"))

    assert measure() == 0
    assert not results.exists()


@pytest.mark.skipif(
    not PYOD_PYTHON.exists(), reason=f"no {PYOD_PYTHON}: make -C benchmarks peers installs PyOD"
)
def test_pyod_gives_the_same_figures_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = with_anomalies(rng, "made", correlated(rng, 80, 4))
    split(table.values, table.is_anomalous, seed=3).save(tmp_path / "3.npz")
    both = [("pyod/vae", 3), ("pyod/autoencoder", 3)]
    Work({"3": str(tmp_path / "3.npz")}, both * 2).save(tmp_path / "work.json")

    records = list(run_side(PYOD_PYTHON, "benchmarks.accuracy_pyod", tmp_path / "work.json"))

    aurocs = [record["auroc"] for record in records]
    assert aurocs[:2] == aurocs[2:]
    assert records[0]["versions"]["pyod"] == "3.6.7"


def test_only_pyod_needs_its_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = Sides(peer_python(tmp_path / "python"))

    found = list(shares([("sklearn/lof", 0), ("pyod/vae", 0), ("ours/default", 0)], sides))

    assert "SKIPPED" in capsys.readouterr().out
    assert [share for _, share in found] == [[("sklearn/lof", 0)], [("ours/default", 0)]]


def test_peers_outlive_our_code_and_presets_do_not(results: Path) -> None:
    lines = [json.dumps({"code": "old", "method": m}) for m in ("ours/default", *PEERS)]
    results.write_text("\n".join(lines) + "\n")

    assert [record["method"] for record in opened(results).records] == list(PEERS)


def test_the_report_compares_methods_and_says_that_labels_chose_nothing() -> None:
    def result(method: str, table: str, auroc: float) -> Record:
        figures = {"auroc": auroc, "average_precision": 0.5, "fit_s": 1.0, "score_s": 0.1}
        return {"method": method, "table": table, "seed": 0, "test_rows": 10, **figures}

    text = report(
        [
            result("sklearn/knn-1", "wine", 0.8),
            result("ours/default", "wine", 0.9),
            result("ours/default", "glass", 0.7),
        ],
        ["ours/default", "sklearn/knn-1", "pyod/vae"],
    )

    assert "no setting, method or preprocessing is chosen by them" in text
    assert "| ours/default | 2 | 80.00 | 50.00 | 80.00 |  | 50.00 |  | 1.00 | 100 |" in text
    assert "| ours/default | sklearn/knn-1 | +10.00 | 1 of 1 | 1 |" in text
    assert "| glass | 70.0 |  |" in text
    assert "pyod/vae" not in text
