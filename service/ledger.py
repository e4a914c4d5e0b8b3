"""What was scored and is yet to be counted: many rows together cost little more than one."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from threading import Lock
from typing import Any, Protocol, Self, TypeAlias

import numpy as np

from anomaly.arrays import Bool, Float64, Int64
from anomaly.detector import Verdicts
from anomaly.preprocessing.preprocessor import WarningCode
from service.logs import LOGGER

log = logging.getLogger(LOGGER)

ROWS_TOGETHER, BATCHES_TOGETHER, BYTES_TOGETHER = 8192, 512, 2**22
"""At most so many are counted together: who adds the last of them waits until all are, and they are
kept until then."""

ROWS_SEEN, SHARE_SEEN = 256, 1 / 32
"""Of rows that are counted together, all up to so many, or that share, are looked at, drawn at
random and in their order: a stream of many rows fills a window all the same, and what is drawn
without looking at scores is as exchangeable as the whole."""


class Kept(Protocol):
    """What is kept of rows until they are counted."""

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""

    def take(self, rows: Int64, /) -> Self:
        """The given rows, in the given order."""

    @staticmethod
    def together(parts: Sequence[Any], /) -> Any:
        """All rows of all parts, of which there is at least one, and which are of the same kind."""


@dataclass(frozen=True)
class Scored:
    """N rows, in the order in which they were scored.

    Attributes:
        scores, p_values, is_anomaly: (N,) as in `Verdicts`, at the model's own alpha.
        remarks: How many values were remarked, by what and column.
        pick: What was kept of some of the rows, by their ascending numbers.
    """

    scores: Float64
    p_values: Float64
    is_anomaly: Bool
    remarks: Mapping[tuple[WarningCode, str], int]
    pick: Callable[[Int64], Any]

    def __len__(self) -> int:
        return len(self.scores)


Count: TypeAlias = Callable[[Scored], None]


@dataclass(frozen=True)
class _Batch:
    count: Count
    verdicts: Verdicts
    kept: Kept


class Ledger:
    """Rows of one model, whichever version scored them, until they are counted.

    Threads may add and settle at once; rows are counted in the order in which they were added.
    """

    def __init__(self) -> None:
        self._batches: list[_Batch] = []
        self._rows = self._bytes = 0
        self._lock = Lock()
        self._counting = Lock()

    def add(self, count: Count, verdicts: Verdicts, kept: Kept) -> None:
        """Take rows with their verdicts.

        Args:
            count: Is to count them, maybe together with others that it was given for. If it fails,
                that is logged, and those rows are not counted.
        """
        if not len(verdicts):
            return
        with self._lock:
            self._batches.append(_Batch(count, verdicts, kept))
            self._rows += len(verdicts)
            self._bytes += kept.nbytes
            is_full = (
                self._rows >= ROWS_TOGETHER
                or len(self._batches) >= BATCHES_TOGETHER
                or self._bytes >= BYTES_TOGETHER
            )
        # Who adds does not wait for someone who counts: what is here is counted the next time.
        if is_full and self._counting.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._counting.release()

    def settle(self) -> None:
        """Count what was not counted yet."""
        with self._counting:
            self._settle()

    def _settle(self) -> None:
        with self._lock:
            batches, self._batches, self._rows, self._bytes = self._batches, [], 0, 0
        for count, some in groupby(batches, attrgetter("count")):
            try:
                count(together(list(some)))
            except Exception:
                # Their answers are right, and others are to be counted all the same.
                log.exception("rows that were scored could not be counted")


def together(batches: Sequence[_Batch]) -> Scored:
    """The rows of all batches."""
    verdicts = [batch.verdicts for batch in batches]
    remarks: Counter[tuple[WarningCode, str]] = Counter()
    for part in verdicts:
        for warning in part.warnings:
            remarks[warning.code, warning.column] += len(warning.rows)
    return Scored(
        np.concatenate([part.scores for part in verdicts]),
        np.concatenate([part.p_values for part in verdicts]),
        np.concatenate([part.is_anomaly for part in verdicts]),
        remarks,
        picking([batch.kept for batch in batches], [len(part) for part in verdicts]),
    )


def picking(parts: Sequence[Kept], lengths: Sequence[int]) -> Callable[[Int64], Any]:
    """Picks from the rows of all parts.

    Args:
        lengths: How many rows each part has.
    """
    if len(parts) == 1:
        return parts[0].take
    ends = np.cumsum(lengths)
    starts = ends - lengths

    def pick(rows: Int64) -> Any:
        owners = np.searchsorted(ends, rows, side="right")
        within = rows - starts[owners]
        begins = np.flatnonzero(np.diff(owners, prepend=-1))
        cuts = zip(owners[begins].tolist(), begins.tolist(), [*begins[1:], len(rows)], strict=True)
        taken = [parts[owner].take(within[begin:end]) for owner, begin, end in cuts]
        return type(taken[0]).together(taken)

    return pick


def drawn(rows: int, rng: np.random.Generator, at_least: int = 0) -> Int64:
    """Which of so many rows are looked at, ascending: one at random from each of as many stretches
    of about equal length, so that they come from all of the stream and follow no rhythm of it.

    Args:
        at_least: So many, if there are.
    """
    wanted = max(ROWS_SEEN, int(SHARE_SEEN * rows), at_least)
    if rows <= wanted:
        return np.arange(rows)
    begins = np.arange(wanted + 1) * rows // wanted
    found: Int64 = begins[:-1] + (rng.random(wanted) * np.diff(begins)).astype(np.int64)
    return found
