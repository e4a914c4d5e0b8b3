"""Collectors for Prometheus that cost little: values are kept as they come and counted together.

`prometheus_client` counts one value a call, and takes microseconds for it: more than a small model
takes for a row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Generic, TypeAlias, TypeVar

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, RestrictedRegistry

from anomaly.arrays import Float64

MOST_PENDING = 4096
"""Values that wait to be counted, of each series."""

One = TypeVar("One")

Reading: TypeAlias = tuple[str, tuple[str, ...], float]
"""Name of a gauge, values of its labels besides `model`, and its value."""


class SettlingRegistry(CollectorRegistry):
    """A registry that first has counted what waits to be."""

    def __init__(self) -> None:
        super().__init__()
        self._settle: list[Callable[[], None]] = []

    def settle_first(self, settle: Callable[[], None]) -> None:
        """Call this before every scrape."""
        self._settle.append(settle)

    def collect(self) -> Iterable[Metric]:
        """What all collectors see."""
        self._settle_all()
        return super().collect()

    def restricted_registry(self, names: Iterable[str]) -> RestrictedRegistry:
        """Of those names only."""
        self._settle_all()
        return super().restricted_registry(names)

    def _settle_all(self) -> None:
        for settle in self._settle:
            settle()


class Family(Collector, Generic[One]):
    """Series of one name, told apart by the values of their labels.

    Args:
        labels: Their names; without any there is one series, from the start.
        make: Makes a series.
    """

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], make: Callable[[], One]
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._make = make
        self._series: dict[tuple[str, ...], One] = {}
        if not labels:
            self.labels()

    def labels(self, *values: str) -> One:
        """The series with these values of the labels, in their order; it is there from now on."""
        return self._series.get(values) or self._series.setdefault(values, self._make())

    def _known(self) -> list[tuple[tuple[str, ...], One]]:
        return list(self._series.items())


class Distribution(Family["Histogram"]):
    """Histograms with the same bounds.

    Where a bound is negative, a scrape sees no sum and no count: a sum that may fall is no counter,
    and OpenMetrics forbids both. The count is that of the bucket `+Inf`.

    Args:
        bounds: A value equal to a bound belongs below it.
    """

    def __init__(
        self, name: str, documentation: str, bounds: Sequence[float], labels: Sequence[str] = ()
    ) -> None:
        array = np.array(bounds, dtype=np.float64)
        super().__init__(name, documentation, labels, lambda: Histogram(array))
        self._names = [*(f"{bound:g}" for bound in bounds), "+Inf"]

    def collect(self) -> Iterable[Metric]:
        """The family, as a scrape sees it."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, histogram in self._known():
            counts, total = histogram.settled()
            buckets = list(zip(self._names, counts, strict=True))
            family.add_metric(values, buckets, total)
        yield family


class Histogram:
    """What one histogram has counted, and what it has yet to count."""

    def __init__(self, bounds: Float64) -> None:
        self._bounds = bounds
        self._pending: deque[float] = deque()
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self._total = 0.0
        self._lock = Lock()

    def one(self, value: float) -> None:
        """Count a value, before the next scrape or sooner."""
        self._pending.append(value)
        if len(self._pending) >= MOST_PENDING:
            self.settled()

    def many(self, values: Float64) -> None:
        """Count N values."""
        with self._lock:
            self._add(values)

    def settled(self) -> tuple[list[int], float]:
        """For each bound how many values lie at or below it, for all of them, and their sum; others
        may count meanwhile."""
        with self._lock:
            taken = [self._pending.popleft() for _ in range(len(self._pending))]
            if taken:
                self._add(np.array(taken))
            return self._counts.cumsum().tolist(), self._total

    def _add(self, values: Float64) -> None:
        bins = np.searchsorted(self._bounds, values, side="left")
        self._counts += np.bincount(bins, minlength=len(self._counts))
        self._total += float(values.sum())


class Sums(Family["Sum"]):
    """Sums of values of either sign, as two counters: what lies above 0, and what lies below it.

    A single sum might fall, and that is no counter: `rate` would take it for a restart, and
    OpenMetrics forbids it. The sum is the difference of the two.
    """

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, documentation, labels, Sum)

    def collect(self) -> Iterable[Metric]:
        """The family, as a scrape sees it."""
        family = CounterMetricFamily(
            self._name, self._documentation, labels=(*self._labels, "sign")
        )
        for values, both in self._known():
            for sign, total in zip(("positive", "negative"), both.state, strict=True):
                family.add_metric((*values, sign), total)
        yield family


class Sum:
    """The sum of the values above 0, and that of the sizes of those below.

    Attributes:
        state: Both, as of one moment.
    """

    def __init__(self) -> None:
        self.state = (0.0, 0.0)
        self._lock = Lock()

    def many(self, values: Float64) -> None:
        """Add N values."""
        # One that is not finite would hide all others for ever.
        values = values[np.isfinite(values)]
        # Each by itself: the difference of two sums is rounded, and may fall.
        above, below = np.maximum(values, 0.0).sum(), np.maximum(-values, 0.0).sum()
        with self._lock:
            positive, negative = self.state
            self.state = (positive + float(above), negative + float(below))


class Readings(Collector):
    """Gauges of models that are read when they are scraped, each model's all at once.

    Args:
        gauges: By name, what is told of it and the labels besides `model`.
    """

    def __init__(self, gauges: Mapping[str, tuple[str, Sequence[str]]]) -> None:
        self._gauges = gauges
        self._read: dict[str, Callable[[], Iterable[Reading]]] = {}

    def read_from(self, model: str, read: Callable[[], Iterable[Reading]]) -> None:
        """What is asked for the gauges of that model from now on."""
        self._read[model] = read

    def collect(self) -> Iterable[Metric]:
        """The families, as a scrape sees them."""
        families = {
            name: GaugeMetricFamily(name, text, labels=("model", *labels))
            for name, (text, labels) in self._gauges.items()
        }
        for model, read in list(self._read.items()):
            for name, labels, value in read():
                families[name].add_metric((model, *labels), value)
        return families.values()
