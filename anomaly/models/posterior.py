"""Posteriors: the distribution over latents that the encoder's outputs describe."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Float32, Parameters, Tensor
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
        quantisation: (N,) what training charges for the distance between encoder and codes, or
            None where nothing is quantised.
    """

    loc: Tensor
    log_scale: Tensor | None
    quantisation: Tensor | None = None

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

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """No parameters."""
        return {}

    def distribution(self, ops: Ops, parameters: Parameters, outputs: Tensor) -> DiagonalNormal:
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

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """No parameters."""
        return {}

    def distribution(self, ops: Ops, parameters: Parameters, outputs: Tensor) -> DiagonalNormal:
        """From the encoder's outputs (N, L)."""
        return DiagonalNormal(outputs, None)


@dataclass(frozen=True, config=STRICT)
class QuantisedPosterior:
    """Points on a learned codebook: the VQ-VAE (van den Oord, Vinyals & Kavukcuoglu 2017).

    The encoder's numbers are taken in groups, and each group is replaced by the nearest code; the
    gradient passes as if it were not (straight through, section 3.2). Like a point it has no KL:
    under a uniform prior over codes that of every row is the same.

    Attributes:
        codes: Size of the codebook, which all groups share.
        code_width: Numbers in a code; divides the number of latents.
        commitment: What holds the encoder to its codes, relative to what draws codes to the encoder
            (beta in their eq. 3).
    """

    kind: Literal["quantised"] = "quantised"
    codes: Annotated[int, Field(ge=1, le=65_536)] = 64
    code_width: Annotated[int, Field(ge=1, le=4096)] = 2
    commitment: Annotated[float, Field(ge=0)] = 0.25

    def outputs(self, latent: int) -> int:
        """How many numbers the encoder gives for L latents."""
        return latent

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by name."""
        return {"posterior.codes": (self.codes, self.code_width)}

    def initial(self, outputs: Float32, rng: np.random.Generator) -> Parameters:
        """Codes that the encoder uses from the first step: its own outputs (N, L) for some rows.

        Elsewhere most codes would never be nearest, never be drawn anywhere, and stay unused.
        """
        groups = outputs.reshape(-1, self.code_width)
        chosen = rng.choice(len(groups), self.codes, replace=len(groups) < self.codes)
        return {"posterior.codes": groups[chosen]}

    def distribution(self, ops: Ops, parameters: Parameters, outputs: Tensor) -> DiagonalNormal:
        """From the encoder's outputs (N, L)."""
        codes = parameters["posterior.codes"]
        groups = outputs.reshape(-1, self.code_width)
        nearest = codes[ops.nearest(groups, codes)].reshape(outputs.shape)
        cost = (ops.stop_gradient(outputs) - nearest) ** 2
        cost = cost + self.commitment * (outputs - ops.stop_gradient(nearest)) ** 2
        # The first two terms are zero: they carry the gradient past the codes.
        passed = outputs - ops.stop_gradient(outputs) + ops.stop_gradient(nearest)
        return DiagonalNormal(passed, None, cost.sum(-1))


Posterior = GaussianPosterior | PointPosterior | QuantisedPosterior
