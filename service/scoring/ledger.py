"""What was scored and is yet to be counted: many rows together cost little more than one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from threading import Lock
from typing import TypeAlias

import numpy as np

from anomaly.arrays import Int64
from anomaly.detector import Verdicts
from anomaly.reference import Watched

ROWS_TOGETHER, VALUES_TOGETHER = 4096, 2**18
"""Rows that are counted together, unless someone looks before; and values in them at most, for they
are kept until then: 2 MiB of numbers."""

Look: TypeAlias = Callable[[Int64], Watched]
"""What some of the rows look like, by their ascending numbers; asked for when they are counted."""

Count: TypeAlias = Callable[[Verdicts, Look], None]


class Ledger:
    """Rows of one model, whichever version scored them, until they are counted.

    Threads may add and settle at once; rows are counted in the order in which they were added.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[Count, Verdicts, Look]] = []
        self._rows = self._values = 0
        self._lock = Lock()

    def add(self, count: Count, verdicts: Verdicts, look: Look, columns: int) -> None:
        """Take rows with their verdicts.

        Args:
            count: Is to count them, maybe together with others that it was given for.
            columns: That are looked at.
        """
        with self._lock:
            self._entries.append((count, verdicts, look))
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
            _, verdicts, looks = zip(*some, strict=True)
            lengths = [len(part) for part in verdicts]
            count(Verdicts.together(verdicts), looks_together(looks, lengths))


def looks_together(looks: Sequence[Look], lengths: Sequence[int]) -> Look:
    """A look at the rows of all parts.

    Args:
        lengths: How many rows each part has.
    """
    if len(looks) == 1:
        return looks[0]
    ends = np.cumsum(lengths)
    starts = ends - lengths

    def look(rows: Int64) -> Watched:
        owners = np.searchsorted(ends, rows, side="right")
        within = rows - starts[owners]
        begins = np.flatnonzero(np.diff(owners, prepend=-1))
        cuts = zip(owners[begins].tolist(), begins.tolist(), [*begins[1:], len(rows)], strict=True)
        return Watched.together([looks[owner](within[begin:end]) for owner, begin, end in cuts])

    return look
