"""Rows on the device, and batches drawn from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from anomaly.arrays import Features
from anomaly.models.objective import Batch


def on_device(features: Features, device: Any) -> Batch:
    """The rows in float32 on the device: the whole table, once."""
    import torch

    return Batch(
        *(
            torch.as_tensor(np.asarray(array, dtype=np.float32), device=device)
            for array in (features.inputs, features.targets, features.observed, features.context)
        )
    )


def batches(rows: Batch, drawn: Any, batch_rows: int, generator: Any) -> Iterator[Batch]:
    """Endless batches of the drawn rows (K,), by number.

    Each epoch is a fresh permutation, the short rest of an epoch included.
    """
    import torch

    n = len(drawn)
    while True:
        order = drawn[torch.randperm(n, generator=generator, device=drawn.device)]
        for start in range(0, n, batch_rows):
            chosen = order[start : start + batch_rows]
            yield Batch(
                rows.inputs.index_select(0, chosen),
                rows.targets.index_select(0, chosen),
                rows.observed.index_select(0, chosen),
                rows.context.index_select(0, chosen),
            )
