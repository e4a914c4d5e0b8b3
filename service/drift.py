"""Whether the stream is still what the model was fitted on: one watch for each version served."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import monotonic

import numpy as np

from anomaly.arrays import Float64
from anomaly.calibration import Calibration
from anomaly.martingale import Bag, Martingale
from anomaly.reference import Reference, Tally, Watched
from service.logs import LOGGER
from service.metrics import DriftFigures
from service.settings import DriftSettings

log = logging.getLogger(LOGGER)

PARTS = 10
"""Of a window; the oldest leaves as a whole."""

ROWS_TOGETHER = 1024
"""Rows that are counted together: one by one they would cost more than they take to score."""

ROWS_WATCHED = 256
"""Of those at most, drawn at random, in their order: a stream of many rows fills the window all the
same, and what is drawn without looking at scores is as exchangeable as the whole."""

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

    Rows wait until there are `ROWS_TOGETHER` of them, or someone looks; then some or all are
    counted and ranked. Threads may add and look at once.

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
        self._pending: list[tuple[Callable[[], Watched], Float64, Float64]] = []
        self._pending_rows = 0
        self._lock = Lock()

    def rows_scored(self, rows: Callable[[], Watched], scores: Float64, p_values: Float64) -> None:
        """Take rows (N,), in the order in which they were scored.

        Args:
            rows: Tells what they look like, when they are counted.
        """
        with self._lock:
            self._pending.append((rows, scores, p_values))
            self._pending_rows += len(scores)
            if self._pending_rows >= ROWS_TOGETHER:
                self._settle()

    def figures(self) -> DriftFigures:
        """What there is to see now."""
        with self._lock:
            self._settle()
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

    def _settle(self) -> None:
        if not self._pending:
            return
        parts, self._pending, self._pending_rows = self._pending, [], 0
        scores = np.concatenate([scores for _, scores, _ in parts])
        p_values = np.concatenate([p_values for _, _, p_values in parts])
        watched = Watched.together([rows() for rows, _, _ in parts])
        if len(scores) > ROWS_WATCHED:
            some = np.sort(self._rng.permutation(len(scores))[:ROWS_WATCHED])
            watched, scores, p_values = watched.take(some), scores[some], p_values[some]
        self._window.add(watched, p_values)
        if self._bag is not None:
            self._bet(self._bag.ranks(scores))

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
