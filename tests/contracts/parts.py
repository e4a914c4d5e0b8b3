"""Every member of every union, and small models made of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from anomaly.arrays import Features, Parameters
from anomaly.compatibility import check_prior
from anomaly.errors import ConfigInvalid
from anomaly.models.likelihood import LikelihoodConfig, ProductLikelihood, Variance
from anomaly.models.networks import DenseNetworks
from anomaly.models.objective import (
    ELBO,
    Batch,
    ImportanceWeighted,
    Objective,
    WassersteinMMD,
)
from anomaly.models.ops import NumpyOps, Ops
from anomaly.models.posterior import (
    GaussianPosterior,
    PointPosterior,
    Posterior,
    QuantisedPosterior,
)
from anomaly.models.prior import MixturePrior, Prior, StandardNormalPrior, VampPrior
from anomaly.models.torch_ops import TorchOps
from anomaly.models.vae import VAE, VAEConfig, assemble_vae
from anomaly.scores import (
    ROWS,
    ExemplarKL,
    MaskedReconstruction,
    NearestRow,
    NegativeELBO,
    NegativeIWBound,
    ReconstructionError,
    RememberingScore,
    Score,
    Space,
    SquaredError,
)

Array: TypeAlias = npt.NDArray[Any]

NUMPY = NumpyOps()
TORCH = TorchOps(torch.device("cpu"), for_scoring=True)
TRAINING = TorchOps(torch.device("cpu"), for_scoring=False)
EVERY_OPS: dict[str, Ops] = {"numpy": NUMPY, "torch": TORCH, "training": TRAINING}

EVERY_SCORE: dict[str, Score] = {
    "squared_error": SquaredError(),
    "reconstruction": ReconstructionError(draws=6),
    "reconstruction_of_the_mean": ReconstructionError(draws=0),
    "negative_elbo": NegativeELBO(draws=6),
    "negative_elbo_of_the_mean": NegativeELBO(draws=0),
    "negative_iw_bound": NegativeIWBound(draws=6),
    "masked_reconstruction": MaskedReconstruction(parts=2, rounds=2),
    "exemplar_kl": ExemplarKL(draws=6),
    "exemplar_kl_of_the_mean": ExemplarKL(),
    "nearest_row": NearestRow(),
    "nearest_row_everywhere": NearestRow(spaces=tuple(Space)),
}

EVERY_POSTERIOR: dict[str, Posterior] = {
    "gaussian": GaussianPosterior(),
    "point": PointPosterior(),
    "quantised": QuantisedPosterior(codes=8, code_width=1),
}
EVERY_PRIOR: dict[str, Prior] = {
    "standard_normal": StandardNormalPrior(),
    "mixture": MixturePrior(components=3),
    "vamp": VampPrior(components=3),
}
EVERY_OBJECTIVE: dict[str, Objective] = {
    "elbo": ELBO(),
    "beta": ELBO(beta=4.0),
    "capacity": ELBO(beta=4.0, capacity=1.0),
    "importance_weighted": ImportanceWeighted(samples=3),
    "wasserstein_mmd": WassersteinMMD(),
}

UNIT = LikelihoodConfig(variance=Variance.UNIT)
EVERY_LIKELIHOOD: dict[str, ProductLikelihood] = {
    "numbers": ProductLikelihood(LikelihoodConfig(), 3),
    "numbers_of_unit_variance": ProductLikelihood(UNIT, 3),
    "numbers_of_one_variance": ProductLikelihood(LikelihoodConfig(variance=Variance.SHARED), 3),
    "numbers_of_row_variance": ProductLikelihood(LikelihoodConfig(variance=Variance.PER_ROW), 3),
    "booleans": ProductLikelihood(LikelihoodConfig(), 0, 2),
    "categories": ProductLikelihood(LikelihoodConfig(), 0, 0, (3, 4)),
    "mixed": ProductLikelihood(LikelihoodConfig(), 2, 1, (3, 2)),
    "mixed_of_row_variance": ProductLikelihood(
        LikelihoodConfig(variance=Variance.PER_ROW), 2, 1, (3, 2)
    ),
}


def goes_together(*checks: Callable[[], None]) -> bool:
    """Whether the rules of `anomaly.compatibility` let the parts through."""
    try:
        for check in checks:
            check()
    except ConfigInvalid:
        return False
    return True


EVERY_LATENT: dict[str, tuple[Posterior, Prior]] = {
    f"{posterior.kind}-{prior.kind}": (posterior, prior)
    for posterior in EVERY_POSTERIOR.values()
    for prior in EVERY_PRIOR.values()
    if goes_together(partial(check_prior, prior, posterior))
}
"""Posteriors with the priors they can have."""


def small_model(
    likelihood: ProductLikelihood,
    posterior: Posterior | None = None,
    prior: Prior | None = None,
    *,
    hidden: tuple[int, ...] = (5,),
    latent: int = 3,
    inputs: int = 4,
    context: int = 2,
    seed: int = 0,
) -> tuple[VAE, Parameters]:
    """A model with random parameters, biases included, as a fitted one has."""
    config = VAEConfig(
        networks=DenseNetworks(hidden=hidden),
        posterior=posterior or GaussianPosterior(),
        prior=prior or StandardNormalPrior(),
        latent=latent,
    )
    vae = assemble_vae(config, inputs, context, likelihood)
    rng = np.random.default_rng(seed)
    parameters = {
        name: (value + rng.normal(0.0, 0.3, value.shape)).astype(np.float32)
        for name, value in vae.initial(rng, *some_rows(inputs, context)).items()
    }
    return vae, parameters


def with_constants(
    score: Score, vae: VAE, parameters: Parameters, rows: int = 20, seed: int = 0
) -> Parameters:
    """The parameters, and what the score needs besides: rows to compare with are made up."""
    rng = np.random.default_rng(seed)
    owner = np.arange(vae.sizes.inputs) % vae.likelihood.targets
    found = {**parameters, **score.constants(vae, owner, rng)}
    if isinstance(score, RememberingScore):
        found[ROWS] = rng.normal(size=(rows, score.width(vae))).astype(np.float32)
    return found


def some_rows(inputs: int, context: int, seed: int = 0) -> tuple[Array, Array]:
    """Inputs (64, P) and context (64, K) to start codes and pseudo-rows from."""
    rng = np.random.default_rng(seed)
    seen, told = (rng.normal(size=(64, width)).astype(np.float32) for width in (inputs, context))
    return seen, told


def random_features(vae: VAE, rows: int, *, missing: float = 0.0, seed: int = 0) -> Features:
    """Rows that fit the model, some entries missing."""
    rng = np.random.default_rng(seed)
    likelihood = vae.likelihood
    targets = np.concatenate(
        [
            rng.normal(size=(rows, likelihood.gaussian)),
            rng.integers(0, 2, (rows, likelihood.bernoulli)).astype(np.float64),
            *(rng.integers(0, c, (rows, 1)).astype(np.float64) for c in likelihood.classes),
        ],
        axis=1,
    )
    observed = rng.random(targets.shape) >= missing
    return Features(
        inputs=rng.normal(size=(rows, vae.sizes.inputs)).astype(np.float32),
        targets=np.where(observed, targets, 0.0),
        observed=observed,
        context=rng.normal(size=(rows, vae.sizes.context)).astype(np.float32),
    )


def batch_of(features: Features, ops: Ops = NUMPY) -> Batch:
    """The rows in the arrays of one library."""
    return Batch(
        ops.array(features.inputs),
        ops.array(features.targets),
        ops.array(features.observed),
        ops.array(features.context),
    )


def on(ops: Ops, parameters: Parameters) -> Parameters:
    """The parameters in the arrays of one library."""
    return {name: ops.array(value) for name, value in parameters.items()}
