"""What answering takes, whatever is scored: the queue, the metrics, the model's name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from anomaly.detector import Verdicts
from service.batcher import Batcher, Overloaded
from service.detectors import Served
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.scoring.memory import Memory
from service.settings import Settings
from service.wire.answer import ModelName

Job = TypeVar("Job")
Result = TypeVar("Result")


class Common:
    """What every version of the model shares.

    Attributes:
        memory: For the bodies of requests, and what is made of them.
        draining: Set when the service is about to stop.
        lifecycle: What administrators can do; None where nothing can be done.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.memory = Memory(settings.queue.max_bytes)
        self.draining = False
        self.lifecycle: Lifecycle | None = None


class Scorer(Generic[Job, Result]):
    """Scores the jobs of all callers with one detector.

    Args:
        compute: Jobs to results, in the same order.
        max_rows, max_batch_rows, quick_rows: See `Batcher`.
        features: Names that may be labels of metrics.

    Attributes:
        model: Its name, as every answer carries it.
    """

    def __init__(
        self,
        served: Served,
        common: Common,
        compute: Callable[[Sequence[Job]], Sequence[Result]],
        *,
        max_rows: int,
        max_batch_rows: int,
        features: Sequence[str] = (),
        quick_rows: int = 0,
    ) -> None:
        self.served = served
        self.common = common
        self.settings = common.settings
        self.metrics = common.metrics.of(served.name)
        self.memory = common.memory
        self.batcher: Batcher[Job, Result] = Batcher(
            compute,
            max_rows,
            max_batch_rows,
            self.metrics.batch_scored,
            served.unit,
            quick_rows,
            self.settings.queue.max_seconds,
        )
        self.model = ModelName(
            served.name, served.version, served.digest, served.alias, served.run_id
        )
        self._features = features

    def begin(self) -> None:
        """Tell the metrics that this is what is served from now on."""
        served = self.served
        self.metrics.serving(
            served.detector.calibration,
            info={
                "version": served.version,
                "run_id": served.run_id,
                "alias": served.alias or "",
                "digest": served.digest,
                "device": served.device,
            },
            loaded_at=served.loaded_at.timestamp(),
            features=self._features,
            queue_rows=lambda: self.batcher.waiting_rows,
        )

    def rows_scored(self, verdicts: Verdicts) -> None:
        """Count rows with their verdicts at the model's own alpha."""
        served = self.served
        calibration = served.detector.calibration
        self.metrics.rows_scored(verdicts, calibration, served.version)

    @property
    def is_ready(self) -> bool:
        """Whether another request would be taken gladly."""
        return not (self.common.draining or self.batcher.is_full or self.memory.is_full)

    async def score(self, job: Job, rows: int, *, is_slow: bool = False) -> Result:
        """The result of a job of so many rows; see `Batcher.enqueue`.

        Raises:
            Overloaded: too many rows wait; they are counted.
        """
        try:
            return await self.batcher.enqueue(job, rows, is_slow=is_slow)
        except Overloaded as error:
            self.metrics.rows_rejected({error.code: error.rows})
            raise

    async def close(self) -> None:
        """Finish what waits, take nothing more."""
        await self.batcher.close()
