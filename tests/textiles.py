"""Images of an even weave, some with a hole, as pixels and files; and how to fit them quickly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from anomaly.data.pixels import Pixels
from anomaly.data.splits import Splits
from anomaly.fitting import FitConfig
from anomaly.fitting.defects import DefectFit
from anomaly.image_config import ImageDetectorConfig
from anomaly.preprocessing.images import Layout

SIDE = 48
CONFIG = ImageDetectorConfig(
    layout=Layout(tile=32, overlap=8),
    widths=(8, 16),
    fit=FitConfig(steps=30, batch_rows=8, lr_warmup_steps=5, noise=0.0),
    defects=DefectFit(steps=30, drawn=30, batch_images=4, crop=48),
)


SPLITS = Splits(np.arange(30), np.arange(30, 36), np.arange(36, 60), np.arange(0))


def normal_images(n: int, seed: int = 0) -> list[Pixels]:
    """n pieces of an even weave, grey, (48, 48, 1) each."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[:SIDE, :SIDE]
    return [
        np.clip(
            130
            + 40 * np.sin(down / 2 + rng.uniform(0, 6))
            + 40 * np.sin(across / 2 + rng.uniform(0, 6))
            + rng.normal(0, 6, (SIDE, SIDE)),
            0,
            255,
        ).astype(np.uint8)[..., None]
        for _ in range(n)
    ]


def torn(pixels: Pixels, top: int = 10, left: int = 26) -> Pixels:
    """The piece with a hole of 12 x 12 pixels."""
    spoiled = pixels.copy()
    spoiled[top : top + 12, left : left + 12] = 5
    return spoiled


QUICK = (
    *("--preset", "tiles"),
    *("--set", "detector.layout.tile=32", "--set", "detector.layout.overlap=8"),
    *("--set", "detector.widths=[8, 16]", "--set", "detector.fit.steps=30"),
    *("--set", "detector.fit.batch_rows=8", "--set", "detector.fit.lr_warmup_steps=5"),
    *("--set", "detector.defects.steps=60", "--set", "detector.defects.drawn=40"),
    *("--set", "detector.defects.batch_images=4", "--set", "detector.defects.crop=48"),
)
"""Settings with which 50 images of 48 x 48 pixels train in seconds."""


def written(images: Sequence[Pixels], folder: Path, stem: str = "weave") -> list[Path]:
    """Each image as a PNG file in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}-{number:03d}.png" for number in range(len(images))]
    for path, pixels in zip(paths, images, strict=True):
        Image.fromarray(np.squeeze(pixels, -1)).save(path)
    return paths


def mvtec(root: Path, *, train: int = 60, good: int = 10, torn_ones: int = 8) -> None:
    """A folder in the layout of MVTec AD, with masks of the holes."""
    written(normal_images(train, seed=1), root / "train/good")
    written(normal_images(good, seed=2), root / "test/good")
    written([torn(p) for p in normal_images(torn_ones, seed=3)], root / "test/hole")
    mask = np.zeros((48, 48, 1), np.uint8)
    mask[10:22, 26:38] = 255
    for number in range(torn_ones):
        folder = root / "ground_truth/hole"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask[..., 0]).save(folder / f"weave-{number:03d}_mask.png")
