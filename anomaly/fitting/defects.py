"""Training of the network that tells drawn defects from normal surfaces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Float32, Parameters, Tensor, Values
from anomaly.data.schema import STRICT
from anomaly.errors import TrainingDiverged
from anomaly.fitting.config import schedule
from anomaly.fitting.weights import Weights
from anomaly.models.defects import LEVELS, REDUCTION, DefectNetwork
from anomaly.models.kernels import Kernels, training_kernels
from anomaly.synthetic import Drawn, Label

if TYPE_CHECKING:
    from anomaly.models.torch_ops import TorchOps

DEFECT_WEIGHT = 8.0
"""Of a defect pixel against a normal one, before it is divided by the root of its defect's size."""

FEWEST_PIXELS = 2
"""A place is a defect if so many of its 4 x 4 pixels are."""


@dataclass(frozen=True, config=STRICT)
class DefectFit:
    """How the network is trained: AdamW with a cosine schedule.

    Attributes:
        drawn: Images with defects that are made beforehand.
        crop: Side of the pieces that are shown.
        contrast_jitter: Pieces are multiplied by exp(N(0, contrast_jitter)): surfaces differ in
            how rough they are.
    """

    steps: Annotated[int, Field(ge=1)] = 1_600
    drawn: Annotated[int, Field(ge=1)] = 1_600
    batch_images: Annotated[int, Field(ge=1)] = 8
    crop: Annotated[int, Field(ge=16, multiple_of=REDUCTION)] = 128
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    clip_norm: Annotated[float, Field(gt=0)] = 5.0
    contrast_jitter: Annotated[float, Field(ge=0)] = 0.2


@plain_dataclass(frozen=True)
class Sample:
    """A drawn image as the network sees it; narrow types, for there are many.

    Attributes:
        levels: (height, width, channels) at full, half and quarter size, float16.
        label: (height, width) of `Label`, int8.
        weight: (height, width) float16.
    """

    levels: list[Values]
    label: Values
    weight: Values

    @staticmethod
    def of(levels: Sequence[Float32], drawn: Drawn) -> Sample:
        """From the levels of a drawn image."""
        return Sample(
            [level.astype(np.float16) for level in levels],
            drawn.label.astype(np.int8),
            drawn.weight.astype(np.float16),
        )


def fit_defects(
    network: DefectNetwork,
    config: DefectFit,
    samples: Sequence[Sample],
    seed: int,
    device: str = "cpu",
    kernels: Kernels | None = None,
) -> Parameters:
    """Minimise the cross-entropy of the places of drawn images: NumPy float32 parameters.

    Args:
        kernels: None is `training_kernels`.

    Raises:
        TrainingDiverged: the loss is no longer finite.
    """
    import torch

    from anomaly.models.torch_ops import TorchOps

    kernels = kernels or training_kernels(device)
    ops = TorchOps(torch.device(device), for_scoring=False, kernels=kernels)
    rng = np.random.default_rng([seed, 5])
    weights = Weights(network.initial(np.random.default_rng([seed, 6])), ops.device)
    optimiser = torch.optim.AdamW(
        [weights.flat], lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    for step in range(config.steps):
        share = schedule(step, config.steps, config.steps // 7)
        optimiser.param_groups[0]["lr"] = config.learning_rate * share
        chosen = rng.integers(len(samples), size=config.batch_images)
        pieces = [_piece(rng, samples[number], config) for number in chosen]
        levels = [ops.array(np.stack(parts)) for parts in zip(*(p[0] for p in pieces), strict=True)]
        label, weight = (ops.array(np.stack([p[k] for p in pieces])) for k in (1, 2))
        loss = _loss(ops, network.logits(ops, weights.parameters, levels), label, weight)
        weights.gradient.zero_()
        loss.backward()
        norm = weights.gradient.norm()
        weights.gradient.mul_((config.clip_norm / (norm + 1e-6)).clamp(max=1.0))
        optimiser.step()
    found = weights.numpy()
    if not math.isfinite(loss.item()) or not all(np.isfinite(a).all() for a in found.values()):
        raise TrainingDiverged(
            "the network that looks for drawn defects diverged. Try a smaller learning rate: "
            "`--set detector.defects.learning_rate=0.001`."
        )
    return found


def _loss(ops: TorchOps, logits: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy over places, (N, H / 4, W / 4), from labels and weights of pixels."""
    n, height, width = logits.shape
    cut = (n, height, REDUCTION, width, REDUCTION)
    label = label.reshape(cut)
    is_defect = ((label == Label.DEFECT).sum((2, 4)) >= FEWEST_PIXELS).to(logits.dtype)
    is_normal = (label == Label.NORMAL).all(4).all(2).to(logits.dtype)
    weight = DEFECT_WEIGHT * weight.reshape(cut).amax((2, 4))
    missed, raised = ops.softplus(-logits), ops.softplus(logits)
    total = (missed * is_defect * weight + raised * is_normal).sum()
    return total / is_normal.sum().clamp(min=1)


def _piece(
    rng: np.random.Generator, sample: Sample, config: DefectFit
) -> tuple[list[Float32], Float32, Float32]:
    """A random piece, turned over at random: levels (channels + 1, crop / 2^k, ...), and label and
    weight of its pixels."""
    quarter = sample.levels[-1].shape[:2]
    side = config.crop // REDUCTION
    size = [min(side, have) for have in quarter]
    start = [int(rng.integers(have - take + 1)) for have, take in zip(quarter, size, strict=True)]
    gain = np.exp(rng.normal(0, config.contrast_jitter))
    flips = [-1 if rng.random() < 0.5 else 1 for _ in range(2)]
    levels = []
    for level in range(LEVELS):
        times = REDUCTION >> level
        piece = _cut(sample.levels[level], start, size, times)[:: flips[0], :: flips[1]]
        seen = np.zeros((piece.shape[-1] + 1, side * times, side * times), np.float32)
        seen[:-1, : piece.shape[0], : piece.shape[1]] = gain * piece.transpose(2, 0, 1)
        seen[-1, : piece.shape[0], : piece.shape[1]] = 1.0
        levels.append(seen)
    label = np.full((config.crop, config.crop), Label.UNCLEAR, np.float32)
    weight = np.zeros((config.crop, config.crop), np.float32)
    for into, of in ((label, sample.label), (weight, sample.weight)):
        # Levels are padded to multiples of 4, labels are not: turned over, they begin later.
        found = _cut(of, start, size, REDUCTION)
        piece = into[: REDUCTION * size[0], : REDUCTION * size[1]]
        piece[: found.shape[0], : found.shape[1]] = found
        piece[:] = piece[:: flips[0], :: flips[1]].copy()
    return levels, label, weight


def _cut(image: Values, start: list[int], size: list[int], times: int) -> Values:
    (top, left), (height, width) = start, size
    return image[times * top : times * (top + height), times * left : times * (left + width)]
