"""What training minimises."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Parameters, Tensor
from anomaly.data.schema import STRICT
from anomaly.models.ops import Ops
from anomaly.models.vae import VAE


@dataclass(frozen=True, config=STRICT)
class Objective:
    """reconstruction + beta * KL, or reconstruction + beta * |KL - C|.

    Attributes:
        beta: Weight of the KL; 1 is the negative ELBO (Higgins et al. 2017, beta-VAE).
        capacity: C in nats; None for the plain KL (Burgess et al. 2018, eq. 8).
        warmup_steps: beta grows linearly from 0 over this many steps (Sønderby et al. 2016).
    """

    beta: Annotated[float, Field(ge=0)] = 1.0
    capacity: Annotated[float, Field(ge=0)] | None = None
    warmup_steps: Annotated[int, Field(ge=0)] = 0

    def beta_at(self, step: int) -> float:
        """The weight of the KL at a step, counted from 0."""
        return self.beta * min(1.0, (step + 1) / (self.warmup_steps + 1))


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
class Loss:
    """Means over rows, in nats.

    Attributes:
        total: What is minimised.
        reconstruction: Negative log-likelihood of the observed entries.
        kl: KL(posterior || prior).
        kl_per_latent: (L,).
    """

    total: Tensor
    reconstruction: Tensor
    kl: Tensor
    kl_per_latent: Tensor


def loss_of(
    ops: Ops,
    vae: VAE,
    parameters: Parameters,
    batch: Batch,
    noise: Tensor,
    beta: float,
    capacity: float | None,
) -> Loss:
    """The objective on one batch.

    Args:
        noise: Standard normal, (S, N, L) or (S, 1, L).
        beta: Weight of the KL at this step.
    """
    posterior = vae.encode(ops, parameters, batch.inputs, batch.context)
    z = posterior.sample(ops, noise)
    outputs = vae.decode(ops, parameters, z, batch.context)
    log_prob = vae.likelihood.log_prob(ops, parameters, outputs, batch.targets)
    reconstruction = -(log_prob * batch.observed).sum(-1).mean()
    kl_per_latent = vae.prior.kl(ops, posterior).mean(0)
    kl = kl_per_latent.sum()
    penalty = kl if capacity is None else abs(kl - capacity)
    return Loss(reconstruction + beta * penalty, reconstruction, kl, kl_per_latent)
