"""Why rows of a file are flagged."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.data.options import ReadOptions
from anomaly.data.readers import open_reader
from anomaly.detector import Detector


def explained_rows(
    detector: Detector,
    source: Path,
    *,
    alpha: float | None,
    most: int,
    top_k: int,
    options: ReadOptions,
) -> list[dict[str, Any]]:
    """The flagged rows of a file with their reasons, most anomalous first.

    Returns:
        For each row its ids, `line`, `score`, `p_value` and `reasons` (column, share, expected,
        observed).
    """
    found: list[dict[str, Any]] = []
    for chunk in open_reader(source, detector.schema, options=options):
        verdicts = detector.detect(chunk.records, alpha)
        flagged = np.flatnonzero(verdicts.is_anomaly)
        rows = flagged[np.argsort(-verdicts.scores[flagged], kind="stable")][:most]
        if not len(rows):
            continue
        reasons = detector.explain(chunk.records.take(rows))
        ids = [c.name for c in detector.schema.ids if c.name in chunk.records.columns]
        found += [
            {
                **{name: chunk.records.columns[name][row] for name in ids},
                "line": int(chunk.lines[row]),
                "score": float(verdicts.scores[row]),
                "p_value": float(verdicts.p_values[row]),
                "reasons": [asdict(reason) for reason in reasons.top(position, top_k)],
            }
            for position, row in enumerate(rows)
        ]
        found = sorted(found, key=lambda entry: -entry["score"])[:most]
    return found


def reasons_text(found: list[dict[str, Any]]) -> str:
    """One paragraph a row."""
    if not found:
        return "no row is flagged"
    lines = []
    for entry in found:
        ids = [f"{k} {v}" for k, v in entry.items() if k not in _OURS]
        place = ", ".join([*ids, f"line {entry['line']}"])
        lines.append(f"{place}: score {entry['score']:.4g}, p = {entry['p_value']:.4g}")
        lines += [
            f"    {reason['column']}: {value(reason['observed'])}, expected "
            f"{value(reason['expected'])} ({reason['share']:.0%} of the excess)"
            for reason in entry["reasons"]
        ]
    return "\n".join(lines)


_OURS = ("line", "score", "p_value", "reasons")


def value(value: float | str | None) -> str:
    """A value for a person."""
    if value is None:
        return "nothing"
    return value if isinstance(value, str) else f"{value:.4g}"
