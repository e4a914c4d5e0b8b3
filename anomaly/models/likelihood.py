"""Likelihoods: how probable a row is, given what the decoder says of it.

Each column has the distribution of its kind, and a row the product of them. Targets are ordered
Gaussian first, then Bernoulli, then categorical.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Parameters, Tensor
from anomaly.data.schema import STRICT
from anomaly.models.ops import Ops


def gaussian_log_prob(ops: Ops, x: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """log N(x; mean, sigma^2) in nats, element-wise; sigma may be any shape that broadcasts."""
    standardised = (x - mean) / sigma
    return -0.5 * standardised**2 - (ops.log(sigma) + 0.5 * math.log(2 * math.pi))


def bernoulli_probability(ops: Ops, logit: Tensor, floor: float) -> Tensor:
    """P(x = 1), kept within [floor / 2, 1 - floor / 2]."""
    return (1 - floor) * ops.sigmoid(logit) + floor / 2


def bernoulli_log_prob(ops: Ops, x: Tensor, logit: Tensor, floor: float) -> Tensor:
    """log P(x) in nats, element-wise, x of 0 and 1; never below log(floor / 2)."""
    return ops.log(bernoulli_probability(ops, ops.where(x > 0.5, logit, -logit), floor))


def categorical_probabilities(ops: Ops, logits: Tensor, floor: float) -> Tensor:
    """(..., C) from logits (..., C), each at least floor / C."""
    softmax = ops.exp(logits - ops.logsumexp(logits, -1)[..., None])
    return (1 - floor) * softmax + floor / logits.shape[-1]


def categorical_log_prob(ops: Ops, code: Tensor, logits: Tensor, floor: float) -> Tensor:
    """log P(code) in nats, (..., N), of codes (N,) under logits (..., N, C).

    Never below log(floor / C), so that a category unseen in training costs a bounded amount.
    """
    return ops.log(ops.pick(categorical_probabilities(ops, logits, floor), code))


class Variance(StrEnum):
    """How the standard deviation of numeric targets is found.

    Attributes:
        UNIT: Fixed at 1: half the squared error, as in a plain autoencoder.
        SHARED: One learned number; at its best the root of the mean squared error (sigma-VAE;
            Rybkin, Daniilidis & Levine 2021, eq. 5).
        PER_FEATURE: One learned number a feature.
        PER_ROW: One of each row and feature, given by the decoder (Nix & Weigend 1994).
    """

    UNIT = "unit"
    SHARED = "shared"
    PER_FEATURE = "per_feature"
    PER_ROW = "per_row"


@dataclass(frozen=True, config=STRICT)
class LikelihoodConfig:
    """The choices that hold for every table.

    Attributes:
        variance: See `Variance`.
        sigma_floor: Smallest learned standard deviation, in standard deviations of the column:
            without it, a column that is predicted exactly has an unbounded likelihood.
        probability_floor: Probability spread evenly over all classes, unseen ones included.
    """

    variance: Variance = Variance.PER_FEATURE
    sigma_floor: Annotated[float, Field(gt=0)] = 0.05
    probability_floor: Annotated[float, Field(gt=0, lt=1)] = 1e-3


@dataclass(frozen=True, config=STRICT)
class ProductLikelihood:
    """Independent columns: `gaussian` numbers, `bernoulli` booleans, one categorical a class count.

    Attributes:
        classes: The number of classes of each categorical target, the unknown one included.
    """

    config: LikelihoodConfig
    gaussian: Annotated[int, Field(ge=0)]
    bernoulli: Annotated[int, Field(ge=0)] = 0
    classes: tuple[Annotated[int, Field(ge=1)], ...] = ()

    @property
    def targets(self) -> int:
        """D."""
        return self.gaussian + self.bernoulli + len(self.classes)

    @property
    def outputs(self) -> int:
        """R, the numbers the decoder gives."""
        return self._spreads + self.gaussian + self.bernoulli + sum(self.classes)

    @property
    def _spreads(self) -> int:
        """How many raw standard deviations stand before the decoder's other numbers."""
        return self.gaussian if self.config.variance is Variance.PER_ROW else 0

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by name."""
        if not self.gaussian:
            return {}
        match self.config.variance:
            case Variance.SHARED:
                return {"likelihood.raw_sigma": (1,)}
            case Variance.PER_FEATURE:
                return {"likelihood.raw_sigma": (self.gaussian,)}
            case Variance.UNIT | Variance.PER_ROW:
                return {}

    def initial(self) -> Parameters:
        """Fresh parameters: every learned standard deviation starts near 1."""
        return {name: np.full(shape, 0.5, np.float32) for name, shape in self.shapes().items()}

    def sigma(self, ops: Ops, parameters: Parameters, outputs: Tensor) -> Tensor:
        """Standard deviations of the numeric targets: (G,), (1,) shared, or (S, N, G) by row."""
        match self.config.variance:
            case Variance.UNIT:
                return ops.array(np.ones(self.gaussian, np.float32))
            case Variance.SHARED | Variance.PER_FEATURE:
                raw = parameters["likelihood.raw_sigma"]
            case Variance.PER_ROW:
                raw = outputs[..., : self.gaussian]
        return self.config.sigma_floor + ops.softplus(raw)

    def log_prob(
        self, ops: Ops, parameters: Parameters, outputs: Tensor, targets: Tensor
    ) -> Tensor:
        """log p(target | outputs) in nats of each target: (S, N, R), (N, D) -> (S, N, D)."""
        parts = []
        means, logits, classes = self._split(outputs)
        numbers, booleans, codes = self._split_targets(targets)
        if self.gaussian:
            sigma = self.sigma(ops, parameters, outputs)
            parts.append(gaussian_log_prob(ops, numbers, means, sigma))
        floor = self.config.probability_floor
        if self.bernoulli:
            parts.append(bernoulli_log_prob(ops, booleans, logits, floor))
        for code, scores in zip(codes, classes, strict=True):
            parts.append(categorical_log_prob(ops, code, scores, floor)[..., None])
        return ops.concatenate(parts)

    def squared_error(self, ops: Ops, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared error of each target, (S, N, D): for classes, of the probabilities (Brier)."""
        parts = []
        means, logits, classes = self._split(outputs)
        numbers, booleans, codes = self._split_targets(targets)
        if self.gaussian:
            parts.append((numbers - means) ** 2)
        floor = self.config.probability_floor
        if self.bernoulli:
            parts.append((booleans - bernoulli_probability(ops, logits, floor)) ** 2)
        for code, scores in zip(codes, classes, strict=True):
            probabilities = categorical_probabilities(ops, scores, floor)
            brier = (probabilities**2).sum(-1) - 2 * ops.pick(probabilities, code) + 1
            parts.append(brier[..., None])
        return ops.concatenate(parts)

    def residual(
        self, ops: Ops, parameters: Parameters, outputs: Tensor, targets: Tensor
    ) -> Tensor:
        """What is left of each target, (S, N, D): 0 where it was foreseen.

        Numbers in standard deviations, booleans as the difference from the probability, categories
        as the probability of all others.
        """
        parts = []
        means, logits, classes = self._split(outputs)
        numbers, booleans, codes = self._split_targets(targets)
        if self.gaussian:
            parts.append((numbers - means) / self.sigma(ops, parameters, outputs))
        floor = self.config.probability_floor
        if self.bernoulli:
            parts.append(booleans - bernoulli_probability(ops, logits, floor))
        for code, scores in zip(codes, classes, strict=True):
            probabilities = categorical_probabilities(ops, scores, floor)
            parts.append(1.0 - ops.pick(probabilities, code)[..., None])
        return ops.concatenate(parts)

    def expected(self, ops: Ops, outputs: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Means (S, N, G), probabilities (S, N, B), and class probabilities [(S, N, C), ...]."""
        means, logits, classes = self._split(outputs)
        floor = self.config.probability_floor
        return (
            means,
            bernoulli_probability(ops, logits, floor),
            [categorical_probabilities(ops, scores, floor) for scores in classes],
        )

    def _split(self, outputs: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        outputs = outputs[..., self._spreads :]
        start = self.gaussian + self.bernoulli
        classes = []
        for count in self.classes:
            classes.append(outputs[..., start : start + count])
            start += count
        middle = outputs[..., self.gaussian : self.gaussian + self.bernoulli]
        return outputs[..., : self.gaussian], middle, classes

    def _split_targets(self, targets: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        first = self.gaussian + self.bernoulli
        codes = [targets[:, first + k] for k in range(len(self.classes))]
        return targets[:, : self.gaussian], targets[:, self.gaussian : first], codes
