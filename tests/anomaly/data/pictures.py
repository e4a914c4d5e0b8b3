"""Image files written by hand, without the library that reads them, and small ones by Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
END = b"\0\0\0\0IEND\xaeB`\x82"

Samples = npt.NDArray[Any]


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width: int, height: int, colour: int = GREY, depth: int = 8) -> bytes:
    """The signature and the header chunk."""
    return SIGNATURE + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    )


def content(samples: Samples, depth: int = 8) -> bytes:
    """The pixel chunk, rows unfiltered."""
    height = len(samples)
    flat = samples.reshape(height, -1).astype(">u2")
    bits = np.unpackbits(flat.view(np.uint8).reshape(height, -1, 2), axis=-1)[..., 16 - depth :]
    rows = np.packbits(bits.reshape(height, -1), axis=-1)
    return chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))


def png(samples: Samples, colour: int = GREY, depth: int = 8, before: bytes = b"") -> bytes:
    """A PNG file of samples (H, W, C), with further chunks before the pixels."""
    height, width = samples.shape[:2]
    return header(width, height, colour, depth) + before + content(samples, depth) + END


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG file."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def saved(pixels: Samples | Image.Image, format_: str = "JPEG", **options: Any) -> bytes:
    """The file that Pillow writes."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def samples(*shape: int, top: int = 255, seed: int = 0) -> Samples:
    """Random samples of 0 to `top`."""
    return np.random.default_rng(seed).integers(0, top + 1, shape)


def exif(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """An EXIF block with two tags, the second of which is the orientation."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    value = struct.pack(order + {3: "HH", 4: "I"}[kind], *(orientation, 0)[: 5 - kind])
    width = struct.pack(order + "HHII", 0x0100, 4, 1, 77)
    turn = struct.pack(order + "HHI", 0x0112, kind, 1) + value
    return mark + struct.pack(order + "IH", 8, 2) + width + turn + bytes(4)
