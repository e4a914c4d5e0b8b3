"""Posteriors: the distribution over latents that the encoder's outputs describe."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from pydantic.dataclasses import dataclass

from anomaly.arrays import Tensor
from anomaly.data.schema import STRICT
from anomaly.models.ops import Ops

LOG_SCALE_RANGE = (-7.0, 3.0)
"""Posterior log standard deviations are kept in here: below, nothing is left to learn; above, a
latent is far wider than the prior and only costs."""


@dataclasses.dataclass(frozen=True)
class DiagonalNormal:
    """N independent rows of L independent normals.

    Attributes:
        loc: (N, L).
        log_scale: (N, L), or None where the posterior is a point.
    """

    loc: Tensor
    log_scale: Tensor | None

    def sample(self, ops: Ops, noise: Tensor) -> Tensor:
        """(S, N, L) from standard normal noise (S, 1, L) shared by all rows, or (S, N, L)."""
        if self.log_scale is None:
            return ops.broadcast(self.loc, (1, *self.loc.shape))
        return self.loc + ops.exp(self.log_scale) * noise

    def kl_to_standard_normal(self, ops: Ops) -> Tensor:
        """KL(q || N(0, 1)) of each latent in nats, (N, L) (Kingma & Welling 2014, appendix B).

        Zero for a point posterior, whose divergence is infinite whatever the row.
        """
        if self.log_scale is None:
            return 0.0 * self.loc
        return 0.5 * (self.loc**2 + ops.exp(2.0 * self.log_scale) - 1.0) - self.log_scale

    def log_prob_of_noise(self, noise: Tensor) -> Tensor:
        """log q(z | x) in nats of the z that `sample` makes of `noise`, (S, N)."""
        assert self.log_scale is not None, "a point posterior has no density"
        return (-0.5 * (noise**2 + math.log(2 * math.pi)) - self.log_scale).sum(-1)


@dataclass(frozen=True, config=STRICT)
class GaussianPosterior:
    """Diagonal Gaussian: the variational autoencoder."""

    kind: Literal["gaussian"] = "gaussian"

    def outputs(self, latent: int) -> int:
        """How many numbers the encoder gives for L latents."""
        return 2 * latent

    def distribution(self, ops: Ops, outputs: Tensor) -> DiagonalNormal:
        """From the encoder's outputs (N, 2 L)."""
        latent = outputs.shape[-1] // 2
        return DiagonalNormal(outputs[:, :latent], ops.clip(outputs[:, latent:], *LOG_SCALE_RANGE))


@dataclass(frozen=True, config=STRICT)
class PointPosterior:
    """A point: the plain autoencoder. It has no KL, so no ELBO: use a reconstruction score."""

    kind: Literal["point"] = "point"

    def outputs(self, latent: int) -> int:
        """How many numbers the encoder gives for L latents."""
        return latent

    def distribution(self, ops: Ops, outputs: Tensor) -> DiagonalNormal:
        """From the encoder's outputs (N, L)."""
        return DiagonalNormal(outputs, None)


Posterior = GaussianPosterior | PointPosterior
