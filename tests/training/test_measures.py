"""Columns of every kind on one scale."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.detector import Detector
from tests import machines
from training.measures import Measures


def test_every_kind_of_column_has_its_measures(detector: Detector) -> None:
    found = Measures.of(detector, machines.records(100))

    assert found.names[:2] == ("heat", "load")
    assert {"taken hour_of_day (sine)", "taken hour_of_day (cosine)"} <= set(found.names)
    assert "idle" in found.names
    assert {f"mode = {mode}" for mode in machines.MODES} <= set(found.names)
    assert found.unit == "standard deviations"


def test_numbers_are_in_standard_deviations_and_names_as_often_as_they_occur(
    detector: Detector,
) -> None:
    rows = machines.records(300)
    found = Measures.of(detector, rows)
    constants = detector.preprocessor.features.numbers

    observed = found.observed(detector.features(rows))

    load = (rows.columns["load"] - constants.center[1]) / constants.scale[1]
    np.testing.assert_allclose(observed[:, 1], load)
    np.testing.assert_array_equal(np.isnan(observed[:, 0]), np.isnan(rows.columns["heat"]))
    eco = observed[:, found.names.index("mode = eco")]
    assert eco.mean() == pytest.approx(0, abs=1e-9)
    assert eco.std() == pytest.approx(1)
    assert ((eco > 0) == (rows.columns["mode"] == "eco")).all()


def test_what_is_expected_is_what_the_detector_reconstructs(detector: Detector) -> None:
    rows = machines.records(20, seed=3)
    found, features = Measures.of(detector, rows), detector.features(rows)
    constants, rebuilt = detector.preprocessor.features.numbers, detector.reconstruct(rows)

    expected = found.decoded(detector.encode(rows), features.context)

    load = expected[:, 1] * constants.scale[1] + constants.center[1]
    np.testing.assert_allclose(load, rebuilt["load"])
    idle = found.names.index("idle")
    probability = expected[:, idle] * found.spread[idle] + found.center[idle]
    np.testing.assert_allclose(probability, rebuilt["idle"])


def test_a_linear_models_expectations_are_a_product_of_matrices(
    every_preset: dict[str, Detector],
) -> None:
    """Closed form: x = W_dec (W_enc v + b_enc) + b_dec."""
    detector = every_preset["linear"]
    rows = machines.records(10, seed=3)
    features, p = detector.features(rows), detector.model.first
    layer = min(name for name in p if name.startswith("decoder"))
    encoder, decoder = "encoder.0", layer.rsplit(".", 1)[0]

    z = features.inputs @ p[f"{encoder}.weight"].T + p[f"{encoder}.bias"]
    x = z @ p[f"{decoder}.weight"].T + p[f"{decoder}.bias"]

    expected = Measures.of(detector, rows).decoded(detector.encode(rows), features.context)
    count = detector.model.vae.likelihood.gaussian
    np.testing.assert_allclose(expected[:, :count], x[:, :count], atol=1e-4)
