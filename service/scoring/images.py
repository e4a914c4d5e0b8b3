"""Images: from the files of a request to the JSON of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np

from anomaly.calibration import supported
from anomaly.image_detector import ImageDetector
from anomaly.preprocessing.watched import watched_images
from service.detectors import Served
from service.scoring.image_answers import to_image_answer
from service.scoring.image_compute import ImageJob, ImageResult, compute_images
from service.scoring.memory import Share
from service.scoring.scorer import Common, Scorer
from service.seen import Seen
from service.wire.answer import JSON
from service.wire.images import ImageRequest, open_images
from service.wire.multipart import Upload
from service.wire.options import Options
from service.wire.refusals import OF_IMAGES, InvalidRequest, rows_by_reason

Found = TypeVar("Found")


class Images:
    """Files to bytes, for one detector of images."""

    def __init__(self, served: Served, detector: ImageDetector, common: Common) -> None:
        self.detector = detector
        self.settings = settings = common.settings
        self.scorer: Scorer[ImageJob, ImageResult] = Scorer(
            served,
            common,
            lambda jobs: compute_images(detector, jobs),
            Seen.of,
            max_rows=settings.queue.max_images,
            max_batch_rows=settings.queue.max_batch_images,
        )
        self.metrics = self.scorer.metrics
        self.metrics.may_reject(OF_IMAGES)

    async def close(self) -> None:
        """Finish what waits, take nothing more."""
        await self.scorer.close()

    async def answer(
        self,
        uploads: Callable[[], list[Upload]],
        options: Options,
        request_id: str,
        share: Share,
    ) -> bytes:
        """The JSON answer to a request.

        Args:
            uploads: Takes the body apart; called in a thread.
            share: Of the memory, for the decoded images.

        Raises:
            NotMultipart, TooLarge, InvalidRequest: the request is at fault.
            AlphaNotSupported: the calibration scores cannot support the alpha it asks for.
            Overloaded: too many images wait.
        """
        calibration = self.detector.calibration
        if options.alpha is not None:
            supported(options.alpha, calibration.n, calibration.unit)
        request = await self._open(uploads, options, share)
        result = await self._score(ImageJob(request.images, options.explain))
        verdicts = self.detector.verdicts(result.scores, options.alpha)
        own = self.detector.verdicts(result.scores)
        self.scorer.rows_scored(request.images, own, result.watched)
        self.metrics.rows_rejected(rows_by_reason(request.errors))
        answer = partial(
            to_image_answer,
            request,
            verdicts,
            result.heats,
            options,
            model=self.scorer.model,
            calibration=calibration,
            request_id=request_id,
        )
        return await self._in_thread("respond", lambda: JSON.encode(answer()))

    async def _open(
        self, uploads: Callable[[], list[Upload]], options: Options, share: Share
    ) -> ImageRequest:
        limits, count_tiles = self.settings.limits, self.detector.preprocessor.count
        size, admission = share.held_bytes, self.scorer.admission
        try:
            with admission.parsing(size):
                request = await self._in_thread(
                    "decode",
                    lambda: open_images(uploads(), options, limits, count_tiles, share.take),
                )
        except InvalidRequest as error:
            self.metrics.rows_rejected(error.rows_by_reason)
            raise
        admission.learn(size, len(request.images))
        return request

    async def _score(self, job: ImageJob) -> ImageResult:
        if not job.images:
            return ImageResult(np.zeros(0), watched_images(()), () if job.explain else None)
        return await self.scorer.score(job, len(job.images))

    async def _in_thread(self, phase: str, work: Callable[[], Found]) -> Found:
        """The work, away from the event loop, and its time in the metrics."""
        with self.scorer.phase(phase):
            return await asyncio.get_running_loop().run_in_executor(
                self.scorer.common.workers, work
            )
