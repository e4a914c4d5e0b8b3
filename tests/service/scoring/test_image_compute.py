"""Jobs scored together give what each gives alone, whatever fits into memory at once."""

from __future__ import annotations

import numpy as np
import pytest

import anomaly.image_detector as image_detector_module
from anomaly.image_detector import ImageDetector, in_groups
from service.scoring.image_compute import ImageJob, compute_images
from tests.textiles import normal_images

IMAGES = [*normal_images(5, seed=1), *(image[:20] for image in normal_images(3, seed=2))]


@pytest.mark.parametrize("at_once", [1, 7, 1_000])
def test_each_job_gets_its_own_results_to_the_bit(
    image_detector: ImageDetector, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(image_detector_module, "TILES_AT_ONCE", at_once)
    jobs = [ImageJob(IMAGES[:1]), ImageJob(IMAGES[1:6], explain=True), ImageJob(IMAGES[6:])]

    first, second, third = compute_images(image_detector, jobs)

    alone = [float(image_detector.anomaly_score([image])[0]) for image in IMAGES]
    assert [*first.scores, *second.scores, *third.scores] == alone
    assert first.heats is third.heats is None
    assert second.heats is not None
    for heat, expected in zip(second.heats, image_detector.explain(IMAGES[1:6]), strict=True):
        assert (heat.values == expected.values).all()


@pytest.mark.parametrize("at_once", [1, 7, 1_000])
def test_groups_are_bounded_and_leave_nothing_out(
    image_detector: ImageDetector, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(image_detector_module, "TILES_AT_ONCE", at_once)

    groups = list(in_groups(IMAGES, image_detector.preprocessor))

    assert [id(image) for group in groups for image in group] == [id(image) for image in IMAGES]
    count = image_detector.preprocessor.count
    for group in groups:
        assert len(group) == 1 or sum(count(*image.shape[:2]) for image in group) <= at_once


@pytest.mark.parametrize("size", [(1, 1), (48, 48), (49, 48), (20, 300), (700, 3)])
def test_tiles_are_counted_as_they_are_cut(
    image_detector: ImageDetector, size: tuple[int, int]
) -> None:
    preprocessor = image_detector.preprocessor

    tiled = preprocessor.tiles(np.zeros((*size, 1), np.uint8))

    assert preprocessor.count(*size) == len(tiled.places)
