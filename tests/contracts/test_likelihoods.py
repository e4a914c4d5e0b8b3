"""What every likelihood promises, alone and as a product."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.models.likelihood import ProductLikelihood
from tests.contracts.parts import EVERY_LIKELIHOOD, NUMPY, TORCH, Array, on

EVERY = pytest.mark.parametrize("likelihood", EVERY_LIKELIHOOD.values(), ids=EVERY_LIKELIHOOD)
S, N = 3, 16


def example(likelihood: ProductLikelihood, seed: int = 0) -> tuple[Array, Array]:
    """Decoder outputs (S, N, R) and targets (N, D)."""
    rng = np.random.default_rng(seed)
    outputs = rng.normal(size=(S, N, likelihood.outputs))
    targets = np.concatenate(
        [
            rng.normal(size=(N, likelihood.gaussian)),
            rng.integers(0, 2, (N, likelihood.bernoulli)),
            *(rng.integers(0, c, (N, 1)) for c in likelihood.classes),
        ],
        axis=1,
    )
    return outputs, targets


def columns(likelihood: ProductLikelihood) -> list[tuple[ProductLikelihood, list[int], slice]]:
    """Each column as a likelihood of its own, with its outputs and its target."""
    found = []
    # The spread of a number that the decoder gives stands before all means, in the same order.
    spreads = likelihood.outputs - likelihood.gaussian - likelihood.bernoulli
    spreads -= sum(likelihood.classes)
    start = spreads
    kinds = [(1, 0, ())] * likelihood.gaussian + [(0, 1, ())] * likelihood.bernoulli
    widths = [1] * len(kinds) + list(likelihood.classes)
    parts = kinds + [(0, 0, (c,)) for c in likelihood.classes]
    for target, (width, (gaussian, bernoulli, classes)) in enumerate(
        zip(widths, parts, strict=True)
    ):
        alone = ProductLikelihood(likelihood.config, gaussian, bernoulli, classes)
        its_spread = [target] if gaussian and spreads else []
        its_outputs = [*its_spread, *range(start, start + width)]
        found.append((alone, its_outputs, slice(target, target + 1)))
        start += width
    return found


@EVERY
def test_a_product_is_the_sum_of_its_columns(likelihood: ProductLikelihood) -> None:
    outputs, targets = example(likelihood)
    parameters = likelihood.initial()
    log_prob = likelihood.log_prob(NUMPY, parameters, outputs, targets)
    errors = likelihood.squared_error(NUMPY, outputs, targets)
    assert log_prob.shape == errors.shape == (S, N, likelihood.targets)
    for alone, its_outputs, its_target in columns(likelihood):
        found = alone.log_prob(
            NUMPY, alone.initial(), outputs[..., its_outputs], targets[:, its_target]
        )
        np.testing.assert_allclose(found, log_prob[..., its_target])
        found = alone.squared_error(NUMPY, outputs[..., its_outputs], targets[:, its_target])
        np.testing.assert_allclose(found, errors[..., its_target])


@EVERY
def test_probabilities_of_all_values_of_a_column_sum_to_one(likelihood: ProductLikelihood) -> None:
    """A density over a fine grid, masses over all classes."""
    outputs, _ = example(likelihood)
    for alone, its_outputs, _ in columns(likelihood):
        given = outputs[:1, :1, its_outputs]
        values = (
            np.linspace(-15, 15, 3001)
            if alone.gaussian
            else np.arange(2.0 if alone.bernoulli else float(alone.classes[0]))
        )
        repeated = np.repeat(given, len(values), axis=1)
        p = np.exp(alone.log_prob(NUMPY, alone.initial(), repeated, values[:, None]))[0, :, 0]
        total = np.trapezoid(p, values) if alone.gaussian else p.sum()
        assert total == pytest.approx(1.0, rel=1e-6)


@EVERY
def test_both_libraries_agree(likelihood: ProductLikelihood) -> None:
    outputs, targets = example(likelihood)
    parameters = likelihood.initial()
    torchs = (on(TORCH, parameters), TORCH.array(outputs), TORCH.array(targets))
    np.testing.assert_allclose(
        TORCH.numpy(likelihood.log_prob(TORCH, *torchs)),
        likelihood.log_prob(NUMPY, parameters, outputs, targets),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        TORCH.numpy(likelihood.squared_error(TORCH, *torchs[1:])),
        likelihood.squared_error(NUMPY, outputs, targets),
        rtol=1e-6,
    )


@EVERY
def test_the_worse_prediction_has_the_larger_cost(likelihood: ProductLikelihood) -> None:
    """Outputs moved towards the truth raise every entry's probability and lower its error."""
    outputs, targets = example(likelihood)
    better = outputs.copy()
    for alone, its_outputs, its_target in columns(likelihood):
        truth = targets[:, its_target]
        if alone.gaussian:
            mean = its_outputs[-1:]
            better[..., mean] += 0.5 * (truth - outputs[..., mean])
        elif alone.bernoulli:
            better[..., its_outputs] += 2 * truth - 1
        else:
            better[..., its_outputs] += np.eye(alone.classes[0])[truth[:, 0].astype(int)]
    parameters = likelihood.initial()
    before, after = (likelihood.log_prob(NUMPY, parameters, o, targets) for o in (outputs, better))
    assert (after > before).all()
    before, after = (likelihood.squared_error(NUMPY, o, targets) for o in (outputs, better))
    assert (after < before).all()
