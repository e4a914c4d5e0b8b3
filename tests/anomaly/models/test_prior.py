"""Priors: their densities, their divergences and their draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from anomaly.models.posterior import DiagonalNormal, GaussianPosterior
from anomaly.models.prior import (
    MixturePrior,
    NormalMixture,
    PriorDistribution,
    StandardNormal,
    VampPrior,
)
from tests.contracts.parts import EVERY_LIKELIHOOD, EVERY_PRIOR, NUMPY, TORCH, on, small_model

NUMBERS = EVERY_LIKELIHOOD["numbers"]
EVERY = pytest.mark.parametrize("name", EVERY_PRIOR)


def distribution(name: str) -> PriorDistribution:
    vae, parameters = small_model(NUMBERS, GaussianPosterior(), EVERY_PRIOR[name])
    return vae.latent_prior(NUMPY, parameters)


def some_posterior(rows: int = 4) -> DiagonalNormal:
    rng = np.random.default_rng(1)
    return DiagonalNormal(rng.normal(size=(rows, 3)), rng.normal(-0.5, 0.3, (rows, 3)))


def mixture_of_two() -> NormalMixture:
    return NormalMixture(
        np.log([0.3, 0.7]),
        np.array([[-2.0, 0.0, 1.0], [1.0, 0.5, -1.0]]),
        np.log([[0.5, 1.0, 2.0], [1.5, 0.2, 1.0]]),
    )


def test_the_density_of_the_standard_normal_is_scipys() -> None:
    z = np.random.default_rng(0).normal(0, 3, (5, 4, 3))
    expected = np.asarray(stats.norm.logpdf(z)).sum(-1)
    np.testing.assert_allclose(StandardNormal(3).log_prob(NUMPY, z), expected)


def test_its_kl_integrates_the_log_ratio() -> None:
    """By quadrature over one latent."""
    loc, log_scale = 0.7, -0.4
    q, prior = stats.norm(loc, np.exp(log_scale)), stats.norm()
    z = np.linspace(-12, 12, 100_001)
    integral = np.trapezoid(q.pdf(z) * (q.logpdf(z) - prior.logpdf(z)), z)
    posterior = DiagonalNormal(np.array([[loc]]), np.array([[log_scale]]))
    found = StandardNormal(1).kl(NUMPY, posterior, np.zeros((1, 1, 1)))
    np.testing.assert_allclose(found, [integral], rtol=1e-8)


def test_the_density_of_a_mixture_is_scipys() -> None:
    z = np.random.default_rng(0).normal(0, 3, (5, 4, 3))
    mixture = mixture_of_two()
    components = [
        stats.multivariate_normal(loc, np.diag(np.exp(2 * log_scale))).logpdf(z)
        for loc, log_scale in zip(mixture.loc, mixture.log_scale, strict=True)
    ]
    expected = special.logsumexp(components, axis=0, b=np.array([0.3, 0.7])[:, None, None])
    np.testing.assert_allclose(mixture.log_prob(NUMPY, z), expected)


def test_one_component_of_mean_0_and_scale_1_is_the_standard_normal() -> None:
    one = NormalMixture(np.zeros(1), np.zeros((1, 3)), np.zeros((1, 3)))
    z = np.random.default_rng(0).normal(0, 3, (5, 4, 3))
    np.testing.assert_allclose(one.log_prob(NUMPY, z), StandardNormal(3).log_prob(NUMPY, z))
    noise = np.random.default_rng(0).standard_normal((40_000, 1, 3))
    exact = StandardNormal(3).kl(NUMPY, some_posterior(), noise)
    np.testing.assert_allclose(one.kl(NUMPY, some_posterior(), noise), exact, atol=0.03)


def test_a_vamp_prior_of_one_pseudo_row_is_its_posterior() -> None:
    """Tomczak & Welling (2018, eq. 9) with one term; the pseudo-row has a context, too."""
    vae, parameters = small_model(NUMBERS, GaussianPosterior(), VampPrior(components=1))
    sixteen = [0] * 16
    q = vae.encode(
        NUMPY,
        parameters,
        parameters["prior.inputs"][sixteen],
        parameters["prior.context"][sixteen],
    )
    assert q.log_scale is not None
    z = np.random.default_rng(0).normal(0, 3, (5, 4, 3))
    expected = np.asarray(stats.norm(q.loc[0], np.exp(q.log_scale[0])).logpdf(z)).sum(-1)
    found = vae.latent_prior(NUMPY, parameters).log_prob(NUMPY, z)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_every_pseudo_row_weighs_the_same() -> None:
    vamp = distribution("vamp")
    assert isinstance(vamp, NormalMixture)
    np.testing.assert_allclose(np.exp(vamp.log_weight), 1 / 3, rtol=1e-6)


@pytest.mark.parametrize("components", [1, 15, 16, 17])
def test_pseudo_rows_fill_whole_tiles_and_are_counted_once(components: int) -> None:
    prior = VampPrior(components=components)
    vae, parameters = small_model(NUMBERS, GaussianPosterior(), prior)
    found = vae.latent_prior(NUMPY, parameters)
    assert isinstance(found, NormalMixture)
    assert len(found.loc) == len(found.log_scale) == len(found.log_weight) == components
    assert len(np.unique(found.loc, axis=0)) == components


def test_pseudo_rows_start_between_rows_and_on_none() -> None:
    rng = np.random.default_rng(0)
    inputs, context = (rng.normal(5.0, 1.0, (200, k)).astype(np.float32) for k in (4, 2))
    start = VampPrior(components=50).initial(inputs, context, rng)["prior.inputs"]
    assert (start > inputs.min(0)).all()
    assert (start < inputs.max(0)).all()
    nearest = np.abs(start[:, None] - inputs).max(-1).min(1)
    assert (nearest > 0).all()


def test_without_context_columns_pseudo_rows_have_none() -> None:
    vae, parameters = small_model(NUMBERS, GaussianPosterior(), VampPrior(components=2), context=0)
    assert "prior.context" not in vae.shapes()
    z = np.zeros((1, 1, 3))
    assert np.isfinite(vae.latent_prior(NUMPY, parameters).log_prob(NUMPY, z)).all()


def test_a_component_can_be_neither_a_point_nor_endless() -> None:
    vae, parameters = small_model(NUMBERS, GaussianPosterior(), MixturePrior(components=2))
    parameters["prior.log_scale"] = np.array([[-99.0] * 3, [99.0] * 3], np.float32)
    found = vae.latent_prior(NUMPY, parameters)
    assert isinstance(found, NormalMixture)
    assert found.log_scale[:, 0].tolist() == [-7.0, 3.0]
    np.testing.assert_allclose(np.exp(found.log_weight).sum(), 1.0, rtol=1e-6)


@EVERY
def test_the_divergence_is_never_below_zero_on_average(name: str) -> None:
    """Gibbs' inequality, for many rows and many draws of each."""
    noise = np.random.default_rng(0).standard_normal((20_000, 1, 3))
    assert (distribution(name).kl(NUMPY, some_posterior(8), noise) > 0).all()


@EVERY
def test_the_divergence_is_the_mean_log_ratio_of_draws_from_the_posterior(name: str) -> None:
    noise = np.random.default_rng(0).standard_normal((40_000, 1, 3))
    q, prior = some_posterior(), distribution(name)
    assert q.log_scale is not None
    z = q.loc + np.exp(q.log_scale) * noise
    log_q = np.asarray(stats.norm(q.loc, np.exp(q.log_scale)).logpdf(z)).sum(-1)
    ratios = log_q - prior.log_prob(NUMPY, z)
    error = ratios.std(0) / np.sqrt(len(ratios))
    assert (np.abs(prior.kl(NUMPY, q, noise) - ratios.mean(0)) < 5 * error).all()


def test_a_mixture_diverges_from_itself_by_nothing() -> None:
    mixture = mixture_of_two()
    one = NormalMixture(np.zeros(1), mixture.loc[:1], mixture.log_scale[:1])
    q = DiagonalNormal(mixture.loc[:1], mixture.log_scale[:1])
    noise = np.random.default_rng(0).standard_normal((3, 1, 3))
    np.testing.assert_allclose(one.kl(NUMPY, q, noise), [0.0], atol=1e-12)


@EVERY
def test_draws_have_the_density_of_the_prior(name: str) -> None:
    """Their mean log density is minus the entropy, which importance sampling gives as well."""
    prior, rng = distribution(name), np.random.default_rng(0)
    drawn = prior.sample(20_000, rng)
    assert drawn.shape == (20_000, 3)
    found = prior.log_prob(NUMPY, drawn[:, None])[:, 0]
    wide = rng.normal(0.0, 3.0, (400_000, 1, 3))
    log_density = prior.log_prob(NUMPY, wide)[:, 0]
    weight = np.exp(log_density - np.asarray(stats.norm(0, 3).logpdf(wide)).sum(-1)[:, 0])
    expected = (weight * log_density).mean()
    spread = found.std() / np.sqrt(len(found))
    spread += (weight * log_density).std() / np.sqrt(len(weight))
    assert weight.mean() == pytest.approx(1.0, abs=0.05)
    assert abs(found.mean() - expected) < 5 * spread


def test_draws_fall_on_components_by_their_weights() -> None:
    far = NormalMixture(np.log([0.2, 0.8]), np.array([[-50.0], [50.0]]), np.zeros((2, 1)))
    drawn = far.sample(10_000, np.random.default_rng(0))
    assert (drawn < 0).mean() == pytest.approx(0.2, abs=0.02)
    np.testing.assert_allclose(np.abs(drawn).std(), 1.0, atol=0.05)


@EVERY
def test_both_libraries_agree(name: str) -> None:
    vae, parameters = small_model(NUMBERS, GaussianPosterior(), EVERY_PRIOR[name])
    z = np.random.default_rng(0).normal(size=(5, 32, 3)).astype(np.float32)
    ours = vae.latent_prior(NUMPY, parameters).log_prob(NUMPY, z)
    theirs = vae.latent_prior(TORCH, on(TORCH, parameters)).log_prob(TORCH, TORCH.array(z))
    np.testing.assert_allclose(TORCH.numpy(theirs), ours, rtol=1e-5, atol=1e-5)
