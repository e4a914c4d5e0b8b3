"""Everything that one application needs to answer score requests."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import perf_counter

import numpy as np

from anomaly.calibration import supported
from anomaly.detector import Detector, Verdicts
from anomaly.preprocessing.preprocessor import WarningCode
from service.batcher import Batcher, Overloaded
from service.detectors import Served
from service.metrics import Metrics
from service.scoring.answers import to_answer
from service.scoring.compute import Job, Result, compute
from service.settings import Settings, UnseenCategory
from service.wire.answer import JSON, ModelName
from service.wire.refusals import Code, InvalidRequest, RowError, rows_by_reason
from service.wire.request import Mode, ScoreRequest, invalid_rows, parse

LARGE_BODY_BYTES = 64 * 2**10
"""Larger bodies are parsed in a thread: the loop must stay free for the others."""


class Scorer:
    """Bytes to bytes, for one detector.

    Attributes:
        model: Its name, as every answer carries it.
        draining: Set when the service is about to stop.
    """

    def __init__(self, served: Served, settings: Settings) -> None:
        self.served = served
        self.settings = settings
        self.draining = False
        self.metrics = Metrics(served.name, served.version, served.detector.schema)
        self.batcher: Batcher[Job, Result] = Batcher(
            lambda jobs: compute(served.detector, jobs),
            settings.queue.max_rows,
            settings.queue.max_batch_rows,
            self.metrics.batch_scored,
        )
        self.model = ModelName(
            served.name, served.version, served.digest, served.alias, served.run_id
        )
        self.metrics.model_loaded(
            served.detector.calibration,
            info={
                "model": served.name,
                "version": served.version,
                "run_id": served.run_id,
                "alias": served.alias or "",
                "digest": served.digest,
                "device": served.device,
            },
            loaded_at=served.loaded_at.timestamp(),
            queue_rows=lambda: self.batcher.waiting_rows,
        )

    @property
    def is_ready(self) -> bool:
        """Whether another request would be taken gladly."""
        return not self.draining and not self.batcher.is_full

    async def answer(self, body: bytes, request_id: str, *, explain: bool) -> bytes:
        """The JSON answer to a JSON request.

        Raises:
            NotJSON, TooLarge, InvalidRequest: the request is at fault.
            AlphaNotSupported: the calibration rows cannot support the alpha it asks for.
            Overloaded: too many rows wait.
        """
        request = await self._parse(body)
        detector = self.served.detector
        if request.alpha is not None:
            supported(request.alpha, detector.calibration.n)
        result = await self._score(Job(request.records, request.alpha, explain))
        started = perf_counter()
        self.metrics.rows_scored(result.verdicts, detector.calibration)
        self.metrics.rows_rejected(rows_by_reason(request.errors))
        silent = self.settings.unseen_category is UnseenCategory.IGNORE
        answer = to_answer(
            request,
            result,
            [
                warning
                for warning in result.verdicts.warnings
                if not (silent and warning.code is WarningCode.UNSEEN_CATEGORY)
            ],
            model=self.model,
            calibration=detector.calibration,
            request_id=request_id,
            explain=explain,
        )
        encoded = JSON.encode(answer)
        self.metrics.phase("respond", perf_counter() - started)
        return encoded

    async def _parse(self, body: bytes) -> ScoreRequest:
        started = perf_counter()
        try:
            if len(body) > LARGE_BODY_BYTES:
                return await asyncio.to_thread(self._read, body)
            return self._read(body)
        except InvalidRequest as error:
            self.metrics.rows_rejected(error.rows_by_reason)
            raise
        finally:
            self.metrics.phase("decode", perf_counter() - started)

    def _read(self, body: bytes) -> ScoreRequest:
        detector = self.served.detector
        request = parse(body, detector.schema, self.settings.limits)
        if self.settings.unseen_category is UnseenCategory.ERROR:
            return without_unseen(request, detector)
        return request

    async def _score(self, job: Job) -> Result:
        if not len(job.records):
            return Result(no_verdicts(self.served.detector, job.alpha), None)
        try:
            return await self.batcher.submit(job, len(job.records))
        except Overloaded as error:
            self.metrics.rows_rejected({error.code: error.rows})
            raise


def without_unseen(request: ScoreRequest, detector: Detector) -> ScoreRequest:
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


def no_verdicts(detector: Detector, alpha: float | None) -> Verdicts:
    """The verdicts on no rows at all."""
    none = np.zeros(0)
    in_force = detector.calibration.alpha if alpha is None else alpha
    return Verdicts(none, none, none.astype(bool), in_force, ())
