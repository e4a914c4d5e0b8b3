"""What a latent space is made of, and ways through it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from anomaly.arrays import Float64
from anomaly.detector import Detector
from tests import machines, pictured
from training.latent_space import LatentSpace, across, opposites, projected


def space(spreads: Float64, places: int = 1, n: int = 400, is_vae: bool = True) -> LatentSpace:
    rng = np.random.default_rng(0)
    means = rng.standard_normal((n, len(spreads))) * spreads
    return LatentSpace(means, np.full_like(means, 0.5), places, "rows", is_vae, 1.0)


def test_a_latent_that_varies_is_active_and_one_that_does_not_is_not() -> None:
    found = space(np.array([0.01, 2.0, 0.0, 1.0]))

    assert found.active.tolist() == [False, True, False, True]
    assert found.leading(8).tolist() == [1, 3]
    assert found.leading(1).tolist() == [1]
    assert "2 of 4 latents active" in found.said


def test_where_no_latent_varies_the_posterior_has_collapsed_and_it_is_said() -> None:
    found = space(np.full(3, 0.01))

    assert found.has_collapsed
    assert "COLLAPSED: none of 3 latents" in found.said
    assert len(found.leading(8)) == 0


def test_latents_of_a_point_have_no_scale_to_collapse_on() -> None:
    found = space(np.array([0.01, 1e-6]), is_vae=False)

    assert found.active.tolist() == [True, False]
    assert not found.divergence.any()
    assert "not a VAE" in found.said
    assert space(np.zeros(2), is_vae=False).has_collapsed


def test_the_divergence_is_that_of_normals() -> None:
    found = space(np.array([0.3, 2.0]))
    posterior = Normal(torch.tensor(found.means), torch.tensor(found.deviations))

    expected = kl_divergence(posterior, Normal(0.0, 1.0)).mean(0)

    np.testing.assert_allclose(found.divergence, expected)


def test_a_traversal_moves_one_latent_by_its_standard_deviation() -> None:
    found = space(np.array([1.0, 3.0]))

    z = found.traversal(found.means[7], 1, np.array([-1.0, 0.0, 2.0]))

    np.testing.assert_array_equal(z[1], found.means[7])
    np.testing.assert_array_equal(z[:, 0], found.means[7, 0])
    np.testing.assert_allclose((z[2] - z[1])[1], 2 * found.means[:, 1].std())


def test_of_spatial_latents_a_channel_moves_at_all_places_together() -> None:
    found = space(np.array([1.0, 1.0, 3.0, 3.0]), places=2)

    z = found.traversal(found.means[0], 1, np.array([0.0, 1.0]))

    assert found.leading(8).tolist() == [1, 0]
    np.testing.assert_allclose(z[1] - z[0], [0, 0, found.spread(1), found.spread(1)])


def test_of_a_channel_that_is_active_in_places_the_largest_is_shown() -> None:
    found = space(np.array([0.12, 0.0, 0.0, 0.0, 0.0, 0.0]), places=3)

    assert not found.has_collapsed
    assert found.leading(8).tolist() == [0]


@pytest.mark.parametrize(("spread", "is_near"), [(0.87, True), (4.0, False), (0.15, False)])
def test_a_prior_of_another_width_is_a_caution(spread: float, is_near: bool) -> None:
    """With deviations of 0.5 the latents have a mean square of spread^2 + 0.25."""
    found = space(np.array([spread]))

    assert found.width == pytest.approx(np.hypot(spread, 0.5), rel=0.1)
    assert ("CAUTION" not in found.said_of_prior) == (1 / 1.5 <= found.width <= 1.5)
    assert ("CAUTION" not in found.said_of_prior) == is_near


def test_a_convolutional_models_channels_have_places() -> None:
    detector = pictured.whole()
    means = np.random.default_rng(0).standard_normal((50, 16))

    found = LatentSpace.of(detector.model, means, np.ones((50, 16)), "images")

    assert found.places == 4
    assert found.prior_width == pytest.approx(1.0, rel=0.02)


def test_an_ensemble_shows_its_first_network(every_preset: dict[str, Detector]) -> None:
    detector = every_preset["ensemble"]
    posterior = detector.backend.encode(detector.features(machines.records(50)))

    assert "network 1 of 4" in LatentSpace.of(detector.model, *posterior, "rows").said


def test_two_latents_are_drawn_as_they_are_and_more_along_principal_axes() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((50, 3)) * [1.0, 9.0, 3.0]

    at, names = projected(points)

    assert abs(np.corrcoef(at[:, 0], points[:, 1])[0, 1]) > 0.99
    assert names[0].startswith("PC 1")
    np.testing.assert_array_equal(projected(points[:, :2])[0], points[:, :2])
    assert projected(points[:, :1])[0].shape == (50, 2)


def test_rows_across_the_scores_include_both_ends() -> None:
    scores = np.array([5.0, 1.0, 3.0, 2.0, 4.0])

    assert across(scores, 3).tolist() == [1, 2, 0]
    assert across(scores, 9).tolist() == [1, 3, 2, 4, 0]


def test_opposites_are_the_ends_of_the_principal_axes() -> None:
    points = np.array([[-9.0, 0.0], [9.0, 0.0], [0.0, 2.0], [0.0, -2.0], [0.0, 0.0]])

    pairs = [set(pair) for pair in opposites(points, 5)]

    assert pairs == [{0, 1}, {2, 3}]
    assert opposites(np.zeros((4, 2)), 5) == []
