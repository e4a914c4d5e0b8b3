"""Priors: what the latents of normal rows should look like."""

from __future__ import annotations

import math
from typing import Literal

from pydantic.dataclasses import dataclass

from anomaly.arrays import Tensor
from anomaly.data.schema import STRICT
from anomaly.models.ops import Ops
from anomaly.models.posterior import DiagonalNormal


@dataclass(frozen=True, config=STRICT)
class StandardNormalPrior:
    """N(0, 1) for every latent (Kingma & Welling 2014)."""

    kind: Literal["standard_normal"] = "standard_normal"

    def kl(self, ops: Ops, posterior: DiagonalNormal) -> Tensor:
        """KL(posterior || prior) of each latent in nats, (N, L), in closed form."""
        return posterior.kl_to_standard_normal(ops)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats of z (S, N, L), (S, N)."""
        return (-0.5 * (z**2 + math.log(2 * math.pi))).sum(-1)
