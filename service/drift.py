"""Whether the stream is still what the model was fitted on: one watch for each version served."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import monotonic

import numpy as np

from anomaly.arrays import Float64, Int64
from anomaly.calibration import Calibration
from anomaly.martingale import Bag, Martingale
from anomaly.reference import Reference, Tally, Watched
from service.logs import LOGGER
from service.metrics import DriftFigures
from service.scoring.ledger import Look
from service.settings import DriftSettings

log = logging.getLogger(LOGGER)

PARTS = 10
"""Of a window; the oldest leaves as a whole."""

ROWS_WATCHED, SHARE_WATCHED = 256, 1 / 16
"""Of rows that are counted together, all up to so many, or that share, drawn at random, in their
order: a stream of many rows fills the window all the same, and what is drawn without looking at
scores is as exchangeable as the whole."""

SMALL_P = 0.05
"""The calibration ratio is how often p is at most this, as a multiple of this."""


@dataclass
class Part:
    """One part of a window.

    Attributes:
        begun: Seconds, by the clock of the window.
        small: Rows with p <= `SMALL_P`.
    """

    begun: float
    tally: Tally
    small: int = 0


class Window:
    """The last rows, in bounded memory: at most so many, and none that is older.

    Args:
        now: Seconds on any clock that only goes forward.
    """

    def __init__(
        self, reference: Reference, rows: int, seconds: float, now: Callable[[], float] = monotonic
    ) -> None:
        self._reference = reference
        self._part_rows = rows / PARTS
        self._seconds = seconds
        self._now = now
        self._parts: deque[Part] = deque(maxlen=PARTS)

    def add(self, rows: Watched, p_values: Float64) -> None:
        """Count rows with their p-values."""
        if not self._parts or self._is_full(self._parts[-1]):
            self._parts.append(Part(self._now(), self._reference.nothing))
        part = self._parts[-1]
        part.tally += self._reference.tally(rows)
        part.small += int(np.count_nonzero(p_values <= SMALL_P))

    def total(self) -> tuple[Tally, int]:
        """What is in the window, and how many of its rows have p <= `SMALL_P`."""
        while self._parts and self._now() - self._parts[0].begun > self._seconds:
            self._parts.popleft()
        tallies = [part.tally for part in self._parts]
        return sum(tallies, self._reference.nothing), sum(part.small for part in self._parts)

    def _is_full(self, part: Part) -> bool:
        is_old = self._now() - part.begun > self._seconds / PARTS
        return part.tally.rows >= self._part_rows or is_old


class DriftWatch:
    """Counts what one version scores, and bets against it being exchangeable.

    Threads may add and look at once.

    Args:
        seed: Of what breaks ties between scores.
        now: Seconds on any clock that only goes forward.
    """

    def __init__(
        self,
        reference: Reference,
        calibration: Calibration,
        settings: DriftSettings,
        seed: int,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._reference = reference
        self._settings = settings
        self._window = Window(reference, settings.window_rows, settings.window_seconds, now)
        self._bag: Bag | None = None
        # The highest score of a group is not exchangeable with the score of a row.
        if calibration.unit != "group":
            self._bag = Bag(np.array(reference.score_edges), calibration.scores, seed)
        self._seed = seed
        self._rng = np.random.default_rng([seed, 1])
        self._martingale = Martingale()
        self._lock = Lock()

    def rows_scored(self, look: Look, scores: Float64, p_values: Float64) -> None:
        """Count rows (N,), or some of them, in the order in which they were scored."""
        with self._lock:
            rows = drawn(len(scores), self._rng)
            self._window.add(look(rows), p_values[rows])
            if self._bag is not None:
                self._bet(self._bag.ranks(scores[rows]))

    def figures(self) -> DriftFigures:
        """What there is to see now."""
        with self._lock:
            tally, small = self._window.total()
            enough = tally.rows >= self._settings.min_rows
            drifts = self._reference.drifts(tally) if enough else []
            threshold, can_rank = self._settings.alarm_threshold, self._bag is not None
            return DriftFigures(
                window_rows=tally.rows,
                psi={drift.feature: drift.psi for drift in drifts},
                wasserstein={
                    drift.feature: drift.wasserstein
                    for drift in drifts
                    if drift.wasserstein is not None
                },
                calibration_ratio=small / tally.rows / SMALL_P if enough else None,
                log10_martingale=self._martingale.log10_capital if can_rank else None,
                alarm=self._martingale.has_reached(threshold) if can_rank else None,
            )

    def _bet(self, ranks: Float64) -> None:
        """Go on betting, and say it once when that raises the alarm."""
        martingale, threshold = self._martingale, self._settings.alarm_threshold
        was_quiet = not martingale.has_reached(threshold)
        martingale.bet(ranks)
        if was_quiet and martingale.has_reached(threshold):
            log.warning(
                "the rows are no longer exchangeable with the calibration rows: the capital of a "
                "bettor against it is 10^%.1f after %d rows (ties broken by seed %d)",
                martingale.log10_highest,
                martingale.rows,
                self._seed,
            )


def drawn(rows: int, rng: np.random.Generator) -> Int64:
    """Which of so many rows are watched, ascending: one at random from each of as many stretches
    of about equal length, so that they come from all of the stream and follow no rhythm of it."""
    wanted = max(ROWS_WATCHED, int(SHARE_WATCHED * rows))
    if rows <= wanted:
        return np.arange(rows)
    begins = np.arange(wanted + 1) * rows // wanted
    found: Int64 = begins[:-1] + (rng.random(wanted) * np.diff(begins)).astype(np.int64)
    return found
