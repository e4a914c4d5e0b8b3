"""Presets: names for choices."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA

from anomaly.assembly import assemble
from anomaly.backends.backend import Device
from anomaly.data.frames import records_from_array, schema_of_array
from anomaly.data.splits import split_rows
from anomaly.detector import Detector
from anomaly.errors import ConfigInvalid
from anomaly.presets import PRESETS, preset_config
from tests import machines


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_and_finds_obvious_anomalies(
    every_preset: dict[str, Detector], name: str
) -> None:
    detector = every_preset[name]

    odd = detector.detect(machines.anomalies(50), 0.05).is_anomaly
    normal = detector.detect(machines.records(200, seed=6), 0.05).is_anomaly

    assert odd.mean() > 0.9
    assert normal.mean() < 0.15


def test_the_presets_score_as_they_say(every_preset: dict[str, Detector]) -> None:
    assert {name: d.model.score.kind for name, d in every_preset.items()} == {
        "default": "reconstruction",
        "fast": "reconstruction",
        "robust": "reconstruction",
        "ensemble": "reconstruction",
        "nearest": "nearest_row",
        "nearest_ensemble": "nearest_row",
        "elbo": "negative_elbo",
        "masked": "masked_reconstruction",
        "exemplar": "exemplar_kl",
        "iw": "negative_iw_bound",
        "iwae": "negative_iw_bound",
        "vae": "negative_elbo",
        "beta": "negative_elbo",
        "sigma": "negative_elbo",
        "mixture": "negative_elbo",
        "vamp": "negative_elbo",
        "linear": "squared_error",
        "autoencoder": "squared_error",
        "wae": "reconstruction",
        "vq": "reconstruction",
    }


def test_the_linear_preset_is_pca() -> None:
    """Bourlard & Kamp (1988): the same plane, and hardly more than its error, on a real table."""
    rows = load_wine(return_X_y=True)[0]
    schema = schema_of_array(rows.shape[1])
    records, splits = records_from_array(rows, schema), split_rows(len(rows), seed=0)
    config = PRESETS["linear"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = assemble(schema, records, splits, config, seed=0, device=Device.CPU).detector
    features = found.features(records.take(splits.fit))
    pca = PCA(found.model.vae.sizes.latent).fit(features.targets)

    assert pca.n_components == 6
    angles = subspace_angles(found.model.first["decoder.0.weight"], pca.components_.T)
    assert np.degrees(angles).max() < 2.0
    rebuilt = pca.inverse_transform(pca.transform(features.targets))
    least = ((features.targets - rebuilt) ** 2).mean()
    assert 1.0 - 1e-4 <= found.backend.score_features(features).scores.mean() / least < 1.01


def test_alpha_is_the_one_thing_that_a_preset_leaves_open() -> None:
    assert preset_config("fast").alpha is None
    assert preset_config("fast", alpha=0.05).alpha == 0.05


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigInvalid, match="default, fast, robust, ensemble, nearest, nearest_ensemble, vae, elbo"
    ):
        preset_config("deep")
