"""What training minimises, against its definition and by its derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anomaly.models.likelihood import ProductLikelihood
from anomaly.models.objective import Loss, Objective, loss_of
from anomaly.models.ops import Ops
from tests.contracts.parts import (
    EVERY_LIKELIHOOD,
    NUMPY,
    TRAINING,
    batch_of,
    on,
    random_features,
    small_model,
)

EVERY = pytest.mark.parametrize("likelihood", EVERY_LIKELIHOOD.values(), ids=EVERY_LIKELIHOOD)


def loss(
    likelihood: ProductLikelihood,
    ops: Ops = NUMPY,
    *,
    beta: float = 1.0,
    capacity: float | None = None,
    missing: float = 0.3,
) -> Loss:
    vae, parameters = small_model(likelihood)
    rows = random_features(vae, 32, missing=missing)
    noise = np.random.default_rng(1).standard_normal((4, 32, 3)).astype(np.float32)
    return loss_of(
        ops, vae, on(ops, parameters), batch_of(rows, ops), ops.array(noise), beta, capacity
    )


@EVERY
def test_the_loss_is_reconstruction_plus_beta_times_kl(likelihood: ProductLikelihood) -> None:
    found = loss(likelihood, beta=2.5)
    assert found.total == pytest.approx(found.reconstruction + 2.5 * found.kl)
    assert found.kl_per_latent.shape == (3,)
    assert found.kl_per_latent.sum() == pytest.approx(found.kl)


@EVERY
def test_reconstruction_is_the_mean_cost_of_the_observed_entries(
    likelihood: ProductLikelihood,
) -> None:
    vae, parameters = small_model(likelihood)
    rows = random_features(vae, 32, missing=0.3)
    noise = np.random.default_rng(1).standard_normal((4, 32, 3)).astype(np.float32)
    q = vae.encode(NUMPY, parameters, rows.inputs, rows.context)
    outputs = vae.decode(NUMPY, parameters, q.sample(NUMPY, noise), rows.context)
    log_prob = likelihood.log_prob(NUMPY, parameters, outputs, rows.targets)
    per_row = [
        -sum(log_prob[s, i, d] for d in range(likelihood.targets) if rows.observed[i, d])
        for s in range(4)
        for i in range(32)
    ]
    assert loss(likelihood).reconstruction == pytest.approx(np.mean(per_row), rel=1e-5)


@EVERY
def test_the_derivative_by_beta_is_the_kl(likelihood: ProductLikelihood) -> None:
    beta: Any = torch.tensor(0.7, requires_grad=True)
    vae, parameters = small_model(likelihood)
    rows = batch_of(random_features(vae, 32), TRAINING)
    found = loss_of(
        TRAINING, vae, on(TRAINING, parameters), rows, torch.randn((1, 32, 3)), beta, None
    )
    (slope,) = torch.autograd.grad(found.total, beta)
    assert slope.item() == pytest.approx(found.kl.item())
    assert found.kl.item() > 0


@given(capacity=st.floats(0, 50))
def test_a_capacity_charges_the_distance_of_the_kl_from_it(capacity: float) -> None:
    found = loss(EVERY_LIKELIHOOD["mixed"], beta=3.0, capacity=capacity)
    expected = found.reconstruction + 3.0 * abs(found.kl - capacity)
    assert found.total == pytest.approx(expected)


def test_a_capacity_of_zero_is_the_plain_kl() -> None:
    plain, capped = (loss(EVERY_LIKELIHOOD["mixed"], capacity=c).total for c in (None, 0.0))
    assert plain == pytest.approx(capped)


def test_beyond_the_capacity_gradients_turn_round() -> None:
    """Below it the KL is pushed up, above it down."""
    vae, parameters = small_model(EVERY_LIKELIHOOD["numbers"])
    rows = batch_of(random_features(vae, 32), TRAINING)
    slopes = []
    for capacity in (0.0, 1e3):
        leaves = {name: v.requires_grad_() for name, v in on(TRAINING, parameters).items()}
        found = loss_of(TRAINING, vae, leaves, rows, torch.randn((1, 32, 3)), 1.0, capacity)
        bias = leaves["encoder.1.bias"]
        total, kl = (
            torch.autograd.grad(x, bias, retain_graph=True)[0]
            for x in (found.total - found.reconstruction, found.kl)
        )
        slopes.append((total * kl).sum().item())
    assert slopes[0] > 0 > slopes[1]


@EVERY
def test_both_libraries_agree(likelihood: ProductLikelihood) -> None:
    numpys, torchs = loss(likelihood), loss(likelihood, TRAINING)
    for name in ("total", "reconstruction", "kl"):
        assert getattr(torchs, name).item() == pytest.approx(getattr(numpys, name), rel=1e-5)


def test_beta_warms_up_linearly_and_stays() -> None:
    objective = Objective(beta=2.0, warmup_steps=3)
    assert [objective.beta_at(step) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert Objective(beta=2.0).beta_at(0) == 2.0


def test_with_no_weight_on_the_kl_only_the_reconstruction_counts() -> None:
    found = loss(EVERY_LIKELIHOOD["mixed"], beta=0.0)
    assert found.total == pytest.approx(found.reconstruction)
