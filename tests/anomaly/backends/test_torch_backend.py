"""Torch computes what NumPy computes, within what the calibration allows for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomaly.backends.backend import BackendName, Device
from anomaly.backends.torch_backend import torch_ops, torch_sees_cuda
from anomaly.detector import Detector
from anomaly.presets import PRESETS
from tests import machines


@pytest.mark.parametrize("preset", PRESETS)
def test_torch_and_numpy_agree_within_the_tolerance(
    every_preset: dict[str, Detector], preset: str
) -> None:
    detector = every_preset[preset]
    found = machines.records(500, seed=7)
    calibration = detector.calibration
    allowed = 1e-4 * (calibration.threshold - calibration.median)

    ours = detector.anomaly_score(found)
    theirs = detector.on(BackendName.TORCH, Device.CPU).anomaly_score(found)

    usual = ours <= calibration.threshold + calibration.tolerance
    assert usual.sum() > 400
    assert np.abs(theirs - ours)[usual].max() <= allowed


@pytest.mark.parametrize("preset", PRESETS)
def test_no_verdict_differs_outside_the_band_of_the_tolerance(
    every_preset: dict[str, Detector], preset: str
) -> None:
    detector = every_preset[preset]
    found = machines.both(500, 100, seed=8)
    calibration = detector.calibration

    ours = detector.detect(found)
    theirs = detector.on(BackendName.TORCH, Device.CPU).detect(found)

    distance = np.abs(ours.scores - calibration.threshold - calibration.tolerance)
    clear = distance > 1e-4 * (calibration.threshold - calibration.median)
    np.testing.assert_array_equal(theirs.is_anomaly[clear], ours.is_anomaly[clear])
    assert ours.is_anomaly.any()


def test_torch_gives_a_row_the_same_bits_in_every_batch(detector: Detector) -> None:
    on_torch = detector.on(BackendName.TORCH, Device.CPU)
    found = machines.records(70, seed=7)

    together = on_torch.anomaly_score(found)

    for row in (0, 33, 69):
        assert on_torch.anomaly_score(found.take(slice(row, row + 1))) == together[row]


def test_a_gpu_is_seen_if_torch_sees_one() -> None:
    assert torch_sees_cuda() == torch.cuda.is_available()
    assert torch_ops("cpu").array(np.ones(2, np.float32)).device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_model_on_a_gpu_holds_memory_there(detector: Detector) -> None:
    on_gpu = detector.on(device=Device.CUDA)
    weights = sum(value.nbytes for value in detector.model.first.values())

    assert on_gpu.backend.device_bytes >= weights
    assert detector.on(device=Device.CPU).backend.device_bytes == 0
