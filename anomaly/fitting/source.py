"""What training draws from: a table of rows, some of them hidden, blurred or left aside."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from anomaly.arrays import Bool, Features, Parameters, Tensor
from anomaly.fitting.batches import batches, on_device
from anomaly.fitting.config import FitConfig
from anomaly.fitting.corruption import Corrupter, Corruption
from anomaly.models.objective import Batch
from anomaly.models.vae import VAE
from anomaly.trimming import kept_rows, moments, taken

if TYPE_CHECKING:
    from anomaly.models.torch_ops import TorchOps

MOST_WATCHED = 2_000
"""Without early-stop rows, looks are at so many fit rows: more would not move a mean."""


class Source(Protocol):
    """Batches to train on, and rows to look at.

    Attributes:
        held_out: Whether the rows that are looked at are early-stop rows.
        watched_rows: How many rows are looked at.
    """

    held_out: bool
    watched_rows: int

    def batch(self, step: int, parameters: Parameters) -> Batch:
        """The rows of one step."""

    def corrupted(self, batch: Batch) -> Batch:
        """What the encoder is to see of them, and what the loss is to count."""

    def watched(self, noise: Tensor, parameters: Parameters) -> tuple[Batch, Tensor]:
        """The rows of a look, and of the noise (S, N or 1, L) what is theirs."""


class RowSource:
    """`Source` of a table."""

    def __init__(
        self,
        ops: TorchOps,
        vae: VAE,
        config: FitConfig,
        rows: Features,
        early_stop_rows: Features,
        corruption: Corruption,
        steps: int,
        generator: Any,
    ) -> None:
        import torch

        self._ops, self._vae, self._config, self._generator = ops, vae, config, generator
        self._seen = on_device(rows, ops.device)
        self._early_stop = on_device(early_stop_rows, ops.device)
        self._drawn = self._batches_of(torch.arange(len(rows), device=ops.device))
        self._corrupt = Corrupter(corruption, config, generator, ops.device)
        self._ranked_before = moments(steps, config.trim)
        self.held_out = len(early_stop_rows) > 0
        self._watched = self._early_stop
        if not self.held_out:
            order = torch.randperm(len(rows), generator=generator, device=ops.device)
            self._watched = taken(self._seen, order[:MOST_WATCHED])
        self.watched_rows = len(self._watched.targets)

    def batch(self, step: int, parameters: Parameters) -> Batch:
        """The next rows."""
        if step in self._ranked_before:
            self._drawn = self._batches_of(self._kept(self._seen, parameters))
        return next(self._drawn)

    def corrupted(self, batch: Batch) -> Batch:
        """The same rows, some of their inputs hidden and blurred."""
        return dataclasses.replace(batch, inputs=self._corrupt(batch))

    def watched(self, noise: Tensor, parameters: Parameters) -> tuple[Batch, Tensor]:
        """Whole rows, without those that are left aside."""
        if not self._config.trim:
            return self._watched, noise
        kept = self._kept(self._watched, parameters)
        return taken(self._watched, kept), noise if noise.shape[1] == 1 else noise[:, kept]

    def kept(self, parameters: Parameters) -> tuple[Bool, Bool]:
        """(N,) of fit and of early-stop rows, which ones these parameters do not leave aside."""
        return self._mask(self._seen, parameters), self._mask(self._early_stop, parameters)

    def _mask(self, rows: Batch, parameters: Parameters) -> Bool:
        if not self._config.trim or not len(rows.targets):
            return np.ones(len(rows.targets), dtype=bool)
        kept = np.zeros(len(rows.targets), dtype=bool)
        kept[self._kept(rows, parameters).cpu().numpy()] = True
        return kept

    def _kept(self, rows: Batch, parameters: Parameters) -> Tensor:
        return kept_rows(self._ops, self._vae, parameters, rows, self._config.trim)

    def _batches_of(self, numbers: Tensor) -> Iterator[Batch]:
        return batches(self._seen, numbers, self._config.batch_rows, self._generator)
