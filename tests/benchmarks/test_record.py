from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import record
from benchmarks.record import Record, Results, markdown


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(record, "code_version", lambda: "new")
    return tmp_path / "results.jsonl"


def test_results_of_the_same_code_are_found_again(path: Path) -> None:
    Results.open(path).add({"table": "wine", "auroc": 0.9})

    assert Results.open(path).matching(table="wine")[0]["auroc"] == 0.9


def test_results_of_other_code_are_dropped(path: Path) -> None:
    path.write_text(json.dumps({"code": "old", "table": "wine"}) + "\n")

    assert Results.open(path).records == []
    assert path.read_text() == ""


def test_fresh_results_start_empty(path: Path) -> None:
    Results.open(path).add({"table": "wine"})

    assert Results.open(path, fresh=True).records == []


def test_results_of_uncommitted_code_are_not_trusted_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "code_version", lambda: "new+changes")
    Results.open(path).add({"table": "wine"})

    assert Results.open(path).records == []


def test_a_figure_that_is_missing_leaves_its_cell_empty() -> None:
    rows: list[Record] = [{"table": "wine", "auroc": 0.912}, {"table": "b", "auroc": None}, {}]

    assert markdown(rows, {"table": "{table}", "AUROC": "{auroc:.2f}"}).splitlines() == [
        "| table | AUROC |",
        "|---|---|",
        "| wine | 0.91 |",
        "| b |  |",
        "|  |  |",
    ]
