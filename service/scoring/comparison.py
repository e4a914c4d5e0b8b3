"""How the verdicts of a challenger compare with those of the champion on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from anomaly.arrays import Bool, Float64, Int64
from anomaly.detector import Verdicts
from anomaly.distances import psi
from service.metrics import AGREEMENTS, SHADOW_OUTCOMES, Families

DECILES = np.arange(1, 10) / 10
"""The inner bounds of ten bins of p-values; a value equal to a bound belongs below it."""


class Judged(NamedTuple):
    """What is compared of the verdicts on N rows."""

    p_values: Float64
    is_anomaly: Bool

    @classmethod
    def of(cls, verdicts: Sequence[Verdicts | Judged]) -> Judged:
        """All of them, one after the other."""
        return cls(
            np.concatenate([part.p_values for part in verdicts]),
            np.concatenate([part.is_anomaly for part in verdicts]),
        )


class Comparison:
    """The counts of one challenger, as Prometheus sees them.

    Args:
        model: Of both.
        version: Of the challenger.
    """

    def __init__(self, families: Families, model: str, version: str) -> None:
        self.version = version
        self._labels = (model, version)
        self._families = families
        self._rows = {
            outcome: families.shadow_rows.labels(model, version, outcome)
            for outcome in SHADOW_OUTCOMES
        }
        self._verdicts = {
            verdicts: families.shadow_agreement.labels(model, version, verdicts)
            for verdicts in AGREEMENTS
        }
        self._deciles: Int64 = np.zeros((2, len(DECILES) + 1), dtype=np.int64)
        families.shadow_psi.labels(model, version).set_function(lambda: psi(*self._deciles))

    def scored(self, champion: Judged, challenger: Judged) -> None:
        """Count N rows that both have judged, each at its own alpha."""
        ours, theirs = champion.is_anomaly, challenger.is_anomaly
        for verdicts, rows in (
            ("both", ours & theirs),
            ("neither", ~(ours | theirs)),
            ("champion_only", ours & ~theirs),
            ("challenger_only", theirs & ~ours),
        ):
            self._verdicts[verdicts].inc(int(rows.sum()))
        found = [deciles(judged.p_values) for judged in (champion, challenger)]
        # In one go: a scrape sees all of it or nothing.
        self._deciles = self._deciles + np.array(found)
        self._rows["scored"].inc(len(ours))

    def dropped(self, rows: int) -> None:
        """Count rows for which there was no time."""
        self._rows["dropped"].inc(rows)

    def failed(self, rows: int) -> None:
        """Count rows on which the challenger failed."""
        self._rows["failed"].inc(rows)

    def forget(self) -> None:
        """Leave nothing of it to a scrape."""
        families = self._families
        for outcome in self._rows:
            families.shadow_rows.remove(*self._labels, outcome)
        for verdicts in self._verdicts:
            families.shadow_agreement.remove(*self._labels, verdicts)
        families.shadow_psi.remove(*self._labels)


def deciles(p_values: Float64) -> Int64:
    """(10,) how many of N p-values lie in each tenth of (0, 1]."""
    bins = np.searchsorted(DECILES, p_values, side="left")
    return np.bincount(bins, minlength=len(DECILES) + 1)
