"""What answering takes, whatever is scored: the queue, the metrics, the model's name."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from anomaly.detector import Verdicts
from anomaly.errors import ModelNotFound
from service.batcher import Batcher, BatchReport, Overloaded
from service.detectors import Served
from service.drift import DriftWatch
from service.ledger import Kept, Ledger, Scored, drawn
from service.lifecycle import Lifecycle
from service.logs import REQUEST
from service.metrics import Metrics, ModelMetrics
from service.scoring.admission import Admission
from service.scoring.memory import Memory
from service.scoring.shadow import Rows, Shadow
from service.seen import Seen
from service.settings import Settings
from service.wire.answer import ModelName

if TYPE_CHECKING:
    from service.tracing.spans import Trace, Tracing

Job = TypeVar("Job")
Result = TypeVar("Result")

MOST_WORKERS = 4
"""Threads that read bodies and write answers. Reading the largest image may take 300 MB; and where
there are more threads than cores, they only keep the event loop waiting."""


class Common:
    """What all models of the process share.

    Attributes:
        tracing: Where the spans of requests go; None if nobody asks for any.
        memory: For the bodies of requests, and what is made of them.
        workers: Read bodies and write answers where the event loop should not wait for it.
        draining: Set when the service is about to stop.
    """

    def __init__(self, settings: Settings, tracing: Tracing | None = None) -> None:
        self.settings = settings
        self.tracing = tracing
        self.metrics = Metrics()
        self.memory = Memory(settings.queue.max_bytes)
        threads = min(len(os.sched_getaffinity(0)), MOST_WORKERS)
        self.workers = ThreadPoolExecutor(threads, thread_name_prefix="bodies")
        self.draining = False
        self._hosted: dict[str, Hosted] = {}

    def hosted(self, model: str) -> Hosted:
        """What the versions of that model share, the same at every call."""
        found = self._hosted.get(model)
        if found is None:
            found = self._hosted.setdefault(model, Hosted(self.metrics.of(model)))
            self.metrics.registry.settle_first(found.ledger.settle)
        return found

    def named(self, model: str) -> Scorer[Any, Any]:
        """Of the model that a caller names, the version that is served now.

        Raises:
            ModelNotFound: none of that name is served; the name is not repeated.
        """
        found = self._hosted.get(model)
        if found is None or found.scorer is None:
            raise ModelNotFound(
                "no model of that name is served here. GET /v1/models lists those that are."
            )
        return found.scorer

    @property
    def serving(self) -> list[Scorer[Any, Any]]:
        """Of each model the version that is served now; the first one is the default."""
        return [of.scorer for of in list(self._hosted.values()) if of.scorer is not None]

    @property
    def is_ready(self) -> bool:
        """Whether every model would gladly take another request."""
        return not self.draining and all(scorer.is_ready for scorer in self.serving)


class Hosted:
    """What the versions of one model share.

    Attributes:
        ledger: What was scored and is yet to be counted.
        scorer: Of the version that is served; None before there is one.
        lifecycle: What administrators can do; None where nothing can be done.
        shadow: Of a challenger; None if none is shown what is scored.
    """

    def __init__(self, metrics: ModelMetrics) -> None:
        self.metrics = metrics
        self.ledger = Ledger()
        self.shadow: Shadow | None = None
        self.scorer: Scorer[Any, Any] | None = None
        self.lifecycle: Lifecycle | None = None


class Scorer(Generic[Job, Result]):
    """Scores the jobs of all callers with one detector.

    Args:
        compute: Jobs to results, in the same order.
        see: What was kept of rows to what is seen of them.
        max_rows, max_batch_rows, quick_rows: See `Batcher`.
        features: Names that may be labels of metrics.
        explained: Names of the columns that scores are taken apart by.
        usually_missing: By feature, the share of the fit rows that lacked a value.

    Attributes:
        admission: Asked before a body is read, and before it is parsed.
        model: Its name, as every answer carries it.
    """

    def __init__(
        self,
        served: Served,
        common: Common,
        compute: Callable[[Sequence[Job]], Sequence[Result]],
        see: Callable[[Any], Seen],
        *,
        max_rows: int,
        max_batch_rows: int,
        features: Sequence[str] = (),
        explained: Sequence[str] = (),
        usually_missing: Mapping[str, float] = MappingProxyType({}),
        quick_rows: int = 0,
    ) -> None:
        self.served = served
        self.common = common
        self.settings = common.settings
        self.hosted = common.hosted(served.name)
        self.metrics = self.hosted.metrics
        self.memory = common.memory
        self.batcher: Batcher[Job, Result] = Batcher(
            compute,
            max_rows,
            max_batch_rows,
            self.metrics.batch_scored if common.tracing is None else self._batch_traced,
            served.unit,
            quick_rows,
            self.settings.queue.max_seconds,
        )
        self.admission = Admission(self._check)
        self.model = ModelName(
            served.name, served.version, served.digest, served.alias, served.run_id
        )
        self._see = see
        self._features = features
        self._usually_missing = usually_missing
        self._max_rows = max_rows
        drift = self.settings.drift
        seed = secrets.randbits(32) if drift.seed is None else drift.seed
        detector = served.detector
        # A new window and a new bag, whatever the version before has seen.
        names = {"model": served.name, "version": served.version}
        self._drift = DriftWatch(
            detector.reference, detector.calibration, explained, drift, seed, names
        )
        self._rng = np.random.default_rng([seed, 1])

    def begin(self) -> None:
        """This is what is served from now on: let whoever asks and the metrics know."""
        served = self.served
        self.hosted.scorer = self
        if served.device != "cpu":
            backend = served.detector.backend
            self.common.metrics.held_on_gpu(lambda: backend.device_bytes)
        self.metrics.serving(
            served.detector.calibration,
            info={
                "version": served.version,
                "run_id": served.run_id,
                "alias": served.alias or "",
                "digest": served.digest,
                "device": served.device,
            },
            trained_at=served.trained_at,
            calibrated_at=served.calibrated_at,
            loaded_at=served.loaded_at.timestamp(),
            features=self._features,
            queue_rows=lambda: self.batcher.waiting_rows,
            queue_limit=self._max_rows,
            drift=self._drift.figures,
            usually_missing=self._usually_missing,
        )

    def rows_scored(self, rows: Rows, verdicts: Verdicts, kept: Kept) -> None:
        """Have rows counted with their verdicts at the model's own alpha, and show them to the
        challenger, if there is one.

        Args:
            kept: What `see` is to see of them.
        """
        self.hosted.ledger.add(self._count, verdicts, kept)
        shadow = self.hosted.shadow
        if shadow is not None:
            shadow.offer(rows, verdicts)

    def _count(self, scored: Scored) -> None:
        served = self.served
        self.metrics.rows_scored(scored, served.detector.calibration, served.version)
        rows = drawn(len(scored), self._rng, self._drift.lacking_rows)
        seen = self._see(scored.pick(rows))
        if seen.ranks is not None:
            self.metrics.parts_ranked(seen.ranks)
        self._drift.rows_seen(seen, scored.scores[rows], scored.p_values[rows])

    @property
    def is_ready(self) -> bool:
        """Whether another request would be taken gladly."""
        return not (self.common.draining or self.batcher.is_full or self.memory.is_full)

    async def score(self, job: Job, rows: int, *, is_slow: bool = False) -> Result:
        """The result of a job of so many rows; see `Batcher.enqueue`.

        Raises:
            Overloaded: too many rows wait; they are counted.
        """
        with self._counting():
            return await self.batcher.enqueue(job, rows, is_slow=is_slow, trace=self._trace)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A part of answering a request; its time is told, however it ends."""
        started = perf_counter()
        try:
            yield
        finally:
            self.passed(name, started)

    def passed(self, name: str, started: float) -> None:
        """Such a part is over that began then."""
        ended = perf_counter()
        self.metrics.phase(name, ended - started)
        if (trace := self._trace) is not None:
            trace.phase(name, started, ended)

    @property
    def _trace(self) -> Trace | None:
        """Of the request that is being answered."""
        if self.common.tracing is None:
            return None
        request = REQUEST.get()
        return None if request is None else request.trace

    def _batch_traced(self, report: BatchReport) -> None:
        self.metrics.batch_scored(report)
        if self.common.tracing is not None and report.traced:
            self.common.tracing.batch(
                report.traced,
                report.started,
                report.started + report.seconds,
                {
                    "anomaly.model": self.model.name,
                    "anomaly.model.version": self.model.version,
                    "anomaly.batch.rows": report.rows,
                    "anomaly.batch.requests": len(report.waits),
                },
            )

    def _check(self, rows: int, coming: int) -> None:
        with self._counting():
            self.batcher.check(rows, coming)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """What is turned away is seen in the metrics."""
        try:
            yield
        except Overloaded as error:
            self.metrics.rows_rejected({error.code: error.rows})
            raise

    async def close(self) -> None:
        """Finish what waits, take nothing more."""
        await self.batcher.close()
