"""Small detectors of images, roughly fitted: digits seen whole, and stripes cut into tiles."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from sklearn.datasets import load_digits

from anomaly.arrays import Int64, Parameters
from anomaly.backends.backend import Device, open_backend
from anomaly.data.pixels import Pixels
from anomaly.data.splits import split_rows
from anomaly.fitting.defects import DefectFit
from anomaly.image_assembly import assemble_images
from anomaly.image_config import IMAGE_PRESETS, ImageDetectorConfig
from anomaly.image_detector import ImageDetector
from anomaly.models.objective import ELBO
from anomaly.preprocessing.images import Layout
from anomaly.scores import HiddenCells


@cache
def digits() -> list[Pixels]:
    """300 digits of 8 x 8 grey pixels."""
    found = np.round(load_digits().images[:300] / 16 * 255).astype(np.uint8)
    return list(found[..., None])


@cache
def stripes(n: int = 60, side: int = 40) -> list[Pixels]:
    """n coloured images of stripes, no two of one phase."""
    rng = np.random.default_rng(0)
    x = np.arange(side)[None, :, None] + rng.uniform(0, 8, (n, 1, 1))
    wave = 127 + 100 * np.sin(2 * np.pi * x / 8) * np.ones((n, side, side))
    tint = np.array([1.0, 0.8, 0.6])
    return list((wave[..., None] * tint + rng.normal(0, 4, (n, side, side, 3))).astype(np.uint8))


@cache
def whole(latents_of_a_place: int = 4, stages: int = 2) -> ImageDetector:
    """Of digits, seen whole."""
    config = replace(
        IMAGE_PRESETS["whole"],
        layout=Layout(tile=8, overlap=0, whole=True),
        widths=(8, 16, 16)[:stages],
        latent_channels=latents_of_a_place,
    )
    # The narrow ones find a use for their latents late.
    return fitted(config, digits(), 300 if stages < 3 else 1500)


@cache
def tiles() -> ImageDetector:
    """Of stripes, cut into tiles of 16 pixels."""
    config = replace(
        IMAGE_PRESETS["tiles"],
        layout=Layout(tile=16, overlap=4),
        widths=(4, 8),
        latent_channels=3,
        score=HiddenCells(cell=4),
        defects=DefectFit(steps=20, drawn=20, batch_images=4, crop=32),
    )
    return fitted(config, stripes(), 30)


def fitted(config: ImageDetectorConfig, images: Sequence[Pixels], steps: int) -> ImageDetector:
    """A detector of these images after so many steps."""

    def source(numbers: Int64) -> Iterator[Pixels]:
        return (images[n] for n in numbers)

    splits = split_rows(len(images), seed=0, early_stop_share=0.2, calibration_share=0.3)
    fit = replace(
        config.fit,
        steps=steps,
        check_every=steps,
        batch_rows=16,
        lr_warmup_steps=10,
        objective=ELBO(beta=0.02),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return assemble_images(
            source, splits, replace(config, fit=fit, alpha=0.1), seed=0, device=Device.CPU
        ).detector


def with_parameters(detector: ImageDetector, changed: Parameters) -> ImageDetector:
    """The same detector with some learned numbers replaced."""
    model = replace(detector.model, members=({**detector.model.first, **changed},))
    return replace(detector, backend=open_backend(model, None, Device.CPU, 16))


def zeroed(detector: ImageDetector, prefix: str) -> Parameters:
    """Parameters whose name begins so, as zeros."""
    return {k: np.zeros_like(v) for k, v in detector.model.first.items() if k.startswith(prefix)}


@cache
def collapsed() -> ImageDetector:
    """Of digits; the encoder says N(0, 1) of every one."""
    detector = whole()
    return with_parameters(detector, zeroed(detector, "encoder.2"))
