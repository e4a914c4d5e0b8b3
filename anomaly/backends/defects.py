"""The network that looks for defects, on one device. An image at a time, so that nothing else can
move its numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomaly.arrays import Float32, Float64, Parameters
from anomaly.backends.backend import Backend
from anomaly.models.defects import LEVELS, REDUCTION, DefectNetwork
from anomaly.preprocessing.images import halved


@dataclass(frozen=True)
class DefectModel:
    """A network and its learned numbers; NumPy arrays only."""

    network: DefectNetwork
    parameters: Parameters


def defect_levels(image: Float32) -> list[Float32]:
    """The image (height, width, channels), its border repeated up to multiples of 4, at full, half
    and quarter size."""
    missing = [(0, -side % REDUCTION) for side in image.shape[:2]]
    levels = [np.pad(image, (*missing, (0, 0)), mode="edge")]
    for _ in range(LEVELS - 1):
        levels.append(halved(levels[-1]))
    return levels


def log_odds(model: DefectModel, backend: Backend, image: Float32) -> Float64:
    """(height / 4, width / 4), rounded up: log odds of a defect, by the backend's library."""
    ops = backend.ops
    with ops.inference():
        held = {name: ops.array(array) for name, array in model.parameters.items()}
        levels = []
        for level in defect_levels(image):
            planes = np.concatenate([level, np.ones_like(level[..., :1])], axis=-1)
            levels.append(ops.array(np.ascontiguousarray(planes.transpose(2, 0, 1))[None]))
        found = ops.numpy(model.network.logits(ops, held, levels))
    odds: Float64 = found[0].astype(np.float64)
    return odds
