"""The training rows to look at first, if anomalies may hide among them."""

from __future__ import annotations

import csv
from io import StringIO

import numpy as np

from anomaly.arrays import Int64
from anomaly.data.records import Records
from anomaly.data.splits import Splits
from anomaly.detector import Detector

MOST = 100


def suspects_csv(ranking: Detector, records: Records, splits: Splits, in_file: Int64) -> str:
    """The rows of highest score among fit, early-stop and calibration rows, highest first.

    Columns: `row` (1 is the first row of the file below its header), `part` of the split, `score`,
    `share_as_high` (of all these rows, how many score at least as high: a p-value, were the row
    not one of them) and `top_columns`. Fit rows shaped the weights, so theirs are a little low.

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
    first = np.argsort(-scores, kind="stable")[:MOST]
    reasons = ranking.explain(records.take(rows[first]))
    ascending = np.sort(scores)
    as_high = len(scores) - np.searchsorted(ascending, scores[first], side="left")
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "part", "score", "share_as_high", "top_columns"])
    for place, of in enumerate(first):
        top = ", ".join(reason.column for reason in reasons.top(place))
        share = f"{as_high[place] / len(scores):.6g}"
        writer.writerow([in_file[rows[of]] + 1, names[of], f"{scores[of]:.6g}", share, top])
    return text.getvalue()
