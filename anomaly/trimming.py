"""Which rows a model that is still learning should leave aside: those that it explains worst.

Rows that are called normal often hide anomalies. While they are few, a model learns the normal rows
first, and the rows of the largest loss are then mostly anomalies (Shen & Sanghavi 2019, "Learning
with bad training data via iterative trimmed loss minimization", algorithm 1): train, rank, train
on the rest, rank again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomaly.arrays import Parameters, Tensor
from anomaly.models.objective import Batch
from anomaly.models.vae import VAE
from anomaly.scores import ReconstructionError

if TYPE_CHECKING:
    from anomaly.models.torch_ops import TorchOps

MOMENTS = (0.2, 0.4, 0.6, 0.8)
"""Shares of the training steps after which the rows are ranked: few, as each ranks all rows."""

BLOCK_ROWS = 8_192
"""Rows that are ranked at once, so that a large table needs no more memory than training it."""

POSTERIOR_MEAN = ReconstructionError(draws=0)


def moments(steps: int, trim: float) -> frozenset[int]:
    """The steps before which the rows are ranked; none where nothing is trimmed."""
    return frozenset(round(share * steps) for share in MOMENTS if trim) - {0}


def kept_rows(ops: TorchOps, vae: VAE, parameters: Parameters, rows: Batch, trim: float) -> Tensor:
    """(K,) ascending numbers of the rows with the smallest losses, K = N - floor(trim N)."""
    import torch

    with torch.inference_mode():
        losses = row_losses(ops, vae, parameters, rows)
    n = len(losses)
    return losses.argsort(stable=True)[: n - int(trim * n)].sort().values


def row_losses(ops: TorchOps, vae: VAE, parameters: Parameters, rows: Batch) -> Tensor:
    """(N,) negative log-likelihood of each row from its posterior mean, nothing hidden, in nats.

    A missing entry counts as that target's mean over the rows where it is there: densities make
    terms of either sign, so that to leave it out could make a row better or worse.
    """
    import torch

    losses, sums = [], torch.zeros(rows.targets.shape[1], device=rows.targets.device)
    for start in range(0, len(rows.targets), BLOCK_ROWS):
        block = taken(rows, slice(start, start + BLOCK_ROWS))
        terms = POSTERIOR_MEAN.terms(ops, vae, parameters, block).per_target * block.observed
        losses.append(terms.sum(1))
        sums += terms.sum(0)
    usual = sums / rows.observed.sum(0).clamp(min=1)
    return torch.cat(losses) + (1 - rows.observed) @ usual


def taken(rows: Batch, chosen: Tensor | slice) -> Batch:
    """The chosen rows, in the given order."""
    return Batch(
        rows.inputs[chosen], rows.targets[chosen], rows.observed[chosen], rows.context[chosen]
    )
