"""Scores of the model alone: its error, and bounds of its likelihood."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Float32, Int64, Parameters, Tensor
from anomaly.data.schema import STRICT
from anomaly.models.objective import Batch
from anomaly.models.ops import Ops
from anomaly.models.posterior import DiagonalNormal
from anomaly.models.vae import VAE
from anomaly.scores.terms import ScoreTerms

Draws = Annotated[int, Field(ge=1, le=4096)]

NOISE = "score.noise"
"""The name of the noise bank, (S, 1, L), shared by all rows."""


class Drawing:
    """A score over draws from the posterior: made once and kept, so that the same row gets the same
    score for ever."""

    draws: int

    def shapes(self, vae: VAE) -> dict[str, tuple[int, ...]]:
        """The shape of every constant but remembered rows, by name; without draws there is none."""
        return {NOISE: (self.draws, 1, vae.sizes.latent)} if self.draws else {}

    def constants(self, vae: VAE, owner: Int64, rng: np.random.Generator) -> Parameters:
        """The noise bank."""
        return {NOISE: antithetic_noise(self.draws, vae.sizes.latent, rng)} if self.draws else {}


@dataclass(frozen=True, config=STRICT)
class SquaredError:
    """Mean squared error of the reconstruction from the posterior mean. No draws."""

    kind: Literal["squared_error"] = "squared_error"
    unit: Literal["squared error"] = "squared error"

    def shapes(self, vae: VAE) -> dict[str, tuple[int, ...]]:
        """No constants."""
        return {}

    def constants(self, vae: VAE, owner: Int64, rng: np.random.Generator) -> Parameters:
        """No constants."""
        return {}

    def terms(self, ops: Ops, vae: VAE, parameters: Parameters, batch: Batch) -> ScoreTerms:
        """See the module; targets float64 make the terms float64."""
        posterior = vae.encode(ops, parameters, batch.inputs, batch.context)
        outputs = vae.decode(ops, parameters, posterior.loc[None], batch.context)
        errors = vae.likelihood.squared_error(ops, outputs, batch.targets).mean(0)
        return ScoreTerms(errors / vae.likelihood.targets, 0.0 * errors[:, 0])


@dataclass(frozen=True, config=STRICT)
class ReconstructionError(Drawing):
    """Mean negative log-likelihood of the row over draws from its posterior, in nats.

    The "reconstruction probability" of An & Cho (2015), in logarithms.

    Attributes:
        draws: S. 0 decodes the posterior mean alone, which is the fastest score.
    """

    kind: Literal["reconstruction"] = "reconstruction"
    unit: Literal["nats"] = "nats"
    draws: Annotated[int, Field(ge=0, le=4096)] = 8

    def terms(self, ops: Ops, vae: VAE, parameters: Parameters, batch: Batch) -> ScoreTerms:
        """See the module; targets float64 make the terms float64."""
        _, _, log_prob = reconstruction(ops, vae, parameters, self.draws, batch)
        return ScoreTerms(-log_prob, 0.0 * log_prob[:, 0])


@dataclass(frozen=True, config=STRICT)
class NegativeELBO(Drawing):
    """Negative evidence lower bound in nats: reconstruction error + KL(posterior || prior).

    An upper bound of -log p(x) (Kingma & Welling 2014, eq. 3). The KL is exact for a standard
    normal prior; for a mixture it is estimated from the same draws.

    Attributes:
        draws: S, of the reconstruction; 0 decodes the posterior mean alone.
    """

    kind: Literal["negative_elbo"] = "negative_elbo"
    unit: Literal["nats"] = "nats"
    draws: Annotated[int, Field(ge=0, le=4096)] = 8

    def terms(self, ops: Ops, vae: VAE, parameters: Parameters, batch: Batch) -> ScoreTerms:
        """See the module; targets float64 make the terms float64."""
        posterior, noise, log_prob = reconstruction(ops, vae, parameters, self.draws, batch)
        kl = vae.latent_prior(ops, parameters).kl(ops, posterior, noise)
        return ScoreTerms(-log_prob, kl + 0.0 * log_prob[:, 0])


@dataclass(frozen=True, config=STRICT)
class NegativeIWBound(Drawing):
    """Negative importance-weighted bound in nats, tighter than the ELBO and tighter as S grows.

    -log (1/S) sum_s p(x | z_s) p(z_s) / q(z_s | x) (Burda, Grosse & Salakhutdinov 2016, eq. 8).

    Attributes:
        draws: S.
    """

    kind: Literal["negative_iw_bound"] = "negative_iw_bound"
    unit: Literal["nats"] = "nats"
    draws: Draws = 16

    def terms(self, ops: Ops, vae: VAE, parameters: Parameters, batch: Batch) -> ScoreTerms:
        """Each target's term is its error under the self-normalised importance weights."""
        posterior = vae.encode(ops, parameters, batch.inputs, batch.context)
        noise = parameters[NOISE]
        z = posterior.sample(ops, noise)
        outputs = vae.decode(ops, parameters, z, batch.context)
        log_prob = vae.likelihood.log_prob(ops, parameters, outputs, batch.targets)
        log_prior = vae.latent_prior(ops, parameters).log_prob(ops, z)
        log_ratio = log_prior - posterior.log_prob_of_noise(noise)
        # Entries that are missing explain nothing, so they must not weigh the draws either.
        log_weights = (log_prob * batch.observed).sum(-1) + log_ratio
        log_total = ops.logsumexp(log_weights, 0)
        weights = ops.exp(log_weights - log_total)
        per_target = -(weights[..., None] * log_prob).sum(0)
        bound = log_total - math.log(z.shape[0])
        return ScoreTerms(per_target, -bound - (per_target * batch.observed).sum(-1))


def reconstruction(
    ops: Ops, vae: VAE, parameters: Parameters, draws: int, batch: Batch
) -> tuple[DiagonalNormal, Tensor, Tensor]:
    """The posterior, its noise, and each target's log-likelihood averaged over draws, (N, D)."""
    posterior = vae.encode(ops, parameters, batch.inputs, batch.context)
    if not draws:
        outputs = vae.decode(ops, parameters, posterior.loc[None], batch.context)
        log_prob = vae.likelihood.log_prob(ops, parameters, outputs, batch.targets)
        return posterior, 0.0 * posterior.loc[None, :1], log_prob[0]
    noise = parameters[NOISE]
    outputs = vae.decode(ops, parameters, posterior.sample(ops, noise), batch.context)
    log_prob = vae.likelihood.log_prob(ops, parameters, outputs, batch.targets)
    return posterior, noise, log_prob.mean(0)


def antithetic_noise(draws: int, latent: int, rng: np.random.Generator) -> Float32:
    """Standard normal draws (S, 1, L) in pairs +e, -e, shared by all rows.

    Pairs cancel the odd part of the error of a mean over draws (Hammersley & Morton 1956).
    """
    half = rng.standard_normal(((draws + 1) // 2, 1, latent))
    return np.concatenate([half, -half])[:draws].astype(np.float32)
