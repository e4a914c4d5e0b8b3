"""A bet against the stream being exchangeable: a conformal test martingale.

Each score is ranked among all scores before it, ties broken at random. If they are exchangeable,
these ranks are independent and uniform, whatever the distribution (Vovk, Gammerman & Shafer 2005),
so whoever bets on them at fair odds gets no richer on average, and P(capital >= c, ever) <= 1 / c
(Ville's inequality). A large capital therefore is evidence, at whatever moment one looks.

The bets are on densities of Beta distributions, on high ranks, low ones, both or neither, and on a
few rows that rank highest or lowest of all. A part of the capital waits: of what is left,
1 / (k + 1) begins to bet at the k-th start, so that a change that comes late is still found, at the
price of a factor k squared (a mixture over the moment of the change; compare Volkhonskiy et al.
2017, Inductive conformal martingales).
"""

from __future__ import annotations

import math

import numpy as np

from anomaly.arrays import Float64, Int64

BETAS = np.array(
    [
        # On small p, which are high scores: steep to flat.
        *((0.5, 1.0), (0.8, 1.0), (1.0, 1.25), (1.0, 2.0)),
        # The same on large p.
        *((1.0, 0.5), (1.0, 0.8), (1.25, 1.0), (2.0, 1.0)),
        # On both ends, and on neither.
        *((0.5, 0.5), (2.0, 2.0)),
    ]
)
"""(B, 2) a and b of the Beta densities on which a whole stake is bet."""

FEW = np.array([(0.02, 0.01), (0.05, 0.01), (0.1, 0.05)])
"""(F, 2) of a stake the share that is bet on p within so much of 0, and of 1: the rows of a change
that is only in few of them are the highest of all, or the lowest, and the others as ever."""

BETS = len(BETAS) + 2 * len(FEW)

_EXPONENTS = BETAS.T - 1
_LOG_BETA = np.array([math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b) for a, b in BETAS])
# scipy's would cost the start of a service most of a second.
_SHARE, _WIDTH = FEW.T
_LOG_WON = np.tile(np.log(1 - _SHARE + _SHARE / _WIDTH), 2)
_LOG_LOST = np.tile(np.log(1 - _SHARE), 2)

ROWS_BETWEEN_STARTS = 16
"""After so many rows another part of the capital begins to bet."""

LARGEST_P = 1 - 2.0**-53


class Bag:
    """Scores seen so far, as counts in bins, and the rank of each new one among them.

    Binned scores are as exchangeable as the scores, if the bins do not depend on any of them.

    Args:
        edges: (E,) ascending, not from calibration rows; a score equal to an edge lies below it.
        scores: Those of the calibration rows.
        seed: Of what breaks ties.
    """

    def __init__(self, edges: Float64, scores: Float64, seed: int) -> None:
        self._edges = edges
        self._rng = np.random.default_rng(seed)
        counts = np.bincount(self._bins(scores), minlength=len(edges) + 1)
        # For each bin how many scores lie in it or above; none lie above the last.
        self._reached = np.append(counts[::-1].cumsum()[::-1], 0)
        self._numbers = np.arange(len(self._reached))

    def __len__(self) -> int:
        return int(self._reached[0])

    def ranks(self, scores: Float64) -> Float64:
        """p-values (N,) in (0, 1) of the next N scores: the share of rows up to and with each that
        score higher, plus a random part of those in its own bin. Each is put in the bag."""
        bins, rows = self._bins(scores), np.arange(len(scores))
        # Of each bin the rows in it or above, up to and with each row.
        steps = (self._numbers[:, None] <= bins).cumsum(axis=1, dtype=np.int32)
        higher = steps[bins + 1, rows] + self._reached[bins + 1]
        same = steps[bins, rows] + self._reached[bins] - higher
        total = rows + 1 + len(self)
        if len(scores):
            self._reached = self._reached + steps[:, -1]
        # 1 - u is never 0.
        p = (higher + (1 - self._rng.random(len(scores))) * same) / total
        found: Float64 = np.minimum(p, LARGEST_P)
        return found

    def _bins(self, scores: Float64) -> Int64:
        # A score that is not finite says that something is broken: it ranks highest.
        known = np.where(np.isfinite(scores), scores, np.inf)
        return np.searchsorted(self._edges, known, side="left")


class Martingale:
    """The capital of one who bets on ranks, from 1, in logarithms: it never overflows.

    Attributes:
        rows: Bet on so far.
        log_capital: Natural logarithm of the capital.
        log_highest: Of the highest capital after any call of `bet`.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.log_capital = self.log_highest = 0.0
        self._log_betting = np.full(BETS, -np.inf)

    def bet(self, p: Float64) -> None:
        """Bet on the next ranks (N,), in their order. How they are divided among calls changes only
        at which moments the highest capital is looked for."""
        if not len(p):
            return
        first = -self.rows % ROWS_BETWEEN_STARTS
        starts = np.arange(first, len(p), ROWS_BETWEEN_STARTS)
        # Rows before the first start continue what was begun.
        cuts = starts if first == 0 else np.concatenate([[0], starts])
        gains = np.add.reduceat(log_bets(p), cuts, axis=0)
        begun = np.full(len(cuts), -np.inf)
        number = (self.rows + starts) // ROWS_BETWEEN_STARTS + 1.0
        # Of 1 / k that waits, 1 / (k + 1) begins: 1 / (k (k + 1)), and 1 / (k + 1) waits on.
        begun[len(cuts) - len(starts) :] = -np.log(number * (number + 1) * BETS)
        betting = _grown(self._log_betting, begun, gains)
        waiting = self._log_waiting() + np.zeros(len(cuts))
        waiting[len(cuts) - len(starts) :] = -np.log(number + 1)
        capital = np.logaddexp(np.logaddexp.reduce(betting, axis=1), waiting)
        self.rows += len(p)
        self._log_betting = betting[-1]
        self.log_capital = float(capital[-1])
        self.log_highest = max(self.log_highest, float(capital.max()))

    @property
    def log10_capital(self) -> float:
        """The decimal logarithm of the capital."""
        return self.log_capital / math.log(10)

    @property
    def log10_highest(self) -> float:
        """Of the highest capital."""
        return self.log_highest / math.log(10)

    def has_reached(self, capital: float) -> bool:
        """Whether the capital ever was that large: of probability at most 1 / capital if all rows
        so far are exchangeable."""
        return self.log_highest >= math.log(capital)

    def _log_waiting(self) -> float:
        return -float(np.log(-(-self.rows // ROWS_BETWEEN_STARTS) + 1))


def log_bets(p: Float64) -> Float64:
    """(N, K) what each bet multiplies its stake by, in natural logarithms."""
    q = 1 - p
    on_betas = np.stack([np.log(p), np.log(q)], axis=1) @ _EXPONENTS - _LOG_BETA
    ends = np.concatenate([p[:, None] <= _WIDTH, q[:, None] <= _WIDTH], axis=1)
    return np.concatenate([on_betas, np.where(ends, _LOG_WON, _LOG_LOST)], axis=1)


def _grown(log_betting: Float64, begun: Float64, gains: Float64) -> Float64:
    """(C, K) the capital of each bet after each of C stretches: what is begun before a stretch
    gains with it, and with all that follow."""
    so_far = np.cumsum(gains, axis=0)
    before = so_far - gains
    deposits = begun[:, None] - before
    deposits[0] = np.logaddexp(deposits[0], log_betting)
    found: Float64 = np.logaddexp.accumulate(deposits, axis=0) + so_far
    return found
