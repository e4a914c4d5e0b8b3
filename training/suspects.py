"""The training rows to look at first, if anomalies may hide among them."""

from __future__ import annotations

import csv
from io import StringIO

import numpy as np

from anomaly.arrays import Float64, Int64
from anomaly.data.records import Records
from anomaly.data.splits import Splits
from anomaly.detector import Detector

MOST = 100


def suspects_csv(ranking: Detector, records: Records, splits: Splits, in_file: Int64) -> str:
    """The rows that stand out most in their part of the split: fit, early stop or calibration.

    Columns: `row` (1 is the first row of the file below its header), `part`, `score`,
    `share_as_high` (of the rows of its part, how many score at least as high: a p-value, were the
    row not one of them), by which they are sorted, and `top_columns`. Parts are not compared by
    score, because the weights were fitted to fit rows, whose scores are lower for it.

    Args:
        ranking: Its score must not remember rows, or each would be its own neighbour.
        records: The rows that the splits index.
        in_file: (N,) the 0-based number in the file of each record.
    """
    parts = {
        "fit": splits.fit,
        "early_stop": splits.early_stop,
        "calibration": splits.calibration,
    }
    rows = np.concatenate([*parts.values()])
    names = np.repeat([*parts], [len(part) for part in parts.values()])
    scores = ranking.anomaly_score(records.take(rows))
    shares = np.concatenate([share_as_high(scores[names == name]) for name in parts])
    first = np.lexsort((-scores, shares))[:MOST]
    reasons = ranking.explain(records.take(rows[first]))
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "part", "score", "share_as_high", "top_columns"])
    for place, of in enumerate(first):
        top = ", ".join(reason.column for reason in reasons.top(place))
        share, score = f"{shares[of]:.6g}", f"{scores[of]:.6g}"
        writer.writerow([in_file[rows[of]] + 1, names[of], score, share, top])
    return text.getvalue()


def share_as_high(scores: Float64) -> Float64:
    """(N,) of these scores, the share that is at least as high as each."""
    below = np.searchsorted(np.sort(scores), scores, side="left")
    return 1.0 - below / max(1, len(scores))
