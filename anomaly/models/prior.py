"""Priors: what the latents of normal rows should look like."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Float32, Float64, Parameters, Tensor
from anomaly.data.schema import STRICT
from anomaly.models.networks import Sizes
from anomaly.models.ops import TILE_ROWS, Ops
from anomaly.models.posterior import LOG_SCALE_RANGE, DiagonalNormal

Encode = Callable[[Tensor, Tensor], DiagonalNormal]
"""The model's encoder: inputs (N, P), context (N, K) -> the posterior of N rows."""

Components = Annotated[int, Field(ge=1, le=4096)]


@dataclasses.dataclass(frozen=True)
class StandardNormal:
    """N(0, 1) for every one of L latents."""

    latent: int

    def log_prob(self, ops: Ops, z: Tensor) -> Tensor:
        """log p(z) in nats of z (S, N, L), (S, N)."""
        return (-0.5 * (z**2 + math.log(2 * math.pi))).sum(-1)

    def kl(self, ops: Ops, posterior: DiagonalNormal, noise: Tensor) -> Tensor:
        """KL(posterior || prior) in nats, (N,), in closed form: the noise is not needed."""
        return posterior.kl_to_standard_normal(ops).sum(-1)

    def sample(self, n: int, rng: np.random.Generator) -> Float64:
        """(n, L) draws."""
        return rng.standard_normal((n, self.latent))


@dataclasses.dataclass(frozen=True)
class NormalMixture:
    """A mixture of C diagonal normals.

    Attributes:
        log_weight: (C,) log probabilities of the components.
        loc: (C, L).
        log_scale: (C, L).
    """

    log_weight: Tensor
    loc: Tensor
    log_scale: Tensor

    def log_prob(self, ops: Ops, z: Tensor) -> Tensor:
        """log p(z) in nats of z (S, N, L), (S, N)."""
        standardised = (z[..., None, :] - self.loc) * ops.exp(-self.log_scale)
        of_component = (-0.5 * (standardised**2 + math.log(2 * math.pi)) - self.log_scale).sum(-1)
        return ops.logsumexp(self.log_weight + of_component, -1)

    def kl(self, ops: Ops, posterior: DiagonalNormal, noise: Tensor) -> Tensor:
        """KL(posterior || prior) in nats, (N,): log q(z | x) - log p(z), averaged over the draws.

        There is no closed form (Tomczak & Welling 2018, eq. 7). For one row it may be negative; on
        average over noise it is not.
        """
        log_prior = self.log_prob(ops, posterior.sample(ops, noise))
        return (posterior.log_prob_of_noise(noise) - log_prior).mean(0)

    def sample(self, n: int, rng: np.random.Generator) -> Float64:
        """(n, L) draws, of a mixture in NumPy arrays."""
        weight = np.exp(self.log_weight, dtype=np.float64)
        component = rng.choice(len(weight), n, p=weight / weight.sum())
        noise = rng.standard_normal((n, self.loc.shape[1]))
        drawn: Float64 = self.loc[component] + np.exp(self.log_scale[component]) * noise
        return drawn


PriorDistribution = StandardNormal | NormalMixture


@dataclass(frozen=True, config=STRICT)
class StandardNormalPrior:
    """N(0, 1) for every latent (Kingma & Welling 2014)."""

    kind: Literal["standard_normal"] = "standard_normal"

    def shapes(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """No parameters."""
        return {}

    def distribution(
        self, ops: Ops, parameters: Parameters, sizes: Sizes, encode: Encode
    ) -> PriorDistribution:
        """The distribution over latents."""
        return StandardNormal(sizes.latent)


@dataclass(frozen=True, config=STRICT)
class MixturePrior:
    """A learned mixture of diagonal Gaussians, for rows of several kinds.

    As in VaDE (Jiang et al. 2017) and the GMVAE (Dilokthanakul et al. 2016), with the component
    summed out instead of inferred: log p(z) = log sum_c w_c N(z; mean_c, scale_c^2).

    Attributes:
        components: C.
    """

    kind: Literal["mixture"] = "mixture"
    components: Components = 16

    def shapes(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by name."""
        return {
            "prior.logit": (self.components,),
            "prior.loc": (self.components, sizes.latent),
            "prior.log_scale": (self.components, sizes.latent),
        }

    def initial(self, sizes: Sizes, rng: np.random.Generator) -> Parameters:
        """Components of equal weight and unit scale around standard normal means."""
        zeros = {name: np.zeros(shape, np.float32) for name, shape in self.shapes(sizes).items()}
        loc = rng.standard_normal(zeros["prior.loc"].shape).astype(np.float32)
        return {**zeros, "prior.loc": loc}

    def distribution(
        self, ops: Ops, parameters: Parameters, sizes: Sizes, encode: Encode
    ) -> PriorDistribution:
        """The distribution over latents."""
        logit = parameters["prior.logit"]
        log_scale = ops.clip(parameters["prior.log_scale"], *LOG_SCALE_RANGE)
        return NormalMixture(logit - ops.logsumexp(logit, 0), parameters["prior.loc"], log_scale)


@dataclass(frozen=True, config=STRICT)
class VampPrior:
    """The mean of the posteriors of learned pseudo-rows (Tomczak & Welling 2018, eq. 9).

    A pseudo-row has inputs and context columns, as a row has.

    Attributes:
        components: C, the number of pseudo-rows.
    """

    kind: Literal["vamp"] = "vamp"
    components: Components = 16

    def shapes(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by name."""
        inputs: dict[str, tuple[int, ...]] = {"prior.inputs": (self.components, sizes.inputs)}
        if not sizes.context:
            return inputs
        return {**inputs, "prior.context": (self.components, sizes.context)}

    def initial(self, inputs: Float32, context: Float32, rng: np.random.Generator) -> Parameters:
        """Pseudo-rows among the rows (two at least): each the middle of two, drawn at random.

        Far from all rows no posterior would ever need them; and a row itself must not be stored.
        """
        n = len(inputs)
        first = rng.integers(0, n, self.components)
        pairs = np.stack([first, (first + rng.integers(1, n, self.components)) % n], axis=1)
        pseudo = {"prior.inputs": inputs[pairs].mean(1)}
        return {**pseudo, "prior.context": context[pairs].mean(1)} if context.shape[1] else pseudo

    def distribution(
        self, ops: Ops, parameters: Parameters, sizes: Sizes, encode: Encode
    ) -> PriorDistribution:
        """The distribution over latents."""
        # Products take a multiple of 16 rows: the first ones fill up.
        padded = [c % self.components for c in range(-(-self.components // TILE_ROWS) * TILE_ROWS)]
        inputs = parameters["prior.inputs"][padded]
        context = parameters["prior.context"][padded] if sizes.context else inputs[:, :0]
        q = encode(inputs, context)
        assert q.log_scale is not None, "a point posterior has no density"
        log_weight = np.full(self.components, -math.log(self.components), np.float32)
        return NormalMixture(
            ops.array(log_weight), q.loc[: self.components], q.log_scale[: self.components]
        )


Prior = StandardNormalPrior | MixturePrior | VampPrior
