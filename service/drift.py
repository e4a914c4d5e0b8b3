"""Whether the stream is still what the model was fitted on: one watch for each version served."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from types import MappingProxyType

import numpy as np

from anomaly.arrays import Float64, Int64
from anomaly.calibration import SMALL_P, Calibration
from anomaly.martingale import Bag, Martingale
from anomaly.reference import Reference, Tally
from service.logs import LOGGER
from service.metrics import DriftFigures
from service.seen import Seen
from service.settings import DriftSettings

log = logging.getLogger(LOGGER)

PARTS = 10
"""Of a window; the oldest leaves as a whole."""


@dataclass(frozen=True)
class Totals:
    """What was counted on some rows.

    Attributes:
        small: Rows with p <= `SMALL_P`.
        large: (C,) rows with a large error in each column.
    """

    tally: Tally
    small: int
    large: Int64

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.tally + other.tally, self.small + other.small, self.large + other.large)


@dataclass
class Part:
    """One part of a window.

    Attributes:
        begun: Seconds, by the clock of the window.
    """

    begun: float
    totals: Totals


class Window:
    """The last rows, in bounded memory: at most so many, and none that is older.

    Args:
        explained: C, how many columns errors are told of.
        now: Seconds on any clock that only goes forward.
    """

    def __init__(
        self,
        reference: Reference,
        explained: int,
        rows: int,
        seconds: float,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._reference = reference
        self._nothing = Totals(reference.nothing, 0, np.zeros(explained, np.int64))
        self._part_rows = rows / PARTS
        self._seconds = seconds
        self._now = now
        self._parts: deque[Part] = deque(maxlen=PARTS)

    def add(self, seen: Seen, p_values: Float64) -> None:
        """Count rows with their p-values."""
        if not self._parts or self._is_full(self._parts[-1]):
            self._parts.append(Part(self._now(), self._nothing))
        small = int(np.count_nonzero(p_values <= SMALL_P))
        tally = self._reference.tally(seen.watched)
        self._parts[-1].totals += Totals(tally, small, seen.large.sum(axis=0))

    def total(self) -> Totals:
        """What is in the window."""
        while self._parts and self._now() - self._parts[0].begun > self._seconds:
            self._parts.popleft()
        return sum((part.totals for part in self._parts), self._nothing)

    def _is_full(self, part: Part) -> bool:
        is_old = self._now() - part.begun > self._seconds / PARTS
        return part.totals.tally.rows >= self._part_rows or is_old


class DriftWatch:
    """Counts what one version scores, and bets against it being exchangeable.

    Threads may add and look at once.

    Args:
        explained: Names of the columns that `Seen.large` is of.
        seed: Of what breaks ties between scores.
        names: What is watched, for the log: `model` and `version`.
        now: Seconds on any clock that only goes forward.
    """

    def __init__(
        self,
        reference: Reference,
        calibration: Calibration,
        explained: Sequence[str],
        settings: DriftSettings,
        seed: int,
        names: Mapping[str, str] = MappingProxyType({}),
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._reference = reference
        self._settings = settings
        self._explained = explained
        self._window = Window(
            reference, len(explained), settings.window_rows, settings.window_seconds, now
        )
        self._bag: Bag | None = None
        # The highest score of a group is not exchangeable with the score of a row.
        if calibration.unit != "group":
            self._bag = Bag(np.array(reference.score_edges), calibration.scores, seed)
        self._seed = seed
        self._names = names
        self._martingale = Martingale()
        self._lock = Lock()

    def rows_seen(self, seen: Seen, scores: Float64, p_values: Float64) -> None:
        """Count rows (N,), in the order in which they were scored."""
        with self._lock:
            self._window.add(seen, p_values)
            if self._bag is not None:
                self._bet(self._bag.ranks(scores))

    @property
    def lacking_rows(self) -> int:
        """That are yet to come before the window is compared."""
        with self._lock:
            return max(0, self._settings.min_rows - self._window.total().tally.rows)

    def figures(self) -> DriftFigures:
        """What there is to see now."""
        with self._lock:
            total = self._window.total()
            rows = total.tally.rows
            enough = rows >= self._settings.min_rows
            drifts = self._reference.drifts(total.tally) if enough else []
            large = zip(self._explained, total.large.tolist(), strict=True) if enough else ()
            threshold, can_rank = self._settings.alarm_threshold, self._bag is not None
            return DriftFigures(
                window_rows=rows,
                psi={drift.feature: drift.psi for drift in drifts},
                wasserstein={
                    drift.feature: drift.wasserstein
                    for drift in drifts
                    if drift.wasserstein is not None
                },
                error_ratio={feature: count / rows / SMALL_P for feature, count in large},
                calibration_ratio=total.small / rows / SMALL_P if enough else None,
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
                "bettor against it is 10^%.1f after %d drawn rows (ties broken by seed %d)",
                martingale.log10_highest,
                martingale.rows,
                self._seed,
                extra=self._names,
            )
