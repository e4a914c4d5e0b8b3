"""Each score is its textbook formula; the bounds bound a likelihood that is known exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from anomaly.arrays import Features, Parameters
from anomaly.models.likelihood import LikelihoodConfig, ProductLikelihood
from anomaly.models.posterior import GaussianPosterior, PointPosterior, Posterior
from anomaly.models.vae import VAE
from anomaly.scores import (
    MissingFill,
    NegativeELBO,
    NegativeIWBound,
    ReconstructionError,
    Score,
    ScoreTerms,
    SquaredError,
)
from anomaly.scores.bounds import NOISE, antithetic_noise
from tests.contracts.parts import (
    EVERY_LIKELIHOOD,
    NUMPY,
    Array,
    batch_of,
    random_features,
    small_model,
    with_constants,
)

MIXED = EVERY_LIKELIHOOD["mixed"]
DRAWS = 6


class Textbook:
    """A mixed row of two numbers, one boolean and classes of 3 and 2, in float64 and scipy."""

    def __init__(self, vae: VAE, parameters: Parameters, rows: Features, noise: Array) -> None:
        p = {name: value.astype(np.float64) for name, value in parameters.items()}
        self.rows, self.noise = rows, noise.astype(np.float64)
        context = rows.context.astype(np.float64)
        seen = np.hstack([rows.inputs, context])
        encoded = self.network(p, "encoder", seen)
        latent = vae.sizes.latent
        self.loc, self.scale = encoded[:, :latent], np.exp(encoded[:, latent:])
        self.z = self.loc + self.scale * self.noise
        out = np.stack([self.network(p, "decoder", np.hstack([z, context])) for z in self.z])
        floor = vae.likelihood.config.probability_floor
        sigma = vae.likelihood.config.sigma_floor + np.logaddexp(p["likelihood.raw_sigma"], 0)
        self.means = out[..., :2]
        self.sigma = sigma
        self.true = (1 - floor) * special.expit(out[..., 2]) + floor / 2
        self.classes = [
            (1 - floor) * special.softmax(part, -1) + floor / part.shape[-1]
            for part in (out[..., 3:6], out[..., 6:8])
        ]

    def network(self, p: dict[str, Array], name: str, x: Array) -> Array:
        hidden = x @ p[f"{name}.0.weight"].T + p[f"{name}.0.bias"]
        hidden = hidden * special.expit(hidden)
        out: Array = hidden @ p[f"{name}.1.weight"].T + p[f"{name}.1.bias"]
        return out

    def log_prob(self) -> Array:
        """(S, N, 5)."""
        t = self.rows.targets
        n = np.arange(len(t))
        return np.concatenate(
            [
                np.asarray(stats.norm(self.means, self.sigma).logpdf(t[:, :2])),
                np.log(np.where(t[:, 2] == 1, self.true, 1 - self.true))[..., None],
                *(
                    np.log(c[:, n, t[:, 3 + k].astype(int)])[..., None]
                    for k, c in enumerate(self.classes)
                ),
            ],
            axis=-1,
        )

    def kl(self) -> Array:
        """(N,)."""
        kl: Array = (0.5 * (self.loc**2 + self.scale**2 - 1) - np.log(self.scale)).sum(-1)
        return kl

    def iw_bound(self) -> Array:
        """(N,), the plain mean of the weights."""
        log_q = np.asarray(stats.norm(self.loc, self.scale).logpdf(self.z)).sum(-1)
        log_p = np.asarray(stats.norm.logpdf(self.z)).sum(-1)
        weights = np.exp(self.log_prob().sum(-1) + log_p - log_q)
        bound: Array = np.log(weights.mean(0))
        return bound

    def squared_error(self) -> Array:
        """(N,), the mean over targets."""
        t = self.rows.targets
        errors = [((t[:, :2] - self.means) ** 2)[0, :, 0], ((t[:, :2] - self.means) ** 2)[0, :, 1]]
        errors.append((t[:, 2] - self.true[0]) ** 2)
        for k, c in enumerate(self.classes):
            one_hot = np.eye(c.shape[-1])[t[:, 3 + k].astype(int)]
            errors.append(((c[0] - one_hot) ** 2).sum(-1))
        mean: Array = np.mean(errors, axis=0)
        return mean


def scored(score: Score) -> tuple[ScoreTerms, Textbook]:
    vae, parameters = small_model(MIXED)
    rows = random_features(vae, 32)
    parameters = with_constants(score, vae, parameters)
    terms = score.terms(NUMPY, vae, parameters, batch_of(rows))
    return terms, Textbook(vae, parameters, rows, parameters.get(NOISE, np.zeros((1, 1, 3))))


class TestEachScoreIsItsFormula:
    def test_squared_error_is_the_mean_over_targets_at_the_posterior_mean(self) -> None:
        terms, book = scored(SquaredError())
        np.testing.assert_allclose(book.z[0], book.loc)
        np.testing.assert_allclose(terms.scores, book.squared_error(), rtol=1e-4)

    @pytest.mark.parametrize("draws", [0, DRAWS])
    def test_reconstruction_is_the_mean_cost_over_draws(self, draws: int) -> None:
        terms, book = scored(ReconstructionError(draws=draws))
        np.testing.assert_allclose(terms.per_target, -book.log_prob().mean(0), rtol=1e-4)
        assert not terms.rest.any()

    @pytest.mark.parametrize("draws", [0, DRAWS])
    def test_the_negative_elbo_adds_the_exact_kl(self, draws: int) -> None:
        terms, book = scored(NegativeELBO(draws=draws))
        np.testing.assert_allclose(terms.per_target, -book.log_prob().mean(0), rtol=1e-4)
        np.testing.assert_allclose(terms.rest, book.kl(), rtol=1e-4)

    @pytest.mark.parametrize("draws", [1, DRAWS])
    def test_the_importance_weighted_bound_is_the_log_of_the_mean_weight(self, draws: int) -> None:
        terms, book = scored(NegativeIWBound(draws=draws))
        np.testing.assert_allclose(terms.scores, -book.iw_bound(), rtol=1e-4, atol=1e-4)

    def test_zero_draws_decode_the_posterior_mean(self) -> None:
        _, book = scored(ReconstructionError(draws=0))
        np.testing.assert_array_equal(book.z[0], book.loc)

    def test_a_missing_entry_does_not_weigh_the_draws_of_the_bound(self) -> None:
        """The bound of the observed entries alone, as if the model had no other column."""
        vae, parameters = small_model(MIXED)
        rows = random_features(vae, 32, missing=0.5, seed=3)
        score = NegativeIWBound(draws=DRAWS)
        parameters = with_constants(score, vae, parameters)
        terms = score.terms(NUMPY, vae, parameters, batch_of(rows))
        book = Textbook(vae, parameters, rows, parameters[NOISE])
        log_prob = book.log_prob()
        book.log_prob = lambda: log_prob * rows.observed  # type: ignore[method-assign]
        observed = (terms.per_target * rows.observed).sum(-1) + terms.rest
        np.testing.assert_allclose(observed, -book.iw_bound(), rtol=1e-4, atol=1e-4)


SIGMA = 0.7
L, D = 2, 5


def linear_gaussian(
    rng: np.random.Generator, *, exact: bool
) -> tuple[VAE, Parameters, Features, Array]:
    """A linear decoder with orthogonal columns, for which -log p(x) is known in closed form.

    With `exact`, the encoder gives the true posterior, which then is diagonal.
    """
    likelihood = ProductLikelihood(LikelihoodConfig(), D)
    posterior: Posterior = GaussianPosterior()
    vae, parameters = small_model(likelihood, posterior, hidden=(), latent=L, inputs=D, context=0)
    basis, _ = np.linalg.qr(rng.normal(size=(D, L)))
    w, b = basis * np.array([2.0, 0.8]), rng.normal(size=D)
    precision = np.diag(w.T @ w) / SIGMA**2 + 1
    to_loc = (w.T / SIGMA**2) / precision[:, None]
    parameters = {
        "decoder.0.weight": w,
        "decoder.0.bias": b,
        "likelihood.raw_sigma": np.full(D, math.log(math.expm1(SIGMA - 0.05))),
        "encoder.0.weight": np.vstack([to_loc, np.zeros((L, D))]),
        "encoder.0.bias": np.concatenate([-to_loc @ b, -0.5 * np.log(precision)]),
    }
    if not exact:
        parameters["encoder.0.weight"][:L] *= 0.6
        parameters["encoder.0.bias"][L:] += 0.5
    x = rng.normal(size=(64, L)) @ w.T + b + SIGMA * rng.normal(size=(64, D))
    rows = Features(x.astype(np.float32), x, np.ones((64, D), bool), np.zeros((64, 0), np.float32))
    covariance = w @ w.T + SIGMA**2 * np.eye(D)
    marginal: Array = -np.asarray(stats.multivariate_normal(b, covariance).logpdf(x))
    return vae, parameters, rows, marginal


def score_of(score: Score, vae: VAE, parameters: Parameters, rows: Features, noise: Array) -> Array:
    return score.terms(NUMPY, vae, {**parameters, NOISE: noise}, batch_of(rows)).scores


def sigma_points(latent: int) -> Array:
    """Draws with exactly zero mean and unit covariance: expectations of squares are exact."""
    corners = math.sqrt(latent) * np.eye(latent)[:, None, :]
    return np.concatenate([corners, -corners])


class TestBoundsOnAKnownLikelihood:
    """Probabilistic PCA (Tipping & Bishop 1999): log p(x) = log N(x; b, W W' + sigma^2 I)."""

    def test_with_the_true_posterior_the_elbo_is_the_likelihood(self) -> None:
        vae, parameters, rows, marginal = linear_gaussian(np.random.default_rng(0), exact=True)
        found = score_of(NegativeELBO(), vae, parameters, rows, sigma_points(L))
        np.testing.assert_allclose(found, marginal, rtol=1e-5)

    @pytest.mark.parametrize("draws", [1, 5])
    def test_with_the_true_posterior_every_draw_has_the_same_weight(self, draws: int) -> None:
        vae, parameters, rows, marginal = linear_gaussian(np.random.default_rng(0), exact=True)
        noise = np.random.default_rng(1).standard_normal((draws, 1, L))
        found = score_of(NegativeIWBound(draws=draws), vae, parameters, rows, noise)
        np.testing.assert_allclose(found, marginal, rtol=1e-5)

    def test_with_another_posterior_the_elbo_is_worse_for_every_row(self) -> None:
        vae, parameters, rows, marginal = linear_gaussian(np.random.default_rng(0), exact=False)
        found = score_of(NegativeELBO(), vae, parameters, rows, sigma_points(L))
        assert (found > marginal + 0.01).all()

    def test_the_importance_weighted_bound_rises_with_the_draws_to_the_likelihood(self) -> None:
        """On average over noise, from the ELBO (one draw) upwards."""
        vae, parameters, rows, marginal = linear_gaussian(np.random.default_rng(0), exact=False)
        rng = np.random.default_rng(1)
        gaps = [
            np.mean(
                [
                    score_of(
                        NegativeIWBound(draws=draws),
                        vae,
                        parameters,
                        rows,
                        rng.standard_normal((draws, len(rows), L)),
                    )
                    - marginal
                    for _ in range(20 + 1000 // draws)
                ]
            )
            for draws in (1, 4, 16, 64)
        ]
        elbo = score_of(NegativeELBO(), vae, parameters, rows, sigma_points(L)) - marginal
        assert gaps[0] == pytest.approx(elbo.mean(), rel=0.1)
        assert gaps[0] > gaps[1] > gaps[2] > gaps[3] > -0.01
        assert gaps[3] < 0.1 * gaps[0]


class TestNoise:
    @pytest.mark.parametrize("draws", [2, 8, 16])
    def test_the_bank_is_antithetic(self, draws: int) -> None:
        noise = antithetic_noise(draws, 5, np.random.default_rng(0))
        assert noise.shape == (draws, 1, 5)
        assert noise.dtype == np.float32
        np.testing.assert_array_equal(noise[: draws // 2], -noise[draws // 2 :])

    def test_an_odd_number_of_draws_drops_one_of_a_pair(self) -> None:
        noise = antithetic_noise(5, 4, np.random.default_rng(0))
        assert len(noise) == 5
        np.testing.assert_array_equal(noise[:2], -noise[3:])

    def test_it_follows_from_the_seed_alone(self) -> None:
        first, again, other = (
            antithetic_noise(6, 3, np.random.default_rng(seed)).tolist() for seed in (0, 0, 1)
        )
        assert first == again != other

    def test_its_draws_are_standard_normal(self) -> None:
        half = antithetic_noise(4000, 3, np.random.default_rng(0))[:2000].ravel()
        assert stats.kstest(half, "norm").pvalue > 1e-3

    @pytest.mark.parametrize("score", [SquaredError(), ReconstructionError(draws=0)])
    def test_scores_of_the_posterior_mean_draw_nothing(self, score: Score) -> None:
        vae, _ = small_model(MIXED)
        assert not score.constants(vae, np.arange(4), np.random.default_rng(0))


class TestMissingFill:
    def test_it_holds_the_mean_of_the_observed_terms(self) -> None:
        terms = ScoreTerms(np.array([[1.0, 10.0], [3.0, 99.0]]), np.array([2.0, 4.0]))
        observed = np.array([[True, True], [True, False]])
        fill = MissingFill.of(terms, observed)
        assert fill.per_target.tolist() == [2.0, 10.0]

    def test_the_rest_is_that_of_a_complete_row(self) -> None:
        """Three of four entries are there, so the mean rest, 3, is three quarters of it."""
        terms = ScoreTerms(np.zeros((2, 2)), np.array([2.0, 4.0]))
        assert MissingFill.of(terms, np.array([[True, True], [True, False]])).rest == 4.0
        assert MissingFill.of(terms, np.ones((2, 2), bool)).rest == 3.0

    def test_a_target_that_was_never_observed_costs_nothing(self) -> None:
        terms = ScoreTerms(np.array([[1.0, 10.0]]), np.array([2.0]))
        fill = MissingFill.of(terms, np.array([[True, False]]))
        assert fill.per_target.tolist() == [1.0, 0.0]

    def test_a_row_without_any_value_scores_the_sum_of_the_means(self) -> None:
        fill = MissingFill(np.array([2.0, 5.0]), 3.0)
        raw = ScoreTerms(np.array([[7.0, 7.0]]), np.array([0.25]))
        filled = fill.fill(raw, np.zeros((1, 2), bool))
        assert filled.scores.tolist() == [2.0 + 5.0 + 0.25 + 3.0]

    def test_complete_rows_are_returned_as_they_are(self) -> None:
        raw = ScoreTerms(np.array([[0.1, 0.2]]), np.array([0.3]))
        assert MissingFill(np.ones(2), 1.0).fill(raw, np.ones((1, 2), bool)) is raw


def test_a_plain_autoencoder_is_scored_by_its_reconstruction() -> None:
    vae, parameters = small_model(MIXED, PointPosterior())
    rows = random_features(vae, 16)
    score = ReconstructionError(draws=4)
    one, many = (
        score_of(score, vae, parameters, rows, antithetic_noise(n, 3, np.random.default_rng(0)))
        for n in (0, 4)
    )
    np.testing.assert_array_equal(one, many)


def test_scores_state_their_kind_and_unit() -> None:
    for score in (SquaredError(), ReconstructionError(), NegativeELBO(), NegativeIWBound()):
        assert score.unit == ("squared error" if score.kind == "squared_error" else "nats")


def test_rows_without_any_entry_leave_the_fill_finite() -> None:
    nothing = np.zeros((2, 3), bool)
    fill = MissingFill.of(ScoreTerms(np.ones((2, 3)), np.array([0.5, 1.5])), nothing)

    np.testing.assert_array_equal(fill.per_target, np.zeros(3))
    assert fill.rest == 1.0
