"""A score of what the model says of each column when it is not told that column."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Int64, Parameters, Tensor
from anomaly.data.schema import STRICT
from anomaly.models.objective import Batch
from anomaly.models.ops import Ops
from anomaly.models.vae import VAE
from anomaly.scores.terms import ScoreTerms

MASKS = "score.masks"
"""The name of the masks, (M, 1, P) of 0 and 1."""


@dataclass(frozen=True, config=STRICT)
class MaskedReconstruction:
    """Half the error of the whole row, half that of the row seen through masks, in nats.

    A value that agrees with nothing is copied by a model that sees it, and missed by one that does
    not (masked autoencoding; Germain et al. 2015, He et al. 2022). Every target is hidden in
    `rounds` of the `rounds * parts` masks. From posterior means; it costs 1 + rounds * parts
    passes through the model.

    Attributes:
        parts: A mask hides one of so many parts of the targets.
        rounds: How often the targets are divided at random.
    """

    kind: Literal["masked_reconstruction"] = "masked_reconstruction"
    unit: Literal["nats"] = "nats"
    parts: Annotated[int, Field(ge=2, le=64)] = 4
    rounds: Annotated[int, Field(ge=1, le=64)] = 2

    def shapes(self, vae: VAE) -> dict[str, tuple[int, ...]]:
        """The shape of every constant, by name."""
        return {MASKS: (self.parts * self.rounds, 1, vae.sizes.inputs)}

    def constants(self, vae: VAE, owner: Int64, rng: np.random.Generator) -> Parameters:
        """Masks over inputs; `owner` (P,) says which target each input tells of."""
        part = [rng.permutation(vae.likelihood.targets) % self.parts for _ in range(self.rounds)]
        shown = [(parts != hidden)[owner] for parts in part for hidden in range(self.parts)]
        return {MASKS: np.array(shown, dtype=np.float32)[:, None]}

    def terms(self, ops: Ops, vae: VAE, parameters: Parameters, batch: Batch) -> ScoreTerms:
        """See the package; targets float64 make the terms float64."""
        masks = parameters[MASKS]
        # One mask after the other: all at once would leave the processor's cache.
        per_target = 0.5 * _error(ops, vae, parameters, batch, 1.0)
        for mask in masks:
            per_target = per_target + (0.5 / len(masks)) * _error(ops, vae, parameters, batch, mask)
        return ScoreTerms(per_target, 0.0 * per_target[:, 0])


def _error(ops: Ops, vae: VAE, parameters: Parameters, batch: Batch, shown: Tensor) -> Tensor:
    """-log p of each target under the posterior mean of the inputs that are shown, (N, D)."""
    posterior = vae.encode(ops, parameters, batch.inputs * shown, batch.context)
    outputs = vae.decode(ops, parameters, posterior.loc[None], batch.context)
    return -vae.likelihood.log_prob(ops, parameters, outputs, batch.targets)[0]
