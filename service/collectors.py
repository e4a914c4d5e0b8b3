"""Collectors for Prometheus that cost little: values are kept as they come and counted together.

`prometheus_client` counts one value a call, and takes microseconds for it: more than a small model
takes for a row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from threading import Lock

import numpy as np
from prometheus_client.core import HistogramMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from anomaly.arrays import Float64

MOST_PENDING = 4096
"""Values that wait to be counted, of each label."""


class Distribution(Collector):
    """A histogram, or one for each value of a label.

    Args:
        bounds: A value equal to a bound belongs below it.
        label: The name of the label; without it there is one histogram.
        known: Values of the label that are there from the start.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        bounds: Sequence[float],
        label: str | None = None,
        known: Sequence[str] = (),
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self._bounds = np.array(bounds, dtype=np.float64)
        self._names = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        self._parts: dict[str, _Counts] = {}
        for value in known if label else ("",):
            self._part(value)

    def one(self, value: float, label: str = "") -> None:
        """Count a value, before the next scrape or sooner."""
        part = self._parts.get(label) or self._part(label)
        part.pending.append(value)
        if len(part.pending) >= MOST_PENDING:
            part.settle(self._bounds)

    def many(self, values: Float64, label: str = "") -> None:
        """Count N values."""
        (self._parts.get(label) or self._part(label)).add(self._bounds, values)

    def collect(self) -> Iterable[Metric]:
        """The family, as a scrape sees it."""
        labels = None if self._label is None else [self._label]
        family = HistogramMetricFamily(self._name, self._documentation, labels=labels)
        for value, part in list(self._parts.items()):
            part.settle(self._bounds)
            counts, total = part.counts.cumsum().tolist(), part.total
            buckets = list(zip(self._names, counts, strict=True))
            family.add_metric([] if labels is None else [value], buckets, total)
        yield family

    def _part(self, label: str) -> _Counts:
        return self._parts.setdefault(label, _Counts(len(self._bounds) + 1))


class _Counts:
    """What one histogram has counted, and what it has yet to count."""

    def __init__(self, bins: int) -> None:
        self.pending: deque[float] = deque()
        self.counts = np.zeros(bins, dtype=np.int64)
        self.total = 0.0
        self._lock = Lock()

    def settle(self, bounds: Float64) -> None:
        """Count what is pending; others may add to it meanwhile."""
        with self._lock:
            taken = [self.pending.popleft() for _ in range(len(self.pending))]
            if taken:
                self._add(bounds, np.array(taken))

    def add(self, bounds: Float64, values: Float64) -> None:
        """Count these now."""
        with self._lock:
            self._add(bounds, values)

    def _add(self, bounds: Float64, values: Float64) -> None:
        bins = np.searchsorted(bounds, values, side="left")
        self.counts += np.bincount(bins, minlength=len(self.counts))
        self.total += float(values.sum())


class Summary(Collector):
    """Sum and count of values."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name = name
        self._documentation = documentation
        self._state = (0, 0.0)
        self._lock = Lock()

    def many(self, values: Float64) -> None:
        """Count N values."""
        with self._lock:
            count, total = self._state
            self._state = (count + len(values), total + float(values.sum()))

    def collect(self) -> Iterable[Metric]:
        """The family, as a scrape sees it."""
        count, total = self._state
        yield SummaryMetricFamily(self._name, self._documentation, count, total)
