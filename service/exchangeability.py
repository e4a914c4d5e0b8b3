"""The scores that one version gives, watched for the end of what its false-alarm rate assumes."""

from __future__ import annotations

import logging
from collections import deque
from secrets import randbits
from threading import Lock

import numpy as np

from anomaly.arrays import Float64
from anomaly.calibration import Calibration
from anomaly.exchangeability import ConformalMartingale, Start
from service.logs import LOGGER

log = logging.getLogger(LOGGER)

MOST_PENDING_ROWS = 1024
"""Scores are kept as they come and ranked together, which takes half a microsecond each."""


class Stream:
    """The scores of one version in the order in which they were given.

    A version that is served again after a rollback goes on where it was; a new version, and a
    restart, begin anew.

    Args:
        threshold: Of the capital, that raises the alarm: so often at most, as 1 / threshold, does
            it come without a change.
        seed: Of the ties; None draws one.
    """

    def __init__(self, calibration: Calibration, threshold: float, seed: int | None = None) -> None:
        self.seed = randbits(63) if seed is None else seed
        rng = np.random.default_rng(self.seed)
        self._martingale = ConformalMartingale(Start.of(calibration.scores, rng), rng)
        self._threshold_log10 = float(np.log10(threshold))
        self._pending: deque[Float64] = deque()
        self._pending_rows = 0
        self._lock = Lock()

    def add(self, scores: Float64) -> None:
        """Keep (N,) scores; from one thread at a time."""
        self._pending.append(scores)
        self._pending_rows += len(scores)
        if self._pending_rows >= MOST_PENDING_ROWS:
            self._settle()

    @property
    def log10_capital(self) -> float:
        """Of the bettor who began with 1; asked at every scrape."""
        self._settle()
        return self._martingale.log10

    @property
    def has_alarmed(self) -> bool:
        """Whether the capital ever reached the threshold; it stays so."""
        self._settle()
        return self._martingale.highest_log10 >= self._threshold_log10

    def _settle(self) -> None:
        with self._lock:
            taken = [self._pending.popleft() for _ in range(len(self._pending))]
            self._pending_rows = 0
            if not taken:
                return
            was_quiet = self._martingale.highest_log10 < self._threshold_log10
            self._martingale.update(np.concatenate(taken))
            if was_quiet and self._martingale.highest_log10 >= self._threshold_log10:
                log.warning(
                    "the scores are no longer exchangeable with the calibration scores (capital "
                    "10^%.1f after %d rows, seed %d): the false-alarm rate may not hold",
                    self._martingale.highest_log10,
                    self._martingale.rows,
                    self.seed,
                )


def stream_of(calibration: Calibration, threshold: float) -> Stream | None:
    """None where each calibration score is of a group, and rows are not compared with those."""
    return None if calibration.unit == "group" else Stream(calibration, threshold)
