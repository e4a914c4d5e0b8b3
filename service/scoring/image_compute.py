"""Images of several callers, scored together and taken apart again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from anomaly.arrays import Float64
from anomaly.data.pixels import Pixels
from anomaly.heat import Heat
from anomaly.image_detector import ImageDetector

TILES_AT_ONCE = 512
"""Of images that are scored together: some 400 kB of memory each."""


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
        heats: Of each image, if asked for.
    """

    scores: Float64
    heats: tuple[Heat, ...] | None


def compute_images(detector: ImageDetector, jobs: Sequence[ImageJob]) -> list[ImageResult]:
    """Score the images of all jobs in one go.

    Images do not see each other (`anomaly.backends.blocks`), so each job gets what it would get
    alone, to the bit.
    """
    groups = in_groups((pixels for job in jobs for pixels in job.images), detector)
    maps = chain.from_iterable(detector.maps(group) for group in groups)
    results = []
    for job in jobs:
        scores, heats = [], []
        for mapped in islice(maps, len(job.images)):
            scores.append(mapped.score)
            if job.explain:
                heats.append(detector.heat(mapped))
        found = np.array(scores, dtype=np.float64)
        results.append(ImageResult(found, tuple(heats) if job.explain else None))
    return results


def in_groups(images: Iterable[Pixels], detector: ImageDetector) -> Iterator[list[Pixels]]:
    """The images, a few at a time: of at most `TILES_AT_ONCE` tiles, or a single one."""
    group: list[Pixels] = []
    total = 0
    for pixels in images:
        tiles = detector.preprocessor.count(*pixels.shape[:2])
        if group and total + tiles > TILES_AT_ONCE:
            yield group
            group, total = [], 0
        group.append(pixels)
        total += tiles
    if group:
        yield group
