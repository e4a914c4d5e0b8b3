"""What training minimises."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Parameters, Tensor
from anomaly.data.schema import STRICT
from anomaly.models.ops import Ops
from anomaly.models.posterior import DiagonalNormal
from anomaly.models.prior import PriorDistribution
from anomaly.models.vae import VAE

LOOK_DRAWS = 4
"""Draws an ELBO is compared by between looks: the same ones each time, shared by all rows."""

MOST_PAIRED_ROWS = 512
"""The MMD compares each row with each: more rows would cost their square and tell little more."""

IMQ_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Widths of the kernel, relative to the mean squared distance of two draws from the prior."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows in the arrays of one library; see `anomaly.arrays.Features`.

    Attributes:
        inputs: (N, P), what the encoder sees, corrupted or not.
        targets: (N, D), always clean.
        observed: (N, D) of 0 and 1.
        context: (N, K).
    """

    inputs: Tensor
    targets: Tensor
    observed: Tensor
    context: Tensor


@dataclasses.dataclass(frozen=True)
class Pass:
    """One batch, encoded, drawn and decoded.

    Attributes:
        prior: What the latents should look like.
        posterior: Of N rows over L latents.
        noise: Standard normal, (S, N, L) or (S, 1, L).
        z: (S, N, L), or (1, N, L) of a point.
        log_prob: log p(x | z) in nats of the observed entries, shaped as the draws, (S, N).
    """

    prior: PriorDistribution
    posterior: DiagonalNormal
    noise: Tensor
    z: Tensor
    log_prob: Tensor


@dataclasses.dataclass(frozen=True)
class Loss:
    """Means over rows, in nats.

    Attributes:
        total: What is minimised.
        reconstruction: Negative log-likelihood of the observed entries.
        kl: KL(posterior || prior).
        posterior: Of the rows.
    """

    total: Tensor
    reconstruction: Tensor
    kl: Tensor
    posterior: DiagonalNormal


@dataclass(frozen=True, config=STRICT)
class ELBO:
    """reconstruction + beta * KL, or reconstruction + beta * |KL - C|.

    Attributes:
        beta: Weight of the KL; 1 is the negative ELBO itself (beta-VAE, Higgins et al. 2017). The
            default is light: what a tight bottleneck smooths away are the details by which
            anomalies differ (docs/decisions/0006).
        capacity: C in nats; None for the plain KL (Burgess et al. 2018, eq. 8).
        warmup_steps: beta grows linearly from 0 over this many steps (Sønderby et al. 2016).
    """

    kind: Literal["elbo"] = "elbo"
    beta: Annotated[float, Field(ge=0)] = 0.01
    capacity: Annotated[float, Field(ge=0)] | None = None
    warmup_steps: Annotated[int, Field(ge=0)] = 0

    def beta_at(self, step: int | None) -> float:
        """The weight of the KL at a step, counted from 0, or when all is warmed up."""
        if step is None:
            return self.beta
        return self.beta * min(1.0, (step + 1) / (self.warmup_steps + 1))

    def draws(self, rows: int) -> tuple[int, int]:
        """Shape (S, N) of the noise for a training step."""
        return 1, rows

    def look_draws(self, rows: int) -> tuple[int, int]:
        """Shape (S, N or 1) of the noise that looks are compared by."""
        return LOOK_DRAWS, 1

    def total(
        self, ops: Ops, seen: Pass, reconstruction: Tensor, kl: Tensor, step: int | None
    ) -> Tensor:
        """The mean over rows, in nats."""
        penalty = kl if self.capacity is None else abs(kl - self.capacity)
        return reconstruction + self.beta_at(step) * penalty


@dataclass(frozen=True, config=STRICT)
class ImportanceWeighted:
    """The importance-weighted bound, tighter than the ELBO (Burda et al. 2016, eq. 8).

    -log (1/S) sum_s p(x | z_s) p(z_s) / q(z_s | x), the bound that `NegativeIWBound` scores by.

    Attributes:
        samples: S; 1 is the ELBO with its KL estimated by one draw.
    """

    kind: Literal["importance_weighted"] = "importance_weighted"
    samples: Annotated[int, Field(ge=1, le=4096)] = 8

    def draws(self, rows: int) -> tuple[int, int]:
        """Shape (S, N) of the noise for a training step."""
        return self.samples, rows

    def look_draws(self, rows: int) -> tuple[int, int]:
        """Shape (S, N or 1) of the noise that looks are compared by."""
        return self.samples, 1

    def total(
        self, ops: Ops, seen: Pass, reconstruction: Tensor, kl: Tensor, step: int | None
    ) -> Tensor:
        """The mean over rows, in nats."""
        log_ratio = seen.prior.log_prob(ops, seen.z) - seen.posterior.log_prob_of_noise(seen.noise)
        bound = ops.logsumexp(seen.log_prob + log_ratio, 0) - math.log(self.samples)
        return -bound.mean()


@dataclass(frozen=True, config=STRICT)
class WassersteinMMD:
    """reconstruction + weight * MMD: the Wasserstein autoencoder (Tolstikhin et al. 2018, alg. 2).

    Not each row's posterior but the latents of all rows together are held to the prior, which must
    be standard normal.

    Attributes:
        weight: lambda, in nats.
    """

    kind: Literal["wasserstein_mmd"] = "wasserstein_mmd"
    weight: Annotated[float, Field(ge=0)] = 10.0

    def draws(self, rows: int) -> tuple[int, int]:
        """Shape (S, N) of the noise for a training step: the second draw is the prior's."""
        return 2, rows

    def look_draws(self, rows: int) -> tuple[int, int]:
        """Shape (S, N) of the noise that looks are compared by."""
        return 2, rows

    def total(
        self, ops: Ops, seen: Pass, reconstruction: Tensor, kl: Tensor, step: int | None
    ) -> Tensor:
        """The mean over rows, in nats; the likelihood is that of both draws."""
        z, from_prior = seen.z[0, :MOST_PAIRED_ROWS], seen.noise[1, :MOST_PAIRED_ROWS]
        return reconstruction + self.weight * mmd(z, from_prior)


Objective = ELBO | ImportanceWeighted | WassersteinMMD


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two samples (N, L), without bias: it may be negative.

    Inverse multiquadric kernels C / (C + |x - y|^2), C = 2 L times each of `IMQ_SCALES`, summed
    (Tolstikhin et al. 2018, section 4; Gretton et al. 2012, lemma 6).
    """
    n, latent = x.shape
    pairs = max(1, n * (n - 1))
    within = imq(x, x, latent) + imq(y, y, latent)
    # Each row is its own pair n times in both samples, with kernel 1.
    alike = 2.0 * n * len(IMQ_SCALES)
    return (within.sum() - alike) / pairs - 2.0 * imq(x, y, latent).sum() / n**2


def imq(x: Tensor, y: Tensor, latent: int) -> Tensor:
    """(N, M) sum of the kernels of x (N, L) and y (M, L)."""
    distance = (x**2).sum(-1)[:, None] + (y**2).sum(-1) - 2.0 * x @ y.T
    return sum(scale / (scale + distance) for scale in (2.0 * latent * s for s in IMQ_SCALES))


def loss_of(
    ops: Ops,
    vae: VAE,
    parameters: Parameters,
    batch: Batch,
    noise: Tensor,
    objective: Objective,
    step: int | None = None,
) -> Loss:
    """The objective on one batch.

    Args:
        noise: Standard normal, (S, N, L) or (S, 1, L).
        step: Counted from 0, where weights still warm up; None when they have.
    """
    posterior = vae.encode(ops, parameters, batch.inputs, batch.context)
    z = posterior.sample(ops, noise)
    outputs = vae.decode(ops, parameters, z, batch.context)
    log_prob = vae.likelihood.log_prob(ops, parameters, outputs, batch.targets)
    per_row = (log_prob * batch.observed).sum(-1)
    prior = vae.latent_prior(ops, parameters)
    reconstruction = -per_row.mean()
    kl = prior.kl(ops, posterior, noise).mean()
    seen = Pass(prior, posterior, noise, z, per_row)
    total = objective.total(ops, seen, reconstruction, kl, step)
    if posterior.quantisation is not None:
        total = total + posterior.quantisation.mean()
    return Loss(total, reconstruction, kl, posterior)
