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
    """Squared error of every pixel, as guessed by a model that is not shown its cell.

    A model that sees a defect copies it; one that has to guess what lies between the visible cells
    guesses what is usual there. Four masks hide every other cell of every other row of cells in
    turn, so that each pixel is hidden once. From posterior means: four passes through the model.
    The likelihood that trains the model knows where it will err, on scratched and rough surfaces;
    an error measured by that would forgive what is to be found.

    Attributes:
        cell: Side of a cell in pixels.
    """

    kind: Literal["hidden_cells"] = "hidden_cells"
    unit: Literal["squared error"] = "squared error"
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
            errors = vae.likelihood.squared_error(ops, outputs, batch.targets)[0]
            per_target = per_target + hidden * errors
        return ScoreTerms(per_target, 0.0 * per_target[:, 0])


def cell_masks(height: int, width: int, planes: int, cell: int) -> Float32:
    """(4, 1, planes * height * width), 0 where hidden: all planes of a pixel together but the last,
    which says where there is an image."""
    row, column = (np.arange(side) // cell % 2 for side in (height, width))
    masks = [
        1.0 - np.outer(row == y, column == x).astype(np.float32) for y in (0, 1) for x in (0, 1)
    ]
    last = np.ones(height * width, np.float32)
    return np.stack([np.append(np.tile(mask.ravel(), planes - 1), last) for mask in masks])[:, None]
