"""Scores: how badly the model explains a row.

Sign and unit, for every score here: higher is more anomalous, float64, in nats, except the squared
error, which is a mean of squares in units of the column's variance. Each score is a sum of one
term for each target and a rest that belongs to no column, so that an explanation is the score
itself, taken apart.

Draws come from a noise bank that is made once for each detector and saved with it: the same row
gets the same score alone, in any batch, and on the next call.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Bool, Float32, Float64, Parameters, Tensor
from anomaly.data.schema import STRICT
from anomaly.models.objective import Batch
from anomaly.models.ops import Ops
from anomaly.models.posterior import DiagonalNormal
from anomaly.models.vae import VAE

Draws = Annotated[int, Field(ge=1, le=4096)]


@dataclasses.dataclass(frozen=True)
class ScoreTerms:
    """Scores of N rows, taken apart: score = per_target.sum(-1) + rest.

    Attributes:
        per_target: (N, D) float64, higher is worse.
        rest: (N,) float64, what belongs to no target: the KL, or the correction of a bound.
    """

    per_target: Tensor
    rest: Tensor

    @property
    def scores(self) -> Float64:
        """(N,) float64, higher is more anomalous; of NumPy terms."""
        scores: Float64 = self.per_target.sum(-1) + self.rest
        return scores


@dataclass(frozen=True, config=STRICT)
class SquaredError:
    """Mean squared error of the reconstruction from the posterior mean. No draws."""

    kind: Literal["squared_error"] = "squared_error"
    unit: Literal["squared error"] = "squared error"

    def noise(self, latent: int, rng: np.random.Generator) -> Float32:
        """One draw at the posterior mean, (1, 1, L)."""
        return np.zeros((1, 1, latent), np.float32)

    def terms(
        self, ops: Ops, vae: VAE, parameters: Parameters, noise: Tensor, batch: Batch
    ) -> ScoreTerms:
        """See the module; targets float64 make the terms float64."""
        posterior = vae.encode(ops, parameters, batch.inputs, batch.context)
        outputs = vae.decode(ops, parameters, posterior.sample(ops, noise), batch.context)
        errors = vae.likelihood.squared_error(ops, outputs, batch.targets).mean(0)
        return ScoreTerms(errors / vae.likelihood.targets, 0.0 * errors[:, 0])


@dataclass(frozen=True, config=STRICT)
class ReconstructionError:
    """Mean negative log-likelihood of the row over draws from its posterior, in nats.

    The "reconstruction probability" of An & Cho (2015), in logarithms.

    Attributes:
        draws: S. 0 decodes the posterior mean alone, which is the fastest score.
    """

    kind: Literal["reconstruction"] = "reconstruction"
    unit: Literal["nats"] = "nats"
    draws: Annotated[int, Field(ge=0, le=4096)] = 8

    def noise(self, latent: int, rng: np.random.Generator) -> Float32:
        """(S, 1, L); see `antithetic_noise`."""
        return antithetic_noise(self.draws, latent, rng)

    def terms(
        self, ops: Ops, vae: VAE, parameters: Parameters, noise: Tensor, batch: Batch
    ) -> ScoreTerms:
        """See the module; targets float64 make the terms float64."""
        _, log_prob = _posterior_and_log_prob(ops, vae, parameters, noise, batch)
        return ScoreTerms(-log_prob, 0.0 * log_prob[:, 0])


@dataclass(frozen=True, config=STRICT)
class NegativeELBO:
    """Negative evidence lower bound in nats: reconstruction error + KL(posterior || prior).

    An upper bound of -log p(x) (Kingma & Welling 2014, eq. 3). The KL is exact for a standard
    normal prior; for a mixture it is estimated from the same draws.

    Attributes:
        draws: S, of the reconstruction; 0 decodes the posterior mean alone.
    """

    kind: Literal["negative_elbo"] = "negative_elbo"
    unit: Literal["nats"] = "nats"
    draws: Annotated[int, Field(ge=0, le=4096)] = 8

    def noise(self, latent: int, rng: np.random.Generator) -> Float32:
        """(S, 1, L); see `antithetic_noise`."""
        return antithetic_noise(self.draws, latent, rng)

    def terms(
        self, ops: Ops, vae: VAE, parameters: Parameters, noise: Tensor, batch: Batch
    ) -> ScoreTerms:
        """See the module; targets float64 make the terms float64."""
        posterior, log_prob = _posterior_and_log_prob(ops, vae, parameters, noise, batch)
        kl = vae.latent_prior(ops, parameters).kl(ops, posterior, noise)
        return ScoreTerms(-log_prob, kl + 0.0 * log_prob[:, 0])


@dataclass(frozen=True, config=STRICT)
class NegativeIWBound:
    """Negative importance-weighted bound in nats, tighter than the ELBO and tighter as S grows.

    -log (1/S) sum_s p(x | z_s) p(z_s) / q(z_s | x) (Burda, Grosse & Salakhutdinov 2016, eq. 8).

    Attributes:
        draws: S.
    """

    kind: Literal["negative_iw_bound"] = "negative_iw_bound"
    unit: Literal["nats"] = "nats"
    draws: Draws = 16

    def noise(self, latent: int, rng: np.random.Generator) -> Float32:
        """(S, 1, L); see `antithetic_noise`."""
        return antithetic_noise(self.draws, latent, rng)

    def terms(
        self, ops: Ops, vae: VAE, parameters: Parameters, noise: Tensor, batch: Batch
    ) -> ScoreTerms:
        """Each target's term is its error under the self-normalised importance weights."""
        posterior = vae.encode(ops, parameters, batch.inputs, batch.context)
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


Score = SquaredError | ReconstructionError | NegativeELBO | NegativeIWBound

DEFAULT_SCORE = NegativeELBO()


def _posterior_and_log_prob(
    ops: Ops, vae: VAE, parameters: Parameters, noise: Tensor, batch: Batch
) -> tuple[DiagonalNormal, Tensor]:
    """The posterior, and the log-likelihood of each target averaged over draws, (N, D)."""
    posterior = vae.encode(ops, parameters, batch.inputs, batch.context)
    outputs = vae.decode(ops, parameters, posterior.sample(ops, noise), batch.context)
    log_prob = vae.likelihood.log_prob(ops, parameters, outputs, batch.targets)
    return posterior, log_prob.mean(0)


def antithetic_noise(draws: int, latent: int, rng: np.random.Generator) -> Float32:
    """Standard normal draws (S, 1, L) in pairs +e, -e, shared by all rows; zeros (1, 1, L) for 0.

    Pairs cancel the odd part of the error of a mean over draws (Hammersley & Morton 1956).
    """
    if draws == 0:
        return np.zeros((1, 1, latent), np.float32)
    half = rng.standard_normal(((draws + 1) // 2, 1, latent))
    return np.concatenate([half, -half])[:draws].astype(np.float32)


@dataclasses.dataclass(frozen=True)
class MissingFill:
    """What stands in for the terms of missing entries, so that scores stay comparable.

    A missing entry contributes that target's mean term on the fit and early-stop rows, and the
    share of the rest (the KL) that its target would have caused, on average.

    Attributes:
        per_target: (D,) float64.
        rest: Mean rest of a complete row.
    """

    per_target: Float64
    rest: float

    @staticmethod
    def of(terms: ScoreTerms, observed: Bool) -> MissingFill:
        """Means over rows; a target that was never observed has the mean term 0.

        Rows with gaps have less KL than complete ones, about in proportion, so the mean is divided
        by the share of entries that are there: `rest` is what a complete row would have.
        """
        counts = observed.sum(axis=0)
        sums = np.where(observed, terms.per_target, 0.0).sum(axis=0)
        return MissingFill(sums / np.maximum(counts, 1), float(terms.rest.mean() / observed.mean()))

    def fill(self, terms: ScoreTerms, observed: Bool) -> ScoreTerms:
        """The terms with every missing entry filled; complete rows are unchanged to the bit."""
        if observed.all():
            return terms
        share_missing = 1.0 - observed.mean(axis=1)
        return ScoreTerms(
            np.where(observed, terms.per_target, self.per_target),
            terms.rest + share_missing * self.rest,
        )
