"""Images of several callers, scored together and taken apart again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from anomaly.arrays import Float64
from anomaly.data.pixels import Pixels
from anomaly.heat import Heat
from anomaly.image_detector import ImageDetector
from anomaly.preprocessing.watched import watched_images
from anomaly.reference import Watched


@dataclass(frozen=True)
class ImageJob:
    """Images to be scored, and whether their heatmaps are wanted."""

    images: list[Pixels]
    explain: bool = False


@dataclass(frozen=True)
class ImageResult:
    """What the detector says of one job's images.

    Attributes:
        scores: (N,)
        watched: What the images look like.
        heats: Of each image, if asked for.
    """

    scores: Float64
    watched: Watched
    heats: tuple[Heat, ...] | None


def compute_images(detector: ImageDetector, jobs: Sequence[ImageJob]) -> list[ImageResult]:
    """Score the images of all jobs in one go.

    Images do not see each other (`anomaly.backends.blocks`), so each job gets what it would get
    alone, to the bit.
    """
    mapped_images = detector.mapped(pixels for job in jobs for pixels in job.images)
    results = []
    for job in jobs:
        scores, heats = [], []
        for mapped in islice(mapped_images, len(job.images)):
            scores.append(mapped.score)
            if job.explain:
                heats.append(detector.heat(mapped))
        found = np.array(scores, dtype=np.float64)
        watched = watched_images(job.images)
        results.append(ImageResult(found, watched, tuple(heats) if job.explain else None))
    return results
