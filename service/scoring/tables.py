"""Rows of a table: from the JSON of a request to the JSON of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from msgspec.structs import replace

from anomaly.artifact.golden import golden_records, golden_rows
from anomaly.calibration import supported
from anomaly.data.records import Records
from anomaly.detector import Detector, Verdicts
from anomaly.preprocessing.preprocessor import WarningCode
from anomaly.scores import ScoreTerms
from service.detectors import Served
from service.scoring.answers import to_answer
from service.scoring.compute import Job, Result, compute, no_verdicts
from service.scoring.scorer import Common, Scorer
from service.seen import Seen, TableRows
from service.settings import UnseenCategory
from service.wire.answer import JSON, Answer
from service.wire.refusals import OF_IMAGES, Code, InvalidRequest, RowError, rows_by_reason
from service.wire.request import Mode, Reader, ScoreRequest, invalid_rows

if TYPE_CHECKING:
    from service.tracing.spans import Trace

Sent = TypeVar("Sent", bound=ScoreRequest)
Written = TypeVar("Written")

QUICK_SECONDS = 0.002
"""Work that the event loop may wait for: to hand it to a thread and back takes 0.05 to 0.2 ms, and
more where another thread has the interpreter."""

TIMED_ROWS = 128

LARGE_ANSWER_ROWS = 1_000
"""Longer answers are written in a thread."""

LARGE_BODY_BYTES = 64 * 2**10
"""Larger bodies are parsed in a thread: the loop must stay free for the others."""


class Tables:
    """Bytes to bytes, for one detector of tables."""

    def __init__(self, served: Served, detector: Detector, common: Common) -> None:
        self.detector = detector
        self.settings = settings = common.settings
        self.scorer: Scorer[Job, Result] = Scorer(
            served,
            common,
            self._compute,
            partial(Seen.of_table, detector),
            max_rows=settings.queue.max_rows,
            max_batch_rows=settings.queue.max_batch_rows,
            features=[column.name for column in detector.schema.required],
            explained=detector.explained,
            usually_missing=detector.usually_missing,
            quick_rows=quick_rows(detector),
        )
        self.metrics = self.scorer.metrics
        self.metrics.may_reject(set(Code) - OF_IMAGES)
        self._reader = Reader(detector.schema, settings.limits)

    async def close(self) -> None:
        """Finish what waits, take nothing more."""
        await self.scorer.close()

    async def answer(self, body: bytes, request_id: str, *, explain: bool) -> bytes:
        """The JSON answer to a JSON request.

        Raises:
            NotJSON, TooLarge, InvalidRequest: the request is at fault.
            AlphaNotSupported: the calibration scores cannot support the alpha it asks for.
            Overloaded: too many rows wait.
        """
        request = await self.read_json(body)
        if explain or request.n_rows > LARGE_ANSWER_ROWS:
            return await self.respond(request, JSON.encode, request_id, explain=explain)
        return self.encoded(request, await self.result(request, explain=explain), request_id)

    def usual(self, body: bytes) -> ScoreRequest | None:
        """The request that JSON is, if it is of the kind that `enqueue` takes."""
        return self._reader.usual(body)

    def enqueue(self, request: ScoreRequest, trace: Trace | None = None) -> asyncio.Future[Result]:
        """Have a usual request scored; see `usual`.

        Raises:
            Overloaded: too many rows wait.
        """
        return self.scorer.batcher.enqueue(Job(request.records), request.n_rows, trace=trace)

    def encoded(self, request: ScoreRequest, result: Result, request_id: str) -> bytes:
        """The JSON answer to a request that asked for no explanation."""
        started = perf_counter()
        encoded = JSON.encode(self._told(request, result, request_id, explain=False))
        self.scorer.passed("respond", started)
        return encoded

    async def respond(
        self,
        request: ScoreRequest,
        write: Callable[[Answer], Written],
        request_id: str,
        *,
        explain: bool,
    ) -> Written:
        """The answer to a request, as it is to be written; in a thread.

        Raises:
            AlphaNotSupported, Overloaded: see `result`.
        """
        result = await self.result(request, explain=explain)
        with self.scorer.phase("respond"):
            return await self._in_thread(
                lambda: write(self._told(request, result, request_id, explain=explain))
            )

    def read_json(self, body: bytes) -> Awaitable[ScoreRequest]:
        """The request that JSON is; see `read`."""
        return self.read(lambda: self._reader.read(body), len(body))

    async def read(self, parse: Callable[[], Sent], size: int, *, aside: bool = False) -> Sent:
        """The request that a body is.

        Args:
            size: Of the body, in bytes.
            aside: Whether the others must not wait for it, however short it is.

        Raises:
            BadData: whatever `parse` raises.
            InvalidRequest: a category is unseen, and the service is set to refuse those.
            Overloaded: too many rows wait.
        """
        admission = self.scorer.admission
        try:
            with self.scorer.phase("decode"), admission.parsing(size):
                if aside or size > LARGE_BODY_BYTES:
                    request = await self._in_thread(lambda: self._parsed(parse))
                else:
                    request = self._parsed(parse)
        except InvalidRequest as error:
            self.metrics.rows_rejected(error.rows_by_reason)
            raise
        admission.learn(size, request.n_rows)
        return request

    async def result(self, request: ScoreRequest, *, explain: bool, every: bool = False) -> Result:
        """What the detector says of the sound rows.

        Args:
            explain: Whether the flagged rows are explained, and with `every` the others, too.

        Raises:
            AlphaNotSupported: the calibration rows cannot support the alpha it asks for.
            Overloaded: too many rows wait.
        """
        if request.alpha is not None:
            supported(request.alpha, self.detector.calibration.n, self.detector.calibration.unit)
        result = await self._score(Job(request.records, request.alpha, explain, every))
        self.metrics.rows_rejected(rows_by_reason(request.errors))
        return result

    def _told(
        self, request: ScoreRequest, result: Result, request_id: str, *, explain: bool
    ) -> Answer:
        silent = self.settings.unseen_category is UnseenCategory.IGNORE
        return to_answer(
            request,
            result,
            [
                warning
                for warning in result.verdicts.warnings
                if not (silent and warning.code is WarningCode.UNSEEN_CATEGORY)
            ],
            model=self.scorer.model,
            calibration=self.detector.calibration,
            request_id=request_id,
            explain=explain,
        )

    def _parsed(self, parse: Callable[[], Sent]) -> Sent:
        request = parse()
        if self.settings.unseen_category is UnseenCategory.ERROR:
            return without_unseen(request, self.detector)
        return request

    def _compute(self, jobs: Sequence[Job]) -> list[Result]:
        return compute(self.detector, jobs, self._scored)

    def _scored(self, records: Records, verdicts: Verdicts, terms: ScoreTerms) -> None:
        kept = TableRows.of(records, terms, verdicts.warnings)
        self.scorer.rows_scored(records, verdicts, kept)

    def _in_thread(self, work: Callable[[], Written]) -> Awaitable[Written]:
        return asyncio.get_running_loop().run_in_executor(self.scorer.common.workers, work)

    async def _score(self, job: Job) -> Result:
        if not len(job.records):
            return Result(no_verdicts(self.detector.calibration, job.alpha), None)
        return await self.scorer.score(job, len(job.records), is_slow=job.explain)


def quick_rows(detector: Detector) -> int:
    """How many rows are scored within `QUICK_SECONDS` here; none on a GPU, which is waited for. By
    the time of this thread: others may compute meanwhile."""
    if detector.backend.device != "cpu":
        return 0
    golden = golden_records(detector.schema, golden_rows(detector).columns)
    rows = golden.take(np.arange(TIMED_ROWS) % len(golden))
    detector.detect(rows)
    seconds = []
    for _ in range(3):
        started = thread_time()
        detector.detect(rows)
        seconds.append(thread_time() - started)
    return int(len(rows) * QUICK_SECONDS / min(seconds))


def without_unseen(request: Sent, detector: Detector) -> Sent:
    """The request with the rows refused that hold a category the model was not fitted on.

    Raises:
        InvalidRequest: there are such rows, and the mode is strict.
    """
    unseen = [
        RowError.of(Code.UNSEEN_CATEGORY, row, warning.column)
        for warning in detector.preprocessor.warnings(request.records)
        if warning.code is WarningCode.UNSEEN_CATEGORY
        for row in request.rows[warning.rows].tolist()
    ]
    if not unseen:
        return request
    faulty = {error.row for error in unseen}
    errors = sorted((*request.errors, *unseen), key=lambda error: error.row or 0)
    if request.mode is Mode.STRICT:
        raise invalid_rows(errors, len(faulty), request.n_rows)
    kept = np.array([row not in faulty for row in request.rows.tolist()], dtype=bool)
    return replace(
        request,
        records=request.records.take(kept),
        rows=request.rows[kept],
        errors=tuple(errors),
    )
