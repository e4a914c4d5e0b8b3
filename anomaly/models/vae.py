"""The variational autoencoder: networks, posterior, prior and likelihood put together."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Float32, Parameters, Tensor
from anomaly.data.schema import STRICT
from anomaly.errors import ConfigInvalid
from anomaly.models.convolutional import ConvNetworks
from anomaly.models.likelihood import LikelihoodConfig, ProductLikelihood
from anomaly.models.networks import DenseNetworks, Sizes
from anomaly.models.ops import TILE_ROWS, NumpyOps, Ops
from anomaly.models.posterior import (
    DiagonalNormal,
    GaussianPosterior,
    Posterior,
    QuantisedPosterior,
)
from anomaly.models.prior import (
    MixturePrior,
    Prior,
    PriorDistribution,
    StandardNormalPrior,
    VampPrior,
)

LARGEST_DEFAULT_LATENT = 256

WIDE = 256
"""Tables of more targets have one wide hidden layer by default."""

START_ROWS = 64 * TILE_ROWS
"""Rows that codes are chosen from."""


Share = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True, config=STRICT)
class VAEConfig:
    """The choice of parts.

    Attributes:
        networks: None follows the rule of `default_networks`.
        latent: L, or, below 1, the share of L in the default of `latent_size`. None is the default.
    """

    networks: DenseNetworks | None = None
    posterior: Annotated[Posterior, Field(discriminator="kind")] = GaussianPosterior()
    prior: Annotated[Prior, Field(discriminator="kind")] = StandardNormalPrior()
    likelihood: LikelihoodConfig = LikelihoodConfig()
    latent: Annotated[int, Field(ge=1, le=65_536)] | Share | None = None


def latent_size(targets: int) -> int:
    """The default L: as wide as the row, at most 256.

    A wide latent costs time, not quality (docs/models.md).
    """
    return min(targets, LARGEST_DEFAULT_LATENT)


def default_networks(targets: int) -> DenseNetworks:
    """Two hidden layers of 128; for tables of more than 256 targets one of 512.

    Wide tables rarely have the rows to learn a curved surface, but have many directions to keep.
    """
    return DenseNetworks(hidden=(128, 128) if targets <= WIDE else (512,))


@dataclass(frozen=True, config=STRICT)
class VAE:
    """A model whose every size is known; its parameters are kept apart.

    Arrays may be NumPy's or torch's: `ops` says which.
    """

    networks: Annotated[DenseNetworks | ConvNetworks, Field(discriminator="kind")]
    posterior: Annotated[Posterior, Field(discriminator="kind")]
    prior: Annotated[Prior, Field(discriminator="kind")]
    likelihood: ProductLikelihood
    sizes: Sizes

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by name; nothing is allocated."""
        outputs = self.posterior.outputs(self.sizes.latent)
        return {
            **self.networks.shapes(self.sizes, outputs),
            **self.likelihood.shapes(),
            **self.posterior.shapes(),
            **self.prior.shapes(self.sizes),
        }

    def initial(self, rng: np.random.Generator, inputs: Float32, context: Float32) -> Parameters:
        """Fresh float32 NumPy parameters.

        Args:
            inputs: (N, P) fit rows: pseudo-rows and codes start among them.
            context: (N, K).
        """
        outputs = self.posterior.outputs(self.sizes.latent)
        parameters = {
            **self.networks.initial(self.sizes, outputs, rng),
            **self.likelihood.initial(),
        }
        match self.posterior:
            case QuantisedPosterior():
                rows = rng.integers(0, len(inputs), START_ROWS)
                encoded = self.networks.encode(NumpyOps(), parameters, inputs[rows], context[rows])
                parameters |= self.posterior.initial(encoded, rng)
        match self.prior:
            case MixturePrior():
                parameters |= self.prior.initial(self.sizes, rng)
            case VampPrior():
                parameters |= self.prior.initial(inputs, context, rng)
        return parameters

    def encode(
        self, ops: Ops, parameters: Parameters, inputs: Tensor, context: Tensor
    ) -> DiagonalNormal:
        """The posterior of rows: inputs (N, P), context (N, K) -> N normals over L latents."""
        outputs = self.networks.encode(ops, parameters, inputs, context)
        return self.posterior.distribution(ops, parameters, outputs)

    def decode(self, ops: Ops, parameters: Parameters, z: Tensor, context: Tensor) -> Tensor:
        """The decoder's outputs: z (S, N, L), context (N, K) -> (S, N, R)."""
        return self.networks.decode(ops, parameters, z, context)

    def latent_prior(self, ops: Ops, parameters: Parameters) -> PriorDistribution:
        """What the latents of normal rows should look like."""
        encode = partial(self.encode, ops, parameters)
        return self.prior.distribution(ops, parameters, self.sizes, encode)


def assemble_vae(
    config: VAEConfig, inputs: int, context: int, likelihood: ProductLikelihood
) -> VAE:
    """Put the parts together for rows of P inputs, K context values and D targets.

    Raises:
        ConfigInvalid: the latents that were asked for are no whole number of codes.
    """
    latent = _latent(config, likelihood.targets)
    sizes = Sizes(inputs=inputs, context=context, latent=latent, outputs=likelihood.outputs)
    networks = config.networks or default_networks(likelihood.targets)
    return VAE(networks, config.posterior, config.prior, likelihood, sizes)


def _latent(config: VAEConfig, targets: int) -> int:
    width = config.posterior.code_width if isinstance(config.posterior, QuantisedPosterior) else 1
    if isinstance(config.latent, int):
        if config.latent % width:
            raise ConfigInvalid(
                f"latents in codes of {width} are a multiple of {width}, not {config.latent}. "
                f"Use latent={config.latent + -config.latent % width}, or another code_width."
            )
        return config.latent
    wanted = max(1, round((config.latent or 1.0) * latent_size(targets)))
    return wanted + -wanted % width
