"""What was scored and is yet to be counted: many rows together cost little more than one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from threading import Lock
from typing import Any, Protocol, Self, TypeAlias

import numpy as np

from anomaly.arrays import Int64
from anomaly.detector import Verdicts

ROWS_TOGETHER, VALUES_TOGETHER = 4096, 2**18
"""Rows that are counted together, unless someone looks before; and values in them at most, for they
are kept until then: 2 MiB of numbers."""

ROWS_SEEN, SHARE_SEEN = 256, 1 / 16
"""Of rows that are counted together, all up to so many, or that share, are looked at, drawn at
random and in their order: a stream of many rows fills a window all the same, and what is drawn
without looking at scores is as exchangeable as the whole."""


class Kept(Protocol):
    """What is kept of rows until they are counted."""

    def take(self, rows: Int64, /) -> Self:
        """The given rows, in the given order."""

    @staticmethod
    def together(parts: Sequence[Any], /) -> Any:
        """All rows of all parts, which are of the same kind."""


Pick: TypeAlias = Callable[[Int64], Any]
"""What is kept of some of the rows, by their ascending numbers."""

Count: TypeAlias = Callable[[Verdicts, Pick], None]


class Ledger:
    """Rows of one model, whichever version scored them, until they are counted.

    Threads may add and settle at once; rows are counted in the order in which they were added.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[Count, Verdicts, Kept]] = []
        self._rows = self._values = 0
        self._lock = Lock()

    def add(self, count: Count, verdicts: Verdicts, kept: Kept, columns: int) -> None:
        """Take rows with their verdicts.

        Args:
            count: Is to count them, maybe together with others that it was given for.
            columns: That are kept.
        """
        with self._lock:
            self._entries.append((count, verdicts, kept))
            self._rows += len(verdicts)
            self._values += len(verdicts) * columns
            if self._rows >= ROWS_TOGETHER or self._values >= VALUES_TOGETHER:
                self._settle()

    def settle(self) -> None:
        """Count what was not counted yet."""
        with self._lock:
            self._settle()

    def _settle(self) -> None:
        entries, self._entries, self._rows, self._values = self._entries, [], 0, 0
        for count, some in groupby(entries, itemgetter(0)):
            _, verdicts, kept = zip(*some, strict=True)
            lengths = [len(part) for part in verdicts]
            count(Verdicts.together(verdicts), picking(kept, lengths))


def picking(parts: Sequence[Kept], lengths: Sequence[int]) -> Pick:
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


def drawn(rows: int, rng: np.random.Generator) -> Int64:
    """Which of so many rows are looked at, ascending: one at random from each of as many stretches
    of about equal length, so that they come from all of the stream and follow no rhythm of it."""
    wanted = max(ROWS_SEEN, int(SHARE_SEEN * rows))
    if rows <= wanted:
        return np.arange(rows)
    begins = np.arange(wanted + 1) * rows // wanted
    found: Int64 = begins[:-1] + (rng.random(wanted) * np.diff(begins)).astype(np.int64)
    return found
