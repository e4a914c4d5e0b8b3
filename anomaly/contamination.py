"""Do anomalies hide among the rows that are called normal?

Scores of rows that no weight was fitted to have a tail. Where it falls off as that of an
exponential law, the half above the median sets its scale: the distance from the median m to the 90%
quantile q is log 5 times that scale, and beyond m + k (q - m) lie 5^-k / 2 of the
rows, 0.08% for k = 4. Anomalies are few, so they move m and q little, and lie beyond; at a
tenth and more they move q itself and hide each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtrc

from anomaly.arrays import Float64

TIMES = 4.0
"""k: how many times as far from the median as the 90% quantile a suspicious score lies."""

MOST_USUAL = 0.01
"""The share of suspicious scores that the heavy tails of clean tables may have."""

CHANCE = 0.01
"""A number of suspicious scores that such a table exceeds less often than this is no tail."""


HIDING = "anomalies may hide among the rows that are called normal"
HIDING_IMAGES = "anomalies may hide among the images that are called normal"


class ContaminationWarning(UserWarning):
    """Rows that were called normal look as if anomalies hide among them."""


@dataclass(frozen=True)
class Contamination:
    """What held-out scores tell.

    Attributes:
        beyond: The score from which on a row is suspicious.
        suspicious: How many scores lie above it.
        of: How many there are.
    """

    beyond: float
    suspicious: int
    of: int

    @staticmethod
    def of_scores(scores: Float64) -> Contamination:
        """From scores (N,) of rows that shaped no weight, higher is more anomalous."""
        middle, upper = np.quantile(scores, [0.5, 0.9])
        beyond = float(middle + TIMES * (upper - middle))
        return Contamination(beyond, int((scores > beyond).sum()), len(scores))

    @property
    def is_likely(self) -> bool:
        """Whether more are suspicious than a share of `MOST_USUAL` explains (binomial)."""
        return float(bdtrc(self.suspicious - 1, self.of, MOST_USUAL)) < CHANCE

    def message_of_images(self, unit: str) -> str:
        """The same of images, or of groups of them: each `unit` has one score."""
        return (
            f"{self.suspicious} of {self.of:,} calibration {unit}s score above {self.beyond:.4g}, "
            f"far beyond what the others lead to expect: {HIDING_IMAGES}. The "
            "threshold then lies too high and anomalies are missed. Score the training images "
            "(`anomaly score`), look at those of the highest scores, take out what is not normal "
            "and train again."
        )

    @property
    def message(self) -> str:
        """What was found, why it matters, what to do."""
        return (
            f"{self.suspicious} of {self.of:,} calibration rows score above {self.beyond:.4g}, far "
            f"beyond what the other rows lead to expect: {HIDING}. The threshold then lies too "
            "high and anomalies are missed. Look at the most suspicious rows (`anomaly train` "
            "lists them in suspects.csv of its run), take out what is no normal row and train "
            "again; `--preset robust` learns without the most suspicious tenth."
        )
