"""A score of what the model says of each cell of an image when it is shown its surroundings."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Float32, Int64, Parameters
from anomaly.data.schema import STRICT
from anomaly.models.convolutional import ConvNetworks
from anomaly.models.objective import Batch
from anomaly.models.ops import Ops
from anomaly.models.vae import VAE
from anomaly.scores.masked import MASKS
from anomaly.scores.terms import ScoreTerms


@dataclass(frozen=True, config=STRICT)
class HiddenCells:
    """Negative log-likelihood of every pixel under a model that is not shown its cell, in nats.

    A model that sees a defect copies it; one that has to guess what lies between the visible cells
    guesses what is usual there. Four masks hide every other cell of every other row of cells in
    turn, so that each pixel is hidden once. From posterior means: four passes through the model.

    Attributes:
        cell: Side of a cell in pixels.
    """

    kind: Literal["hidden_cells"] = "hidden_cells"
    unit: Literal["nats"] = "nats"
    cell: Annotated[int, Field(ge=1, le=256)] = 8

    def shapes(self, vae: VAE) -> dict[str, tuple[int, ...]]:
        """The shape of every constant, by name."""
        return {MASKS: (4, 1, vae.sizes.inputs)}

    def constants(self, vae: VAE, owner: Int64, rng: np.random.Generator) -> Parameters:
        """The four masks."""
        assert isinstance(vae.networks, ConvNetworks), "a table has no cells"
        networks = vae.networks
        planes = vae.sizes.inputs // (networks.height * networks.width)
        return {MASKS: cell_masks(networks.height, networks.width, planes, self.cell)}

    def terms(self, ops: Ops, vae: VAE, parameters: Parameters, batch: Batch) -> ScoreTerms:
        """See the package; targets float64 make the terms float64."""
        per_target = 0.0 * batch.targets
        for shown in parameters[MASKS]:
            hidden = 1.0 - shown[:, : vae.likelihood.targets]
            posterior = vae.encode(ops, parameters, batch.inputs * shown, batch.context)
            outputs = vae.decode(ops, parameters, posterior.loc[None], batch.context)
            log_prob = vae.likelihood.log_prob(ops, parameters, outputs, batch.targets)[0]
            per_target = per_target - hidden * log_prob
        return ScoreTerms(per_target, 0.0 * per_target[:, 0])


def cell_masks(height: int, width: int, planes: int, cell: int) -> Float32:
    """(4, 1, planes * height * width), 0 where hidden: all planes of a pixel together."""
    row, column = (np.arange(side) // cell % 2 for side in (height, width))
    masks = [
        1.0 - np.outer(row == y, column == x).astype(np.float32) for y in (0, 1) for x in (0, 1)
    ]
    return np.stack([np.tile(mask.ravel(), planes) for mask in masks]).astype(np.float32)[:, None]
