"""What a person sees."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import pytest

from anomaly.cli.console import (
    SECONDS_BETWEEN_LINES,
    plain_progress,
    progress,
    result,
    say,
    table,
)


def test_columns_are_aligned_and_no_line_ends_in_blanks() -> None:
    text = table([("a", 1), ("longer", 22)], ("name", "n"))

    assert text.splitlines() == ["name    n", "a       1", "longer  22"]
    assert table([]) == ""
    assert table([], ("name",)) == "name"


def test_a_result_is_text_or_json_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    result({"path": Path("a.csv"), "n": 1.5}, as_json=True, text="unused")
    assert json.loads(capsys.readouterr().out) == {"path": "a.csv", "n": 1.5}

    result({}, as_json=False, text="said")
    assert capsys.readouterr().out == "said\n"


def test_remarks_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("a remark")

    assert capsys.readouterr() == ("", "a remark\n")


def test_without_a_terminal_what_is_soon_done_is_not_told_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress("training", 10) as update:
        update(5, "half")

    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_there_is_a_line_for_each_tenth_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count(0.0, 10.0)
    monkeypatch.setattr("time.monotonic", lambda: next(clock))

    with progress("training") as update:
        for step in range(0, 1_201, 40):
            update(step, f"loss {step}", 1_200)

    seen = capsys.readouterr()
    assert seen.out == ""
    lines = seen.err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "training: 120 of 1,200, loss 120"
    assert lines[-1] == "training: 1,200 of 1,200, loss 1200"


def test_lines_of_progress_are_seconds_apart() -> None:
    at, told = 0.0, list[float]()
    update = plain_progress("scoring", 100, lambda line: told.append(at), lambda: at)
    for done in range(101):
        at = done / 10
        update(done, "")

    assert len(told) == 2
    assert told[0] >= SECONDS_BETWEEN_LINES
    assert told[1] - told[0] >= SECONDS_BETWEEN_LINES


def test_of_unknown_length_there_are_no_lines() -> None:
    told: list[str] = []
    clock = count(0.0, 100.0)
    plain_progress("scoring", None, told.append, lambda: next(clock))(7_000, "rows")

    assert told == []


def test_progress_is_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")

    with progress("training", 10) as update:
        update(10, "done well")

    seen = capsys.readouterr()
    assert seen.out == ""
    assert "training" in seen.err
    assert "10/10" in seen.err
    assert "done well" in seen.err
