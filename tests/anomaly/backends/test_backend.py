"""Backends: one path from features to scores, on the device that was asked for."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from anomaly.backends.backend import Backend, BackendName, Device, cuda_available, open_backend
from anomaly.detector import Detector
from anomaly.errors import ConfigInvalid, DeviceUnavailable
from anomaly.scores import MissingFill
from tests import machines


def reopened(detector: Detector, block_rows: int, name: BackendName | None = None) -> Backend:
    return open_backend(detector.model, name, Device.CPU, block_rows)


def test_numpy_is_the_backend_of_the_cpu_and_torch_on_demand(detector: Detector) -> None:
    assert reopened(detector, 64).name is BackendName.NUMPY
    chosen = reopened(detector, 64, BackendName.TORCH)
    assert (chosen.name, chosen.device) == (BackendName.TORCH, "cpu")


def test_numpy_on_a_gpu_is_refused(detector: Detector) -> None:
    with pytest.raises(ConfigInvalid, match="no GPU"):
        open_backend(detector.model, BackendName.NUMPY, Device.CUDA)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused_and_auto_takes_the_cpu(detector: Detector) -> None:
    with pytest.raises(DeviceUnavailable, match="use device `cpu` or `auto`"):
        open_backend(detector.model, None, Device.CUDA)
    assert not cuda_available(Device.AUTO)
    assert open_backend(detector.model, None, Device.AUTO).device == "cpu"


@pytest.mark.parametrize("block_rows", [32, 96, 4096])
def test_numpy_scores_do_not_depend_on_the_block_to_the_bit(
    detector: Detector, block_rows: int
) -> None:
    features = detector.features(machines.records(200, seed=9))

    expected = detector.backend.score_features(features).scores

    np.testing.assert_array_equal(
        reopened(detector, block_rows).score_features(features).scores, expected
    )


def test_scores_are_the_raw_terms_with_missing_entries_filled(detector: Detector) -> None:
    features = detector.features(machines.records(200, seed=9))
    raw, filled = (
        detector.backend.raw_terms(features),
        detector.backend.score_features(features),
    )
    fill: MissingFill = detector.model.fill
    complete = np.all(features.observed, axis=1)

    assert 0 < complete.sum() < len(complete)
    np.testing.assert_array_equal(filled.per_target[complete], raw.per_target[complete])
    np.testing.assert_array_equal(
        filled.per_target[~features.observed],
        np.broadcast_to(fill.per_target, features.observed.shape)[~features.observed],
    )
    assert filled.scores.dtype == np.float64


def test_no_rows_give_no_scores(detector: Detector) -> None:
    features = detector.features(machines.records(5)).take(slice(0))

    assert detector.backend.score_features(features).scores.shape == (0,)


def test_a_posterior_of_zero_width_is_reported_for_a_point(
    every_preset: dict[str, Detector],
) -> None:
    autoencoder, vae = every_preset["autoencoder"], every_preset["vae"]
    found = machines.records(10)

    assert (autoencoder.backend.encode(autoencoder.features(found))[1] == 0).all()
    assert (vae.backend.encode(vae.features(found))[1] > 0).all()


def test_decoded_classes_are_probabilities(detector: Detector) -> None:
    z = np.random.default_rng(0).standard_normal((20, detector.model.vae.sizes.latent))

    means, booleans, modes = detector.backend.decode(z, np.zeros((20, 0), np.float32))

    # heat, load and the sine and cosine of the hour; idle; three modes and the unknown one.
    assert (means.shape, booleans.shape, modes.shape) == ((20, 4), (20, 1), (20, 4))
    assert ((booleans > 0) & (booleans < 1)).all()
    np.testing.assert_allclose(modes.sum(axis=1), 1.0, rtol=1e-6)


def test_a_copy_with_other_parameters_scores_otherwise(detector: Detector) -> None:
    """The backend reads its parameters and nothing else."""
    model = detector.model
    name = next(key for key in model.first if key.startswith("decoder") and "bias" in key)
    other = replace(model, members=({**model.first, name: model.first[name] + 1},))
    features = detector.features(machines.records(5))

    changed = open_backend(other, None, Device.CPU).score_features(features).scores

    assert (changed != detector.backend.score_features(features).scores).all()


def test_an_environment_without_torch_has_no_gpu_and_says_so() -> None:
    """Where a model is only scored, torch need not be installed, whatever hardware is there."""
    program = """
import sys
sys.modules["torch"] = None  # as if it were not installed
from anomaly.backends.backend import Device, cuda_available
from anomaly.errors import DeviceUnavailable
assert not cuda_available(Device.AUTO)
try:
    cuda_available(Device.CUDA)
except DeviceUnavailable as error:
    assert "no torch" in str(error)
else:
    raise AssertionError("cuda was promised")
"""
    subprocess.run([sys.executable, "-c", program], check=True)
