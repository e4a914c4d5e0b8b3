from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import record
from benchmarks.record import Record, Results, markdown, versions


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


def test_a_line_that_was_cut_off_is_done_again(path: Path) -> None:
    results = Results.open(path)
    results.add({"table": "wine"})
    results.add({"table": "glass"})
    path.write_text(path.read_text()[:-10])

    found = Results.open(path)
    found.add({"table": "letter"})

    assert [r["table"] for r in Results.open(path).records] == ["wine", "letter"]


def test_what_does_not_depend_on_our_code_outlives_it(path: Path) -> None:
    lines = [json.dumps({"code": "old", "method": method}) for method in ("ours", "peer")]
    path.write_text("\n".join(lines) + "\n")

    found = Results.open(path, of_any_code=lambda record: record["method"] == "peer")

    assert [record["method"] for record in found.records] == ["peer"]


def test_what_is_forgotten_is_forgotten_in_the_file(path: Path) -> None:
    results = Results.open(path)
    results.add({"table": "wine"})
    results.add({"table": "glass"})

    results.forget(lambda record: record["table"] == "wine")

    assert results.matching(table="wine") == []
    assert [record["table"] for record in Results.open(path).records] == ["glass"]


def test_versions_are_those_of_what_is_installed() -> None:
    found = versions("pytest", "no-such-library")

    assert found["pytest"] == pytest.__version__
    assert found.keys() == {"python", "pytest"}


def test_a_part_of_a_figure_that_is_missing_leaves_its_cell_empty() -> None:
    assert markdown([{"paired": None}], {"wins": "{paired.wins}"}).splitlines()[-1] == "|  |"
