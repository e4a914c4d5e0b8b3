"""Heat against masks: closed forms, and scikit-learn on the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.image_evaluate import aupro, mask_at_size, pixel_metrics


def masks_with(*regions: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((40, 50), bool)
    for top, left, bottom, right in regions:
        mask[top:bottom, left:right] = True
    return mask


ONE = masks_with((5, 5, 15, 15))
TWO = masks_with((5, 5, 10, 10), (20, 20, 40, 50))


def test_heat_that_is_the_mask_has_1_of_both() -> None:
    found = pixel_metrics([ONE.astype(np.float32), TWO.astype(np.float32)], [ONE, TWO])
    assert found.auroc == 1.0
    assert found.aupro == pytest.approx(1.0)


def test_heat_by_chance_covers_regions_as_often_as_the_rest() -> None:
    """The overlap then equals the false-positive rate: half of the largest, on average."""
    rng = np.random.default_rng(0)
    heats = [rng.random((40, 50)).astype(np.float32) for _ in range(40)]
    assert aupro(heats, [TWO] * 40) == pytest.approx(0.15, abs=0.02)


def test_every_region_counts_alike_whatever_its_size() -> None:
    """The small region is found at once, the large one never."""
    heat = masks_with((5, 5, 10, 10)).astype(np.float32)
    heat[20:, 20:] = -1.0
    assert aupro([heat], [TWO]) == pytest.approx(0.5, abs=0.01)
    assert pixel_metrics([heat], [TWO]).auroc < 0.1, "pixels of the large one weigh more"


def test_pixel_auroc_is_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    heats = [(rng.random((40, 50)) + 0.3 * mask).astype(np.float32) for mask in (ONE, TWO)]
    truth = np.concatenate([ONE.ravel(), TWO.ravel()])
    values = np.concatenate([heat.ravel() for heat in heats])
    assert pixel_metrics(heats, [ONE, TWO]).auroc == pytest.approx(roc_auc_score(truth, values))


def test_aupro_does_not_depend_on_the_scale_of_heat() -> None:
    rng = np.random.default_rng(2)
    heat = (rng.random((40, 50)) + 0.5 * ONE).astype(np.float32)
    assert aupro([np.exp(3 * heat)], [ONE]) == pytest.approx(aupro([heat], [ONE]), abs=1e-6)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    touching = masks_with((5, 5, 10, 10), (10, 10, 12, 12))
    heat = masks_with((5, 5, 10, 10)).astype(np.float32)
    # 25 of 29 pixels of the one region; as two regions it would be one half.
    assert aupro([heat], [touching]) == pytest.approx(25 / 29, abs=0.02)


def test_a_mask_at_another_size_keeps_its_share() -> None:
    assert mask_at_size(ONE, 80, 100).mean() == pytest.approx(ONE.mean())
    assert mask_at_size(ONE, 20, 25)[3:7, 3:7].all()
    assert mask_at_size(ONE, 40, 50).tolist() == ONE.tolist()
