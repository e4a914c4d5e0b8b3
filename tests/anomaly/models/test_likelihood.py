"""Likelihoods against scipy, and the floors that bound what one entry can cost."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from anomaly.models.likelihood import (
    LikelihoodConfig,
    ProductLikelihood,
    Variance,
    bernoulli_log_prob,
    bernoulli_probability,
    categorical_log_prob,
    categorical_probabilities,
    gaussian_log_prob,
)
from tests.contracts.parts import NUMPY

numbers = st.floats(-1e3, 1e3)
logits = st.floats(-30, 30)
floors = st.floats(1e-6, 0.5)
NO_FLOOR = 1e-300


@given(x=numbers, mean=numbers, sigma=st.floats(0.01, 100))
def test_gaussian_is_scipys(x: float, mean: float, sigma: float) -> None:
    found = gaussian_log_prob(NUMPY, np.array(x), np.array(mean), np.array(sigma))
    assert found == pytest.approx(stats.norm(mean, sigma).logpdf(x), rel=1e-9, abs=1e-9)


@given(x=st.sampled_from([0.0, 1.0]), logit=logits)
def test_bernoulli_without_a_floor_is_scipys(x: float, logit: float) -> None:
    found = bernoulli_log_prob(NUMPY, np.array(x), np.array(logit), NO_FLOOR)
    expected = special.log_expit(logit if x else -logit)
    assert found == pytest.approx(expected, rel=1e-6)


@given(code=st.integers(0, 3), scores=st.lists(logits, min_size=4, max_size=4))
def test_categorical_without_a_floor_is_scipys(code: int, scores: list[float]) -> None:
    found = categorical_log_prob(NUMPY, np.array([code]), np.array([scores]), NO_FLOOR)
    assert found[0] == pytest.approx(special.log_softmax(scores)[code], rel=1e-6, abs=1e-12)


@given(logit=st.floats(-1e6, 1e6), floor=floors)
def test_the_floor_bounds_what_a_boolean_costs(logit: float, floor: float) -> None:
    p = bernoulli_probability(NUMPY, np.array(logit), floor)
    assert floor / 2 - 1e-12 <= p <= 1 - floor / 2 + 1e-12
    both = [bernoulli_log_prob(NUMPY, np.array(x), np.array(logit), floor) for x in (0.0, 1.0)]
    assert min(both) >= math.log(floor / 2) - 1e-12
    assert np.exp(both).sum() == pytest.approx(1.0)


@given(scores=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=6), floor=floors)
def test_the_floor_bounds_what_a_category_costs(scores: list[float], floor: float) -> None:
    p = categorical_probabilities(NUMPY, np.array([scores]), floor)[0]
    c = len(scores)
    assert (p >= floor / c * (1 - 1e-12)).all()
    assert p.sum() == pytest.approx(1.0)
    codes = np.arange(c)
    costs = categorical_log_prob(NUMPY, codes, np.tile(scores, (c, 1)), floor)
    np.testing.assert_allclose(costs, np.log(p))


def test_a_floor_of_float32_keeps_the_cost_finite_where_the_softmax_is_zero() -> None:
    scores = np.array([[200.0, 0.0]], np.float32)
    cost = categorical_log_prob(NUMPY, np.array([1]), scores, 1e-3)
    assert cost[0] == pytest.approx(math.log(1e-3 / 2), rel=1e-4)


@given(raw=st.floats(-50, 50), floor=st.floats(0.01, 1))
def test_a_learned_standard_deviation_never_falls_below_its_floor(raw: float, floor: float) -> None:
    likelihood = ProductLikelihood(LikelihoodConfig(sigma_floor=floor), 1)
    parameters = {"likelihood.raw_sigma": np.array([raw])}
    sigma = likelihood.sigma(NUMPY, parameters, np.zeros((1, 1, 1)))[0]
    assert sigma == pytest.approx(floor + np.logaddexp(raw, 0.0))
    # So a number costs at least this much, however well it is predicted.
    best = likelihood.log_prob(NUMPY, parameters, np.zeros((1, 1, 1)), np.zeros((1, 1)))
    assert best.item() <= -math.log(floor) - 0.5 * math.log(2 * math.pi) + 1e-9


@pytest.mark.parametrize("variance", list(Variance))
def test_a_fresh_standard_deviation_is_near_1(variance: Variance) -> None:
    likelihood = ProductLikelihood(LikelihoodConfig(variance=variance), 3)
    nothing_said = np.zeros((1, 1, likelihood.outputs))
    sigma = likelihood.sigma(NUMPY, likelihood.initial(), nothing_said)
    assert sigma == pytest.approx(1.0, abs=0.3)


def raw(sigma: float, floor: float) -> float:
    """The parameter of that standard deviation."""
    return math.log(math.expm1(sigma - floor))


def test_the_best_shared_standard_deviation_is_the_root_of_the_mean_squared_error() -> None:
    """The optimal sigma-VAE (Rybkin et al. 2021, eq. 5), by its gradient and its neighbours."""
    rng = np.random.default_rng(0)
    likelihood = ProductLikelihood(LikelihoodConfig(variance=Variance.SHARED), 4)
    outputs, targets = rng.normal(size=(2, 50, 4)), rng.normal(size=(50, 4))
    best = raw(math.sqrt(((targets - outputs) ** 2).mean()), likelihood.config.sigma_floor)

    def cost(value: float) -> float:
        parameters = {"likelihood.raw_sigma": np.array([value])}
        return float(-likelihood.log_prob(NUMPY, parameters, outputs, targets).mean())

    assert (cost(best + 1e-4) - cost(best - 1e-4)) / 2e-4 == pytest.approx(0.0, abs=1e-7)
    assert cost(best) < min(cost(best - 0.1), cost(best + 0.1))


def test_the_decoder_may_give_each_row_its_own_standard_deviation() -> None:
    likelihood = ProductLikelihood(LikelihoodConfig(variance=Variance.PER_ROW), 2, 1)
    assert (likelihood.outputs, likelihood.shapes()) == (5, {})
    sigma = np.array([[0.2, 3.0], [1.0, 0.5]])
    spread = np.log(np.expm1(sigma - likelihood.config.sigma_floor))
    mean, logit = np.array([[1.0, 2.0], [3.0, 4.0]]), np.zeros((2, 1))
    outputs = np.concatenate([spread, mean, logit], axis=1)[None]
    targets = np.array([[0.5, 0.5, 1.0], [0.5, 0.5, 0.0]])
    found = likelihood.log_prob(NUMPY, {}, outputs, targets)
    np.testing.assert_allclose(found[0, :, :2], stats.norm(mean, sigma).logpdf(targets[:, :2]))
    np.testing.assert_array_equal(likelihood.expected(NUMPY, outputs)[0], mean[None])


def test_unit_variance_is_half_the_squared_error_up_to_a_constant() -> None:
    rng = np.random.default_rng(0)
    likelihood = ProductLikelihood(LikelihoodConfig(variance=Variance.UNIT), 4)
    outputs, targets = rng.normal(size=(2, 5, 4)), rng.normal(size=(5, 4))
    cost = -likelihood.log_prob(NUMPY, likelihood.initial(), outputs, targets)
    squares = likelihood.squared_error(NUMPY, outputs, targets)
    np.testing.assert_allclose(cost, squares / 2 + 0.5 * math.log(2 * math.pi))
    np.testing.assert_allclose(squares, (targets - outputs) ** 2)


def test_the_squared_error_of_a_category_is_the_brier_score() -> None:
    rng = np.random.default_rng(0)
    likelihood = ProductLikelihood(LikelihoodConfig(probability_floor=NO_FLOOR), 0, 1, (3,))
    outputs = rng.normal(size=(2, 6, 4))
    booleans, codes = rng.integers(0, 2, 6), rng.integers(0, 3, 6)
    found = likelihood.squared_error(NUMPY, outputs, np.stack([booleans, codes], 1).astype(float))
    p_true = special.expit(outputs[..., 0])
    p_class = special.softmax(outputs[..., 1:], axis=-1)
    np.testing.assert_allclose(found[..., 0], (booleans - p_true) ** 2)
    np.testing.assert_allclose(found[..., 1], ((p_class - np.eye(3)[codes]) ** 2).sum(-1))


def test_expectations_are_means_and_probabilities() -> None:
    rng = np.random.default_rng(0)
    likelihood = ProductLikelihood(LikelihoodConfig(probability_floor=NO_FLOOR), 2, 1, (2, 3))
    outputs = rng.normal(size=(1, 4, 8))
    means, probabilities, classes = likelihood.expected(NUMPY, outputs)
    np.testing.assert_array_equal(means, outputs[..., :2])
    np.testing.assert_allclose(probabilities, special.expit(outputs[..., 2:3]))
    np.testing.assert_allclose(classes[0], special.softmax(outputs[..., 3:5], -1))
    np.testing.assert_allclose(classes[1], special.softmax(outputs[..., 5:], -1))
