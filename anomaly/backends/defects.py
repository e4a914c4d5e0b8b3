"""The network that looks for defects, on one device. An image at a time, so that nothing else can
move its numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np

from anomaly.arrays import Float32, Float64, Parameters
from anomaly.backends.backend import Backend
from anomaly.models.defects import LEVELS, REDUCTION, DefectNetwork
from anomaly.models.ops import Ops
from anomaly.preprocessing.images import halved


@dataclass(frozen=True)
class DefectModel:
    """A network and its learned numbers, NumPy arrays."""

    network: DefectNetwork
    parameters: Parameters
    # Weak keys: what lies on a device goes with the backend that asked for it.
    _held: WeakKeyDictionary[Ops, Parameters] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False, compare=False
    )

    def on(self, ops: Ops) -> Parameters:
        """The learned numbers as arrays of that library, on its device: copied once."""
        if ops not in self._held:
            self._held[ops] = {name: ops.array(array) for name, array in self.parameters.items()}
        return self._held[ops]


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
        levels = []
        for level in defect_levels(image):
            planes = np.concatenate([level, np.ones_like(level[..., :1])], axis=-1)
            levels.append(ops.array(np.ascontiguousarray(planes.transpose(2, 0, 1))[None]))
        found = ops.numpy(model.network.logits(ops, model.on(ops), levels))
    odds: Float64 = found[0].astype(np.float64)
    return odds
