"""What was scored and is yet to be counted: many rows together cost little more than one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from threading import Lock
from typing import TypeAlias

import numpy as np

from anomaly.arrays import Float64, Int64
from anomaly.baseline import Parts
from anomaly.data.records import Records
from anomaly.detector import Detector, Verdicts
from anomaly.reference import Watched
from anomaly.scores import ScoreTerms

ROWS_TOGETHER, VALUES_TOGETHER = 4096, 2**18
"""Rows that are counted together, unless someone looks before; and values in them at most, for they
are kept until then: 2 MiB of numbers."""

ROWS_SEEN, SHARE_SEEN = 256, 1 / 16
"""Of rows that are counted together, all up to so many, or that share, are looked at, drawn at
random and in their order: a stream of many rows fills a window all the same, and what is drawn
without looking at scores is as exchangeable as the whole."""


@dataclass(frozen=True)
class Seen:
    """What N rows look like, beyond their scores.

    Attributes:
        excess: (N, C) see `Baseline.relative_excess`; no columns where nothing is explained.
        ranks: See `Baseline.ranks`.
    """

    watched: Watched
    excess: Float64
    ranks: Parts | None = None

    def __len__(self) -> int:
        return len(self.watched)

    @staticmethod
    def of_table(detector: Detector, records: Records, terms: ScoreTerms) -> Seen:
        """Rows of a table, with the terms of their scores."""
        return Seen(
            detector.watched(records), detector.error_excess(terms), detector.part_ranks(terms)
        )

    @staticmethod
    def of(watched: Watched) -> Seen:
        """Rows that are not explained by columns, such as images."""
        return Seen(watched, np.zeros((len(watched), 0)))

    @staticmethod
    def together(parts: Sequence[Seen]) -> Seen:
        """The rows of all parts, which one detector has scored."""
        ranks = [part.ranks for part in parts if part.ranks is not None]
        return Seen(
            Watched.together([part.watched for part in parts]),
            np.concatenate([part.excess for part in parts]),
            Parts.together(ranks) if ranks else None,
        )


Look: TypeAlias = Callable[[Int64], Seen]
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

    def look(rows: Int64) -> Seen:
        owners = np.searchsorted(ends, rows, side="right")
        within = rows - starts[owners]
        begins = np.flatnonzero(np.diff(owners, prepend=-1))
        cuts = zip(owners[begins].tolist(), begins.tolist(), [*begins[1:], len(rows)], strict=True)
        return Seen.together([looks[owner](within[begin:end]) for owner, begin, end in cuts])

    return look


def drawn(rows: int, rng: np.random.Generator) -> Int64:
    """Which of so many rows are looked at, ascending: one at random from each of as many stretches
    of about equal length, so that they come from all of the stream and follow no rhythm of it."""
    wanted = max(ROWS_SEEN, int(SHARE_SEEN * rows))
    if rows <= wanted:
        return np.arange(rows)
    begins = np.arange(wanted + 1) * rows // wanted
    found: Int64 = begins[:-1] + (rng.random(wanted) * np.diff(begins)).astype(np.int64)
    return found
