"""What training minimises, against its definition and by its derivatives."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anomaly.compatibility import check_objective
from anomaly.models.likelihood import ProductLikelihood
from anomaly.models.objective import (
    ELBO,
    IMQ_SCALES,
    ImportanceWeighted,
    Loss,
    Objective,
    WassersteinMMD,
    loss_of,
    mmd,
)
from anomaly.models.ops import Ops
from anomaly.models.posterior import GaussianPosterior, PointPosterior, Posterior
from anomaly.models.prior import Prior, StandardNormalPrior
from anomaly.scores import NegativeIWBound
from anomaly.scores.bounds import NOISE
from tests.contracts.parts import (
    EVERY_LATENT,
    EVERY_LIKELIHOOD,
    EVERY_OBJECTIVE,
    EVERY_POSTERIOR,
    EVERY_PRIOR,
    NUMPY,
    TRAINING,
    Array,
    batch_of,
    goes_together,
    on,
    random_features,
    small_model,
)

PLAIN_ELBO = ELBO(beta=1.0)
PLAIN_LATENT: tuple[Posterior, Prior] = (GaussianPosterior(), StandardNormalPrior())
EVERY = pytest.mark.parametrize("likelihood", EVERY_LIKELIHOOD.values(), ids=EVERY_LIKELIHOOD)


def loss(
    likelihood: ProductLikelihood,
    ops: Ops = NUMPY,
    *,
    objective: Objective = PLAIN_ELBO,
    latent: tuple[Posterior, Prior] = PLAIN_LATENT,
    missing: float = 0.3,
) -> Loss:
    vae, parameters = small_model(likelihood, *latent)
    rows = random_features(vae, 32, missing=missing)
    shape = (*objective.draws(32), 3)
    noise = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    return loss_of(ops, vae, on(ops, parameters), batch_of(rows, ops), ops.array(noise), objective)


@EVERY
def test_the_loss_is_reconstruction_plus_beta_times_kl(likelihood: ProductLikelihood) -> None:
    found = loss(likelihood, objective=ELBO(beta=2.5))
    assert found.total == pytest.approx(found.reconstruction + 2.5 * found.kl)


@EVERY
def test_reconstruction_is_the_mean_cost_of_the_observed_entries(
    likelihood: ProductLikelihood,
) -> None:
    vae, parameters = small_model(likelihood)
    rows = random_features(vae, 32, missing=0.3)
    noise = np.random.default_rng(1).standard_normal((1, 32, 3)).astype(np.float32)
    q = vae.encode(NUMPY, parameters, rows.inputs, rows.context)
    outputs = vae.decode(NUMPY, parameters, q.sample(NUMPY, noise), rows.context)
    log_prob = likelihood.log_prob(NUMPY, parameters, outputs, rows.targets)
    per_row = [
        -sum(log_prob[0, i, d] for d in range(likelihood.targets) if rows.observed[i, d])
        for i in range(32)
    ]
    assert loss(likelihood).reconstruction == pytest.approx(np.mean(per_row), rel=1e-5)


@given(capacity=st.floats(0, 50))
def test_a_capacity_charges_the_distance_of_the_kl_from_it(capacity: float) -> None:
    found = loss(EVERY_LIKELIHOOD["mixed"], objective=ELBO(beta=3.0, capacity=capacity))
    expected = found.reconstruction + 3.0 * abs(found.kl - capacity)
    assert found.total == pytest.approx(expected)


def test_a_capacity_of_zero_is_the_plain_kl() -> None:
    plain, capped = (
        loss(EVERY_LIKELIHOOD["mixed"], objective=ELBO(capacity=c)).total for c in (None, 0.0)
    )
    assert plain == pytest.approx(capped)


def test_beyond_the_capacity_gradients_turn_round() -> None:
    """Below it the KL is pushed up, above it down."""
    vae, parameters = small_model(EVERY_LIKELIHOOD["numbers"])
    rows = batch_of(random_features(vae, 32), TRAINING)
    slopes = []
    for capacity in (0.0, 1e3):
        leaves = {name: v.requires_grad_() for name, v in on(TRAINING, parameters).items()}
        found = loss_of(
            TRAINING, vae, leaves, rows, torch.randn((1, 32, 3)), ELBO(capacity=capacity)
        )
        bias = leaves["encoder.1.bias"]
        total, kl = (
            torch.autograd.grad(x, bias, retain_graph=True)[0]
            for x in (found.total - found.reconstruction, found.kl)
        )
        slopes.append((total * kl).sum().item())
    assert slopes[0] > 0 > slopes[1]


TRAINABLE: dict[str, tuple[Objective, tuple[Posterior, Prior]]] = {
    f"{name}-{latent_name}": (objective, latent)
    for name, objective in EVERY_OBJECTIVE.items()
    for latent_name, latent in EVERY_LATENT.items()
    if goes_together(partial(check_objective, objective, latent[1], latent[0]))
}
EVERY_TRAINABLE = pytest.mark.parametrize(
    ("objective", "latent"), TRAINABLE.values(), ids=TRAINABLE
)


@EVERY
@EVERY_TRAINABLE
def test_both_libraries_agree(
    likelihood: ProductLikelihood, objective: Objective, latent: tuple[Posterior, Prior]
) -> None:
    numpys, torchs = (
        loss(likelihood, ops, objective=objective, latent=latent) for ops in (NUMPY, TRAINING)
    )
    for name in ("total", "reconstruction", "kl"):
        expected = pytest.approx(getattr(numpys, name), rel=1e-4, abs=1e-5)
        assert getattr(torchs, name).item() == expected


@EVERY
@EVERY_TRAINABLE
def test_every_parameter_learns(
    likelihood: ProductLikelihood, objective: Objective, latent: tuple[Posterior, Prior]
) -> None:
    vae, parameters = small_model(likelihood, *latent)
    rows = batch_of(random_features(vae, 32), TRAINING)
    leaves = {name: v.requires_grad_() for name, v in on(TRAINING, parameters).items()}
    noise = torch.randn((*objective.draws(32), 3), generator=torch.manual_seed(0))
    loss_of(TRAINING, vae, leaves, rows, noise, objective).total.backward()
    for name, leaf in leaves.items():
        assert leaf.grad is not None, name
        assert leaf.grad.isfinite().all(), name
        assert leaf.grad.abs().max() > 0, name


def test_beta_warms_up_linearly_and_stays() -> None:
    objective = ELBO(beta=2.0, warmup_steps=3)
    assert [objective.beta_at(step) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert objective.beta_at(None) == 2.0
    assert ELBO(beta=2.0).beta_at(0) == 2.0


def test_with_no_weight_on_the_kl_only_the_reconstruction_counts() -> None:
    found = loss(EVERY_LIKELIHOOD["mixed"], objective=ELBO(beta=0.0))
    assert found.total == pytest.approx(found.reconstruction)


@EVERY
@pytest.mark.parametrize("prior", EVERY_PRIOR.values(), ids=EVERY_PRIOR)
@pytest.mark.parametrize("samples", [1, 4])
def test_what_the_importance_weighted_objective_minimises_is_the_score(
    likelihood: ProductLikelihood, prior: Prior, samples: int
) -> None:
    vae, parameters = small_model(likelihood, GaussianPosterior(), prior)
    rows = batch_of(random_features(vae, 32))
    noise = np.random.default_rng(1).standard_normal((samples, 32, 3))
    found = loss_of(NUMPY, vae, parameters, rows, noise, ImportanceWeighted(samples=samples))
    score = NegativeIWBound(draws=samples)
    terms = score.terms(NUMPY, vae, {**parameters, NOISE: noise}, rows)
    assert found.total == pytest.approx(terms.scores.mean(), rel=1e-5)


@pytest.mark.parametrize("prior", ["mixture", "vamp"])
def test_with_one_sample_it_is_the_elbo_of_one_draw(prior: str) -> None:
    """Where the ELBO estimates its KL by the same draw."""
    latent = (GaussianPosterior(), EVERY_PRIOR[prior])
    elbo, weighted = (
        loss(EVERY_LIKELIHOOD["mixed"], objective=objective, latent=latent).total
        for objective in (PLAIN_ELBO, ImportanceWeighted(samples=1))
    )
    assert weighted == pytest.approx(elbo, rel=1e-5)


def test_more_samples_make_the_bound_tighter() -> None:
    """On average over noise; from the ELBO downwards (Burda et al. 2016, theorem 1)."""
    vae, parameters = small_model(EVERY_LIKELIHOOD["mixed"])
    rows = batch_of(random_features(vae, 400))
    rng = np.random.default_rng(0)
    means = [
        np.mean(
            [
                loss_of(NUMPY, vae, parameters, rows, noise, ImportanceWeighted(samples=s)).total
                for noise in rng.standard_normal((40, s, 400, 3))
            ]
        )
        for s in (1, 4, 16)
    ]
    elbo = loss_of(
        NUMPY, vae, parameters, rows, rng.standard_normal((40, 400, 3)), PLAIN_ELBO
    ).total
    assert means[0] == pytest.approx(elbo, rel=0.01)
    assert means[0] > means[1] > means[2]


class TestDiscrepancy:
    def test_it_is_the_mean_over_pairs_of_its_kernels(self) -> None:
        """Gretton et al. (2012, lemma 6), pair by pair."""
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(5, 3)), rng.normal(1.0, 2.0, size=(5, 3))

        def kernel(a: Array, b: Array) -> float:
            widths = [2 * 3 * scale for scale in IMQ_SCALES]
            return float(sum(width / (width + ((a - b) ** 2).sum()) for width in widths))

        apart = [(i, j) for i in range(5) for j in range(5) if i != j]
        expected = (
            np.mean([kernel(x[i], x[j]) for i, j in apart])
            + np.mean([kernel(y[i], y[j]) for i, j in apart])
            - 2 * np.mean([kernel(x[i], y[j]) for i in range(5) for j in range(5)])
        )
        assert mmd(x, y) == pytest.approx(expected)

    def test_it_is_zero_on_average_for_samples_of_one_distribution(self) -> None:
        rng = np.random.default_rng(0)
        found = np.array([mmd(*rng.normal(size=(2, 20, 3))) for _ in range(2000)])
        assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found))
        assert (found < 0).any()

    @pytest.mark.parametrize(("shift", "scale"), [(1.0, 1.0), (0.0, 0.3), (0.0, 3.0)])
    def test_it_tells_other_distributions_apart(self, shift: float, scale: float) -> None:
        rng = np.random.default_rng(0)
        same = mmd(rng.normal(size=(200, 3)), rng.normal(size=(200, 3)))
        other = mmd(rng.normal(shift, scale, (200, 3)), rng.normal(size=(200, 3)))
        assert other > 10 * abs(same)

    def test_one_row_has_no_pair(self) -> None:
        assert np.isfinite(mmd(np.ones((1, 3)), np.zeros((1, 3))))

    def test_the_objective_weighs_it_against_fresh_draws_of_the_prior(self) -> None:
        likelihood = EVERY_LIKELIHOOD["mixed"]
        vae, parameters = small_model(likelihood, PointPosterior())
        rows = batch_of(random_features(vae, 32))
        noise = np.random.default_rng(1).standard_normal((2, 32, 3))
        found = loss_of(NUMPY, vae, parameters, rows, noise, WassersteinMMD(weight=7.0))
        z = vae.encode(NUMPY, parameters, rows.inputs, rows.context).loc
        assert found.total - found.reconstruction == pytest.approx(7.0 * mmd(z, noise[1]))


def test_quantisation_is_charged_whatever_the_weights() -> None:
    latent = (EVERY_POSTERIOR["quantised"], StandardNormalPrior())
    found = loss(EVERY_LIKELIHOOD["mixed"], latent=latent)
    assert found.posterior.quantisation is not None
    cost = found.posterior.quantisation.mean()
    assert cost > 0
    assert found.total == pytest.approx(found.reconstruction + cost)
