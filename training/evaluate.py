"""How good a finished detector is on rows it has never seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from anomaly.arrays import Bool, Float64, Int64, Objects
from anomaly.data.records import Records, is_missing
from anomaly.detector import Detector


@dataclass(frozen=True)
class Evaluation:
    """Scores of test rows, and what they say.

    Attributes:
        scores, p_values: (N,) of normal test rows and anomalies.
        is_anomalous: (N,) the truth.
        false_alarms_by_missing: For each number of missing entries: (normal rows, flagged).
        groups: (N,) the object each row measures, where the rate is one of groups.
    """

    scores: Float64
    p_values: Float64
    is_anomalous: Bool
    alpha: float
    false_alarms_by_missing: dict[int, tuple[int, int]]
    groups: Objects | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """Named numbers; those that need anomalies, or normal rows, only where there are any."""
        flagged = self.p_values <= self.alpha
        normal = ~self.is_anomalous
        found: dict[str, float] = {}
        if normal.any() and self.groups is None:
            found["test/false_alarm_rate"] = float(flagged[normal].mean())
        elif normal.any():
            # The rate that was promised is one of groups: a group counts once, if any row of it
            # is flagged.
            assert self.groups is not None
            groups = self.groups[normal]
            share = len(set(groups[flagged[normal]])) / len(set(groups))
            found["test/false_alarm_rate"] = share
            found["test/row_false_alarm_rate"] = float(flagged[normal].mean())
        if normal.any():
            found["test/normal_rows"] = float(normal.sum())
        if self.is_anomalous.any():
            found["test/recall"] = float(flagged[self.is_anomalous].mean())
            found["test/anomalies"] = float(self.is_anomalous.sum())
        if normal.any() and self.is_anomalous.any():
            found["test/auroc"] = float(roc_auc_score(self.is_anomalous, self.scores))
            found["test/average_precision"] = float(
                average_precision_score(self.is_anomalous, self.scores)
            )
            found["test/precision"] = (
                float(self.is_anomalous[flagged].mean()) if any(flagged) else 0
            )
        return found


def evaluate(
    detector: Detector, records: Records, is_anomalous: Bool, groups: Objects | None = None
) -> Evaluation:
    """Score test rows and compare with the truth.

    Args:
        records: N rows that took no part in making the detector.
        is_anomalous: (N,) the truth.
        groups: (N,) the object each row measures, where the rate is one of groups.
    """
    verdicts = detector.detect(records)
    return Evaluation(
        verdicts.scores,
        verdicts.p_values,
        is_anomalous,
        verdicts.alpha,
        _by_missing(detector, records, verdicts.is_anomaly, ~is_anomalous),
        groups,
    )


def missing_entries(detector: Detector, records: Records) -> Int64:
    """(N,) how many feature columns are empty."""
    absent = [is_missing(records.columns[c.name]) for c in detector.schema.features]
    counts: Int64 = np.sum(absent, axis=0, dtype=np.int64)
    return counts


def _by_missing(
    detector: Detector, records: Records, flagged: Bool, normal: Bool
) -> dict[int, tuple[int, int]]:
    counts = missing_entries(detector, records)
    return {
        int(k): (int((normal & (counts == k)).sum()), int((flagged & normal & (counts == k)).sum()))
        for k in np.unique(counts[normal])
    }
