"""Scores that compare a row with rows seen in training.

They carry some of the rows that trained (never a calibration row: the guarantee would end),
as numbers that the model makes of them. The search for the nearest is one product; what is scored
is computed anew from the one row that was found, so that a score is exact where the search rounds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Int64, Parameters, Tensor
from anomaly.data.schema import STRICT
from anomaly.models.objective import Batch
from anomaly.models.ops import Ops
from anomaly.models.vae import VAE
from anomaly.scores.bounds import Drawing, reconstruction
from anomaly.scores.terms import ScoreTerms

ROWS = "score.rows"
"""The name of the remembered rows, (M, F)."""

OWNER = "score.owner"
"""The name of the matrix (P, D) of 0 and 1 that says which target each input tells of."""

MostRows = Annotated[int, Field(ge=1, le=1_000_000)]


@dataclass(frozen=True, config=STRICT)
class ExemplarKL(Drawing):
    """Reconstruction error + min over remembered rows n of KL(q(z|x) || q(z|x_n)), in nats.

    The KL to the nearest component of the aggregate posterior, instead of the KL to the prior
    (an exemplar VAE's prior, Norouzi et al. 2020, that needs no training).

    Attributes:
        draws: S, of the reconstruction; 0 decodes the posterior mean alone.
        most_rows: At most so many rows are remembered; the cost of a row grows with them.
    """

    kind: Literal["exemplar_kl"] = "exemplar_kl"
    unit: Literal["nats"] = "nats"
    draws: Annotated[int, Field(ge=0, le=4096)] = 0
    most_rows: MostRows = 10_000

    def width(self, vae: VAE) -> int:
        """F: posterior mean and log standard deviation of each latent."""
        return 2 * vae.sizes.latent

    def remembered(self, ops: Ops, vae: VAE, parameters: Parameters, batch: Batch) -> Tensor:
        """What is kept of rows, (N, F)."""
        posterior = vae.encode(ops, parameters, batch.inputs, batch.context)
        return ops.concatenate([posterior.loc, posterior.log_scale])

    def terms(self, ops: Ops, vae: VAE, parameters: Parameters, batch: Batch) -> ScoreTerms:
        """See the package; targets float64 make the terms float64."""
        posterior, _, log_prob = reconstruction(ops, vae, parameters, self.draws, batch)
        rows, latent = parameters[ROWS], vae.sizes.latent
        loc, log_scale = rows[:, :latent], rows[:, latent:]
        precision = ops.exp(-2.0 * log_scale)
        assert posterior.log_scale is not None, "a point posterior has no KL"
        second_moment = posterior.loc**2 + ops.exp(2.0 * posterior.log_scale)
        divergence = ops.linear(
            ops.concatenate([second_moment, posterior.loc]),
            ops.concatenate([0.5 * precision, -loc * precision]),
            (0.5 * loc**2 * precision + log_scale).sum(-1),
        )
        nearest = divergence.argmin(-1)
        loc, log_scale = loc[nearest], log_scale[nearest]
        ratio = ops.exp(2.0 * (posterior.log_scale - log_scale))
        distance = ((posterior.loc - loc) * ops.exp(-log_scale)) ** 2
        kl = 0.5 * (distance + ratio - 1.0) + log_scale - posterior.log_scale
        return ScoreTerms(-log_prob, kl.sum(-1) + 0.0 * log_prob[:, 0])


class Space(StrEnum):
    """Where rows are compared.

    Attributes:
        INPUTS: What the encoder sees: standardised numbers, rank-normal copies where it has them,
            classes.
        RESIDUAL: What the model leaves unexplained, in standard deviations.
        LATENT: Posterior means.
    """

    INPUTS = "inputs"
    RESIDUAL = "residual"
    LATENT = "latent"


@dataclass(frozen=True, config=STRICT)
class NearestRow:
    """Squared distance to the nearest remembered row, in the spaces that the model spans.

    The nearest neighbour (k = 1; Ramaswamy, Rastogi & Shim 2000) on raw columns is a strong
    detector; beside what the model leaves unexplained it is a stronger one.

    Attributes:
        spaces: The distance is that of all their coordinates together.
        most_rows: At most so many rows are remembered; the cost of a row grows with them.
    """

    kind: Literal["nearest_row"] = "nearest_row"
    unit: Literal["squared distance"] = "squared distance"
    spaces: Annotated[tuple[Space, ...], Field(min_length=1)] = (Space.INPUTS, Space.RESIDUAL)
    most_rows: MostRows = 10_000

    def shapes(self, vae: VAE) -> dict[str, tuple[int, ...]]:
        """The shape of every constant but the rows, by name."""
        return {OWNER: (vae.sizes.inputs, vae.likelihood.targets)}

    def width(self, vae: VAE) -> int:
        """F: the coordinates of all spaces."""
        widths = {
            Space.INPUTS: vae.sizes.inputs,
            Space.RESIDUAL: vae.likelihood.targets,
            Space.LATENT: vae.sizes.latent,
        }
        return sum(widths[space] for space in self.spaces)

    def constants(self, vae: VAE, owner: Int64, rng: np.random.Generator) -> Parameters:
        """The matrix that sums inputs by target; `owner` (P,) says which each tells of."""
        return {OWNER: (owner[:, None] == np.arange(vae.likelihood.targets)).astype(np.float32)}

    def remembered(self, ops: Ops, vae: VAE, parameters: Parameters, batch: Batch) -> Tensor:
        """What is kept of rows, (N, F)."""
        return ops.concatenate(self._coordinates(ops, vae, parameters, batch))

    def terms(self, ops: Ops, vae: VAE, parameters: Parameters, batch: Batch) -> ScoreTerms:
        """See the package. The latent part belongs to no target."""
        spaces = self._coordinates(ops, vae, parameters, batch)
        rows = parameters[ROWS]
        nearest = rows[ops.nearest(ops.concatenate(spaces), rows)]
        per_target, rest, start = 0.0 * batch.targets, 0.0 * batch.targets[:, 0], 0
        for space, here in zip(self.spaces, spaces, strict=True):
            squares = (here - nearest[:, start : start + here.shape[-1]]) ** 2
            start += here.shape[-1]
            match space:
                case Space.INPUTS:
                    # Products with the matrix of 0 and 1 go by tiles like every other.
                    owner = parameters[OWNER]
                    per_target = per_target + ops.linear(squares, owner.T, 0.0 * owner[0])
                case Space.RESIDUAL:
                    per_target = per_target + squares
                case Space.LATENT:
                    rest = rest + squares.sum(-1)
        return ScoreTerms(per_target, rest)

    def _coordinates(
        self, ops: Ops, vae: VAE, parameters: Parameters, batch: Batch
    ) -> list[Tensor]:
        posterior = vae.encode(ops, parameters, batch.inputs, batch.context)
        outputs = vae.decode(ops, parameters, posterior.loc[None], batch.context)
        # float32 as the rows are kept: the scale of a distance needs no more.
        residual = vae.likelihood.residual(ops, parameters, outputs, batch.targets)[0]
        found = {
            Space.INPUTS: batch.inputs,
            Space.RESIDUAL: ops.narrow(residual * batch.observed),
            Space.LATENT: posterior.loc,
        }
        return [found[space] for space in self.spaces]
