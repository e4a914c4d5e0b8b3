"""Pieces of cloth, whole and torn, and how to ask about them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from PIL import Image

from anomaly.data.pixels import Pixels
from anomaly.data.splits import Splits
from anomaly.fitting import FitConfig
from anomaly.fitting.defects import DefectFit
from anomaly.image_assembly import ImageDetectorConfig
from anomaly.preprocessing.images import Layout
from tests.service.pumps import Caller

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


def file_of(pixels: Pixels, kind: str = "PNG", **options: Any) -> bytes:
    """The image as a file."""
    buffer = io.BytesIO()
    plane = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    Image.fromarray(plane).save(buffer, kind, **options)
    return buffer.getvalue()


def files_of(images: Sequence[Pixels]) -> list[bytes]:
    return [file_of(pixels) for pixels in images]


def form(files: Sequence[bytes], names: Sequence[str] | None = None) -> list[tuple[str, Any]]:
    """The files as the fields of a form."""
    named = names or [f"piece-{number}.png" for number in range(len(files))]
    return [("image", pair) for pair in zip(named, files, strict=True)]


@dataclass(frozen=True)
class ImageCaller(Caller):
    """Speaks to an application for images in this process."""

    def send(self, files: Sequence[bytes], query: str = "") -> httpx.Response:
        """A score request, of a form with these files."""
        return self("POST", f"/v1/score{query}", files=form(files))

    def post(self, body: bytes, content_type: str, query: str = "") -> httpx.Response:
        """A score request of these very bytes."""
        headers = {"content-type": content_type}
        return self("POST", f"/v1/score{query}", content=body, headers=headers)
