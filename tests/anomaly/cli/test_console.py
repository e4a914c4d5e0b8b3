"""What a person sees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomaly.cli.console import progress, result, say, table


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


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("training", 10) as update:
        update(5, "half")

    assert capsys.readouterr() == ("", "")


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
