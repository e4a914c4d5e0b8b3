"""An alarm that may be looked at after every row: is the stream still exchangeable with the
calibration rows?

Each score is ranked among the calibration scores *and all scores seen since*, ties broken at
random. If all of them are exchangeable, these p-values are independent and uniform (Vovk, Gammerman
& Shafer 2022, Algorithmic Learning in a Random World, ch. 2), and whoever bets against that cannot
expect to gain. The capital of a bettor who starts with 1 is a martingale: by Ville's inequality it
ever reaches c with probability at most 1/c, however long and however often one looks.

p-values against the calibration scores alone must not be bet on. They share their luck for ever, so
that such an alarm goes off in most deployments without any change.

Scores are kept as counts in bins, so that memory and time do not grow with the stream. Where the
bins end must not depend on the calibration scores that are counted in them, nor on the stream.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomaly.arrays import Float64, Int64

BODY_QUANTILES = np.arange(0.02, 0.99, 0.02)
TAIL_QUANTILES = np.array([0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998])
"""Bins are narrow where anomalies are."""

EDGE_SHARE = 0.25
"""Of the calibration scores, those that say where bins end, and are counted in none."""

MOST_EDGE_SCORES = 5_000

LINES = (1.9, -1.9, 0.8, -0.8)
BOWLS = (0.9, -0.5)
POWERS = (0.6, 0.8)
TAILS = ((0.005, 0.03), (0.02, 0.1), (0.05, 0.3))
"""What is bet: slopes on the mean of the p-values, curvatures on their spread, exponents on either
end, and (share, weight) on the smallest. Chosen on made streams among five sets; see
docs/decisions/0012."""

CHUNK = 1024
SMALLEST_P = 1e-12


def bets(p: Float64) -> Float64:
    """(K, N) by what the capital of each of K bettors is multiplied; of mean 1 for uniform p."""
    inside = np.clip(p, SMALLEST_P, 1 - SMALLEST_P)
    return np.stack(
        [
            *(1 + slope * (0.5 - p) for slope in LINES),
            *(1 + bend * (12 * (p - 0.5) ** 2 - 1) for bend in BOWLS),
            *(power * end ** (power - 1) for power in POWERS for end in (inside, 1 - inside)),
            *(1 - weight + weight / share * (p <= share) for share, weight in TAILS),
        ]
    )


@dataclass(frozen=True)
class Start:
    """What a stream is compared with.

    Attributes:
        edges: (B - 1,) ascending; a score equal to an edge belongs below it.
        counts: (B,) calibration scores in each bin.
    """

    edges: Float64
    counts: Int64

    @staticmethod
    def of(calibration: Float64, rng: np.random.Generator) -> Start:
        """Bins from some of the calibration scores, drawn at random, counts of the others.

        Args:
            calibration: (n,) in any order.
        """
        scores = rng.permutation(calibration)
        first = min(MOST_EDGE_SCORES, int(EDGE_SHARE * len(scores)))
        quantiles = np.concatenate([BODY_QUANTILES, TAIL_QUANTILES])
        edges = np.unique(np.quantile(scores[:first], quantiles)) if first else np.zeros(0)
        counts = np.bincount(np.searchsorted(edges, scores[first:]), minlength=len(edges) + 1)
        return Start(edges, counts)


class ConformalMartingale:
    """The capital of a bettor against exchangeability.

    It waits at first, and after t rows begins to bet with the share 1 / (t + n + 1) of what still
    waits, n calibration scores: a mixture over all times at which the change may come, so that a
    late one is found as well. What is bet is divided equally among `bets`.

    Attributes:
        rows: That were ranked.
        log10: Of the capital.
        highest_log10: The largest that it was after any update, or after any 1,024 rows of one.
    """

    def __init__(self, start: Start, rng: np.random.Generator) -> None:
        self._edges = start.edges
        self._counts = start.counts.copy()
        self._begin = int(start.counts.sum())
        self._rng = rng
        self._waiting = 0.0
        self._betting = np.full(len(bets(np.zeros(0))), -np.inf)
        self.rows = 0
        self.log10 = 0.0
        self.highest_log10 = 0.0

    def update(self, scores: Float64) -> None:
        """Rank N scores, in their order, and bet on each.

        Args:
            scores: (N,) one that is not finite counts as the most anomalous.
        """
        scores = np.where(np.isfinite(scores), scores, np.inf)
        for start in range(0, len(scores), CHUNK):
            self.bet(self._ranked(np.searchsorted(self._edges, scores[start : start + CHUNK])))

    def _ranked(self, bins: Int64) -> Float64:
        """(N,) p-values, each among all scores before it; small is anomalous."""
        counts = self._counts
        n = int(counts.sum())
        here = bins[:, None] == np.arange(len(counts))
        earlier = here.cumsum(0, dtype=np.int32) - here
        rows = np.arange(len(bins))
        up_to = earlier.cumsum(1, dtype=np.int32)[rows, bins]
        equal = counts[bins] + earlier[rows, bins]
        above = n - counts.cumsum()[bins] + rows - up_to
        self._counts = counts + np.bincount(bins, minlength=len(counts))
        # The score itself is among its equals: that is what makes the rank exactly uniform.
        p: Float64 = (above + self._rng.random(len(bins)) * (equal + 1)) / (n + 1 + rows)
        return p

    def bet(self, p: Float64) -> None:
        """Bet on (N,) p-values, in their order.

        What each bettor has after a row is x <- (x + inflow) * bet, solved for all rows at once,
        in logarithms, where nothing overflows.
        """
        log_bets = np.log(bets(p))
        share = np.minimum(1 / (self.rows + np.arange(len(p)) + self._begin + 1), 0.5)
        waiting = self._waiting + np.concatenate([[0.0], np.log1p(-share).cumsum()])
        gains = log_bets.cumsum(1)
        inflow = waiting[:-1] + np.log(share / len(log_bets)) - (gains - log_bets)
        invested = np.column_stack([self._betting, inflow])
        self._betting = gains[:, -1] + _log_sum(invested)
        self._waiting = float(waiting[-1])
        self.rows += len(p)
        self.log10 = float(_log_sum(np.append(self._betting, self._waiting)) / np.log(10))
        self.highest_log10 = max(self.highest_log10, self.log10)


def _log_sum(logs: Float64) -> Float64:
    """log(sum(exp(logs))) over the last axis."""
    top = logs.max(axis=-1)
    total: Float64 = top + np.log(np.exp(logs - top[..., None]).sum(axis=-1))
    return total
