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
    QuantisedPosterior,
)
from tests.contracts.parts import NUMPY, TRAINING, Array


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
    q = GaussianPosterior().distribution(NUMPY, {}, outputs)
    low, high = LOG_SCALE_RANGE
    assert q.loc.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert q.log_scale is not None
    assert q.log_scale.tolist() == [[0.5, high], [low, 0.0]]
    assert GaussianPosterior().outputs(2) == outputs.shape[1]


def test_a_point_posterior_ignores_noise_and_has_no_kl() -> None:
    outputs = np.array([[1.0, 2.0], [3.0, 4.0]])
    q = PointPosterior().distribution(NUMPY, {}, outputs)
    assert q.sample(NUMPY, np.full((1, 1, 2), 7.0)).tolist() == [outputs.tolist()]
    assert q.kl_to_standard_normal(NUMPY).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert PointPosterior().outputs(2) == outputs.shape[1]


def quantised(codes: Array, outputs: Array, commitment: float = 0.25) -> DiagonalNormal:
    part = QuantisedPosterior(codes=len(codes), code_width=codes.shape[1], commitment=commitment)
    return part.distribution(NUMPY, {"posterior.codes": codes}, outputs)


class TestQuantisedPosterior:
    def test_each_group_becomes_the_nearest_code(self) -> None:
        """By trying all of them."""
        rng = np.random.default_rng(0)
        codes, outputs = rng.normal(size=(7, 2)), rng.normal(size=(16, 6))
        groups = outputs.reshape(16, 3, 2)
        nearest = ((groups[:, :, None] - codes) ** 2).sum(-1).argmin(-1)
        expected = codes[nearest].reshape(16, 6)
        np.testing.assert_array_equal(quantised(codes, outputs).loc, expected)

    def test_what_is_quantised_stays_as_it_is_and_costs_nothing(self) -> None:
        rng = np.random.default_rng(0)
        codes, outputs = rng.normal(size=(7, 2)), rng.normal(size=(16, 6))
        once = quantised(codes, outputs).loc
        twice = quantised(codes, once)
        np.testing.assert_array_equal(twice.loc, once)
        assert twice.quantisation is not None
        assert not twice.quantisation.any()

    def test_a_codebook_of_the_rows_themselves_loses_nothing(self) -> None:
        rows = np.random.default_rng(0).normal(size=(32, 3))
        np.testing.assert_array_equal(quantised(rows, rows).loc, rows)

    def test_a_further_code_never_takes_a_group_further_away(self) -> None:
        rng = np.random.default_rng(0)
        codes, outputs = rng.normal(size=(20, 2)), rng.normal(size=(16, 6))
        errors = [
            ((quantised(codes[:n], outputs).loc - outputs) ** 2).sum(-1) for n in range(1, 21)
        ]
        assert (np.diff(errors, axis=0) <= 1e-12).all()
        assert errors[-1].sum() < errors[0].sum()

    def test_the_cost_is_the_squared_distance_from_both_sides(self) -> None:
        rng = np.random.default_rng(0)
        codes, outputs = rng.normal(size=(7, 2)), rng.normal(size=(16, 6))
        q = quantised(codes, outputs, commitment=0.5)
        assert q.quantisation is not None
        np.testing.assert_allclose(q.quantisation, 1.5 * ((q.loc - outputs) ** 2).sum(-1))

    def test_it_is_a_point_on_its_codes(self) -> None:
        q = quantised(np.array([[1.0], [2.0]]), np.linspace(0, 3, 16)[:, None])
        assert q.log_scale is None
        np.testing.assert_array_equal(q.sample(NUMPY, np.full((1, 1, 1), 7.0))[0], q.loc)
        assert not q.kl_to_standard_normal(NUMPY).any()

    def gradients(self, commitment: float) -> tuple[Array, Array, DiagonalNormal, Array, Array]:
        """Of sum(loc * weight) + cost, by the encoder's outputs and by the codes."""
        rng = np.random.default_rng(0)
        part = QuantisedPosterior(codes=3, code_width=2, commitment=commitment)
        outputs, codes = (
            torch.tensor(rng.normal(size=shape), requires_grad=True) for shape in ((16, 4), (3, 2))
        )
        weight = torch.tensor(rng.normal(size=(16, 4)))
        q = part.distribution(TRAINING, {"posterior.codes": codes}, outputs)
        assert q.quantisation is not None
        ((q.loc * weight).sum() + q.quantisation.sum()).backward()
        assert outputs.grad is not None
        assert codes.grad is not None
        return outputs.grad.numpy(), codes.grad.numpy(), q, outputs.detach().numpy(), weight.numpy()

    def test_the_gradient_passes_straight_through_beside_the_commitment(self) -> None:
        """Van den Oord et al. (2017, eq. 3)."""
        by_outputs, _, q, outputs, weight = self.gradients(0.25)
        loc = q.loc.detach().numpy()
        np.testing.assert_allclose(by_outputs, weight + 2 * 0.25 * (outputs - loc))

    def test_codes_are_drawn_to_the_groups_that_use_them_and_by_nothing_else(self) -> None:
        _, by_codes, q, outputs, _ = self.gradients(0.25)
        error = 2 * (q.loc.detach().numpy() - outputs).reshape(-1, 2)
        groups = q.loc.detach().numpy().reshape(-1, 2)
        used = np.unique(groups, axis=0)
        expected = sorted(error[(groups == code).all(1)].sum(0).tolist() for code in used)
        found = sorted(by_codes[by_codes.any(1)].tolist())
        np.testing.assert_allclose(found, expected)

    def test_codes_start_on_what_the_encoder_gives(self) -> None:
        rng = np.random.default_rng(0)
        outputs = rng.normal(5.0, 1.0, (32, 4)).astype(np.float32)
        start = QuantisedPosterior(codes=10, code_width=2).initial(outputs, rng)["posterior.codes"]
        assert len(np.unique(start, axis=0)) == 10
        assert {tuple(code) for code in start} <= {tuple(g) for g in outputs.reshape(-1, 2)}
