"""Posteriors: sampling, density and divergence of a diagonal normal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from anomaly.models.posterior import (
    LOG_SCALE_RANGE,
    DiagonalNormal,
    GaussianPosterior,
    PointPosterior,
)
from tests.contracts.parts import NUMPY


@given(loc=st.floats(-10, 10), log_scale=st.floats(*LOG_SCALE_RANGE))
def test_the_kl_is_that_of_torch_distributions(loc: float, log_scale: float) -> None:
    q = DiagonalNormal(np.array([[loc]]), np.array([[log_scale]]))
    found = q.kl_to_standard_normal(NUMPY)
    scale = torch.tensor(log_scale, dtype=torch.float64).exp()
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(loc, scale),
        torch.distributions.Normal(torch.zeros_like(scale), 1.0),
    )
    assert found[0, 0] == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)
    assert found[0, 0] >= -1e-12


def test_the_kl_is_the_mean_log_ratio_of_its_own_draws() -> None:
    """By Monte Carlo, through the same densities that the importance weights use."""
    rng = np.random.default_rng(0)
    q = DiagonalNormal(rng.normal(size=(4, 2)), rng.normal(size=(4, 2)) * 0.5)
    noise = rng.standard_normal((40_000, 1, 2))
    z = q.sample(NUMPY, noise)
    ratios = q.log_prob_of_noise(noise) - np.asarray(stats.norm.logpdf(z)).sum(-1)
    error = ratios.std(axis=0) / np.sqrt(len(ratios))
    assert (np.abs(ratios.mean(0) - q.kl_to_standard_normal(NUMPY).sum(-1)) < 5 * error).all()


def test_the_kl_is_zero_only_at_the_prior() -> None:
    at_prior = DiagonalNormal(np.zeros((1, 3)), np.zeros((1, 3)))
    assert not at_prior.kl_to_standard_normal(NUMPY).any()


@given(loc=st.floats(-5, 5), log_scale=st.floats(-3, 3), noise=st.floats(-4, 4))
def test_the_density_of_a_draw_is_scipys(loc: float, log_scale: float, noise: float) -> None:
    q = DiagonalNormal(np.full((1, 2), loc), np.full((1, 2), log_scale))
    draws = np.full((1, 1, 2), noise)
    law = stats.norm(loc, np.exp(log_scale))
    expected = np.asarray(law.logpdf(q.sample(NUMPY, draws))).sum(-1)
    assert q.log_prob_of_noise(draws) == pytest.approx(expected, rel=1e-6)


def test_draws_have_the_mean_and_width_of_the_posterior() -> None:
    rng = np.random.default_rng(1)
    loc, log_scale = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    z = DiagonalNormal(loc, log_scale).sample(NUMPY, rng.standard_normal((50_000, 3, 2)))
    scale = np.exp(log_scale)
    np.testing.assert_allclose(z.mean(0), loc, atol=5 * scale.max() / np.sqrt(50_000))
    np.testing.assert_allclose(z.std(0), scale, rtol=0.02)


def test_noise_shared_by_all_rows_moves_each_by_its_own_width() -> None:
    q = DiagonalNormal(np.array([[0.0], [10.0]]), np.log(np.array([[1.0], [3.0]])))
    z = q.sample(NUMPY, np.array([[[2.0]], [[-2.0]]]))
    np.testing.assert_allclose(z[..., 0], [[2.0, 16.0], [-2.0, 4.0]])


def test_a_gaussian_posterior_reads_means_then_log_widths_and_keeps_widths_in_range() -> None:
    outputs = np.array([[1.0, 2.0, 0.5, 99.0], [3.0, 4.0, -99.0, 0.0]])
    q = GaussianPosterior().distribution(NUMPY, outputs)
    low, high = LOG_SCALE_RANGE
    assert q.loc.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert q.log_scale is not None
    assert q.log_scale.tolist() == [[0.5, high], [low, 0.0]]
    assert GaussianPosterior().outputs(2) == outputs.shape[1]


def test_a_point_posterior_ignores_noise_and_has_no_kl() -> None:
    outputs = np.array([[1.0, 2.0], [3.0, 4.0]])
    q = PointPosterior().distribution(NUMPY, outputs)
    assert q.sample(NUMPY, np.full((1, 1, 2), 7.0)).tolist() == [outputs.tolist()]
    assert q.kl_to_standard_normal(NUMPY).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert PointPosterior().outputs(2) == outputs.shape[1]
