"""What training hides and blurs of the rows that it shows the encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly.arrays import Bool, Int64
from anomaly.fitting.config import FitConfig
from anomaly.models.objective import Batch


@dataclass(frozen=True)
class Corruption:
    """What can be hidden or blurred of the encoder's inputs.

    Attributes:
        owner: (P,) the target that each input belongs to; all inputs of a target hide together.
        is_number: (P,) whether noise may be added.
    """

    owner: Int64
    is_number: Bool


class Corrupter:
    """Hides and blurs the encoder's inputs, the same way a missing value hides them: by zeros."""

    def __init__(
        self, corruption: Corruption, config: FitConfig, generator: Any, device: Any
    ) -> None:
        import torch

        self.owner = torch.as_tensor(corruption.owner, device=device)
        self.targets = int(corruption.owner.max(initial=-1)) + 1
        self.is_number = torch.as_tensor(corruption.is_number.astype(np.float32), device=device)
        self.config = config
        self.generator = generator

    def __call__(self, batch: Batch) -> Any:
        import torch

        inputs = batch.inputs
        rows, device = len(inputs), inputs.device
        if self.config.noise:
            width = torch.rand((rows, 1), generator=self.generator, device=device)
            blur = torch.randn(inputs.shape, generator=self.generator, device=device)
            # What is missing stays exactly zero, as it will be when rows are scored.
            blurred = self.is_number * batch.observed.index_select(1, self.owner)
            inputs = inputs + (2 * self.config.noise) * width * blur * blurred
        if self.config.mask_rate:
            hide = torch.rand((rows, self.targets), generator=self.generator, device=device)
            inputs = inputs * (hide >= self.config.mask_rate).index_select(1, self.owner)
        return inputs
