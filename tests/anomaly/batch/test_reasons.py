"""Why rows of a file are flagged, the most anomalous first."""

from __future__ import annotations

import json
from pathlib import Path

from anomaly.batch.reasons import explained_rows, reasons_text, value
from anomaly.data.options import ReadOptions
from anomaly.detector import Detector
from tests import machines


def test_the_most_anomalous_flagged_rows_come_first_whatever_the_blocks(
    detector: Detector, tmp_path: Path
) -> None:
    found = machines.both(150, 9, seed=3)
    source = machines.written(found, tmp_path / "in.csv")
    verdicts = detector.detect(found)
    highest = sorted(verdicts.scores[verdicts.is_anomaly], reverse=True)[:4]

    whole, pieces = (
        explained_rows(detector, source, alpha=None, most=4, top_k=2, options=options)
        for options in (ReadOptions(), ReadOptions(block_bytes=1024))
    )

    assert [row["score"] for row in whole] == highest
    assert pieces == whole
    for row in whole:
        at = verdicts.scores.tolist().index(row["score"])
        assert row["serial"] == found.columns["serial"][at]
        assert row["line"] == at + 2
        assert row["reasons"][0]["column"] == "load"
        assert row["reasons"][0]["observed"] == found.columns["load"][at]
        assert len(row["reasons"]) <= 2
    json.dumps(whole, allow_nan=False)


def test_the_text_names_the_row_and_both_values(detector: Detector, tmp_path: Path) -> None:
    source = machines.written(machines.anomalies(2), tmp_path / "in.csv")
    found = explained_rows(detector, source, alpha=None, most=1, top_k=1, options=ReadOptions())

    text = reasons_text(found)

    assert f"serial {found[0]['serial']}, line {found[0]['line']}: score" in text
    assert "load: " in text
    assert "expected " in text
    assert "% of the excess" in text


def test_nothing_flagged_is_said(detector: Detector, tmp_path: Path) -> None:
    assert reasons_text([]) == "no row is flagged"


def test_values_for_a_person() -> None:
    assert value(None) == "nothing"
    assert value("red") == "red"
    assert value(1234567.0) == "1.235e+06"
