"""The variational autoencoder: networks, posterior, prior and likelihood put together."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Parameters, Tensor
from anomaly.data.schema import STRICT
from anomaly.models.likelihood import LikelihoodConfig, ProductLikelihood
from anomaly.models.networks import DenseNetworks, Sizes
from anomaly.models.ops import Ops
from anomaly.models.posterior import DiagonalNormal, GaussianPosterior, Posterior
from anomaly.models.prior import StandardNormalPrior

LARGEST_DEFAULT_LATENT = 128


@dataclass(frozen=True, config=STRICT)
class VAEConfig:
    """The choice of parts.

    Attributes:
        latent: L. None follows the rule of `latent_size`.
    """

    networks: DenseNetworks = DenseNetworks()
    posterior: Annotated[Posterior, Field(discriminator="kind")] = GaussianPosterior()
    prior: StandardNormalPrior = StandardNormalPrior()
    likelihood: LikelihoodConfig = LikelihoodConfig()
    latent: Annotated[int, Field(ge=1, le=65_536)] | None = None


def latent_size(targets: int) -> int:
    """The default L: as wide as the row, at most 128.

    The KL switches off the latents that do not pay, so a wide latent costs time, not quality.
    """
    return min(targets, LARGEST_DEFAULT_LATENT)


@dataclass(frozen=True, config=STRICT)
class VAE:
    """A model whose every size is known; its parameters are kept apart.

    Arrays may be NumPy's or torch's: `ops` says which.
    """

    networks: DenseNetworks
    posterior: Annotated[Posterior, Field(discriminator="kind")]
    prior: StandardNormalPrior
    likelihood: ProductLikelihood
    sizes: Sizes

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by name; nothing is allocated."""
        outputs = self.posterior.outputs(self.sizes.latent)
        return {**self.networks.shapes(self.sizes, outputs), **self.likelihood.shapes()}

    def initial(self, rng: np.random.Generator) -> Parameters:
        """Fresh float32 NumPy parameters."""
        outputs = self.posterior.outputs(self.sizes.latent)
        return {
            **self.networks.initial(self.sizes, outputs, rng),
            **self.likelihood.initial(),
        }

    def encode(
        self, ops: Ops, parameters: Parameters, inputs: Tensor, context: Tensor
    ) -> DiagonalNormal:
        """The posterior of rows: inputs (N, P), context (N, K) -> N normals over L latents."""
        outputs = self.networks.encode(ops, parameters, inputs, context)
        return self.posterior.distribution(ops, outputs)

    def decode(self, ops: Ops, parameters: Parameters, z: Tensor, context: Tensor) -> Tensor:
        """The decoder's outputs: z (S, N, L), context (N, K) -> (S, N, R)."""
        return self.networks.decode(ops, parameters, z, context)


def assemble_vae(
    config: VAEConfig, inputs: int, context: int, likelihood: ProductLikelihood
) -> VAE:
    """Put the parts together for rows of P inputs, K context values and D targets."""
    sizes = Sizes(
        inputs=inputs,
        context=context,
        latent=config.latent or latent_size(likelihood.targets),
        outputs=likelihood.outputs,
    )
    return VAE(config.networks, config.posterior, config.prior, likelihood, sizes)
