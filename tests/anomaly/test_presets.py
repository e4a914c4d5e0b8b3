"""Presets: names for choices."""

from __future__ import annotations

import pytest

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
        "default": "negative_elbo",
        "fast": "reconstruction",
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


def test_alpha_is_the_one_thing_that_a_preset_leaves_open() -> None:
    assert preset_config("fast").alpha is None
    assert preset_config("fast", alpha=0.05).alpha == 0.05


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigInvalid, match="default, fast, iw, iwae, vae, beta"):
        preset_config("deep")
