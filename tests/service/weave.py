"""How to ask about pieces of cloth."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from PIL import Image

from anomaly.data.pixels import Pixels
from tests.service.pumps import Caller


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
