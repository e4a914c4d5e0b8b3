"""Training on tiles of images: cut at random places, turned over, with cells hidden."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from anomaly.arrays import Features, Float32, Parameters, Tensor
from anomaly.fitting.batches import on_device
from anomaly.fitting.config import FitConfig
from anomaly.fitting.loop import Fitted, Progress, minimise
from anomaly.models.kernels import Kernels, training_kernels
from anomaly.models.objective import Batch
from anomaly.models.vae import VAE

if TYPE_CHECKING:
    from anomaly.models.torch_ops import TorchOps

DEFAULT_STEPS = 1_200

MOST_WATCHED = 128
"""Looks are at so many held-out tiles: each has thousands of pixels."""


def fit_tiles(
    vae: VAE,
    config: FitConfig,
    images: Sequence[Float32],
    held_out: Features,
    masks: Float32,
    seed: int,
    device: str = "cpu",
    on_look: Callable[[Progress], None] | None = None,
    kernels: Kernels | None = None,
) -> Fitted:
    """Minimise the objective on random tiles of the images, over the pixels that are hidden.

    Args:
        images: (height, width, channels) of each fit image, as the networks see it.
        held_out: Tiles of early-stop images; the parameters of their smallest loss are kept.
        masks: (M, 1, P), 0 where hidden: each tile gets one of them at random. A single mask of
            ones hides nothing, and the loss is over all pixels.
        kernels: None is `training_kernels`.

    Raises:
        TrainingDiverged: the loss or a gradient is no longer finite.
    """
    import torch

    from anomaly.models.torch_ops import TorchOps

    kernels = kernels or training_kernels(device, of_tiles=True)
    ops = TorchOps(torch.device(device), for_scoring=False, kernels=kernels)
    generator = torch.Generator(ops.device).manual_seed(seed)
    initial = vae.initial(np.random.default_rng(seed), held_out.inputs, held_out.context)
    source = TileSource(ops, vae, config, images, held_out, masks, seed, generator)
    steps = config.steps or DEFAULT_STEPS
    best, history = minimise(ops, vae, config, source, initial, steps, generator, on_look)
    return Fitted(best, history, np.ones(len(images), bool), np.ones(len(held_out), bool))


class TileSource:
    """`fitting.source.Source` of images."""

    held_out = True

    def __init__(
        self,
        ops: TorchOps,
        vae: VAE,
        config: FitConfig,
        images: Sequence[Float32],
        held_out: Features,
        masks: Float32,
        seed: int,
        generator: Any,
    ) -> None:
        import torch

        self._ops, self._config, self._images = ops, config, images
        self._rng, self._generator = np.random.default_rng([seed, 3]), generator
        self._targets = vae.likelihood.targets
        self._channels = images[0].shape[-1]
        self._side = round((self._targets / self._channels) ** 0.5)
        self._masks = ops.array(masks[:, 0])
        # Evenly from all of them: tiles come image by image.
        chosen = np.linspace(0, len(held_out) - 1, min(len(held_out), MOST_WATCHED))
        watched = on_device(held_out.take(chosen.astype(np.int64)), ops.device)
        phases = torch.arange(len(watched.targets), device=ops.device) % len(masks)
        self._watched = self._hidden(watched, phases)
        self.watched_rows = len(watched.targets)

    def batch(self, step: int, parameters: Parameters) -> Batch:
        """Random tiles of random images."""
        rows, side = self._config.batch_rows, self._side
        pixels = np.zeros((rows, self._channels, side, side), np.float32)
        visible = np.zeros((rows, 1, side, side), np.float32)
        for row, number in enumerate(self._rng.integers(len(self._images), size=rows)):
            piece = self._piece(self._images[number])
            height, width = piece.shape[:2]
            pixels[row, :, :height, :width] = piece.transpose(2, 0, 1)
            visible[row, 0, :height, :width] = 1.0
        flat, seen = pixels.reshape(rows, -1), visible.reshape(rows, -1)
        arrays = (
            np.concatenate([flat, seen, seen], axis=1),
            flat,
            np.tile(seen, self._channels),
            np.zeros((rows, 0), np.float32),
        )
        return Batch(*(self._ops.array(array) for array in arrays))

    def corrupted(self, batch: Batch) -> Batch:
        """The same tiles, some of their cells hidden, noise on what is seen."""
        import torch

        rows, where = len(batch.targets), self._ops.device
        if self._config.noise:
            width = torch.rand((rows, 1), generator=self._generator, device=where)
            blur = torch.randn(batch.targets.shape, generator=self._generator, device=where)
            seen = batch.targets + (2 * self._config.noise) * width * blur * batch.observed
            planes = batch.inputs[:, self._targets :]
            batch = dataclasses.replace(batch, inputs=torch.cat([seen, planes], 1))
        phases = torch.randint(len(self._masks), (rows,), generator=self._generator, device=where)
        return self._hidden(batch, phases)

    def watched(self, noise: Tensor, parameters: Parameters) -> tuple[Batch, Tensor]:
        """Held-out tiles, each with one of the masks."""
        return self._watched, noise

    def _hidden(self, batch: Batch, phases: Tensor) -> Batch:
        """The loss is over what is hidden; where a mask hides nothing, over everything."""
        if len(self._masks) == 1:
            return batch
        shown = self._masks[phases]
        hidden = 1.0 - shown[:, : self._targets]
        return dataclasses.replace(
            batch, inputs=batch.inputs * shown, observed=batch.observed * hidden
        )

    def _piece(self, image: Float32) -> Float32:
        """A tile of the image, or the whole image if it is smaller; turned over at random."""
        top, left = (
            int(self._rng.integers(max(0, side - self._side) + 1)) for side in image.shape[:2]
        )
        piece = image[top : top + self._side, left : left + self._side]
        if self._rng.random() < 0.5:
            piece = piece[::-1]
        if self._rng.random() < 0.5:
            piece = piece[:, ::-1]
        return piece
