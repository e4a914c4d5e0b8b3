"""Image files as arrays: the one rule by which bytes become pixels.

* Only PNG and JPEG are opened, told by content and not by name.
* The size of the file and the size that it declares are checked before a pixel is allocated.
* Text, colour profiles and other metadata are passed over (see `anomaly.data.image_containers`).
* Of an animated PNG this is the default image, of several pictures in a JPEG the first.
* The EXIF orientation is applied.
* 1-bit images become grey (0 and 255), palettes RGB, CMYK and YCbCr RGB.
* Transparent pixels are laid on white.
* Grey of 16 bits stays so (uint16), unless it has alpha; every other image is uint8, of 16-bit
  channels the upper 8 bits.
* A file in RGB has 3 channels, even if it shows only grey.

Anything else that a file may hold is an `ImageRejected`, never another exception.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from anomaly.data.image_containers import Essentials, Format, essentials, refuse_damaged
from anomaly.data.options import DEFAULT_LIMITS, ImageLimits
from anomaly.data.pixels import Pixels
from anomaly.errors import ImageRejected

__all__ = [
    "DEFAULT_LIMITS",
    "ImageLimits",
    "ImageRejected",
    "Pixels",
    "decode",
]

# Called by name, not through `Image.open`: it tells of large images through the warning filters of
# the process, which threads share, and would take a JPEG of several pictures for another format.
READERS: dict[Format, type[ImageFile]] = {Format.PNG: PngImageFile, Format.JPEG: JpegImageFile}

WHITE = 255


def decode(data: bytes, limits: ImageLimits = DEFAULT_LIMITS, *, background: int = WHITE) -> Pixels:
    """The pixels of a PNG or JPEG file.

    Args:
        background: What transparent pixels are laid on, a grey level of 0 to 255.

    Returns:
        (H, W, C), C-contiguous and writable.

    Raises:
        ImageRejected: with the code `image_empty`, `image_too_large` (bytes),
            `image_too_many_pixels`, `image_format`, `image_truncated` or `image_damaged`.
    """
    check_bytes(len(data), limits)
    found = essentials(data)
    with refusing_damage(), READERS[found.format](io.BytesIO(found.data)) as image:
        check_pixels(*image.size, limits)
        return pixels_of(image, found, background)


def check_bytes(size: int, limits: ImageLimits) -> None:
    """Refuse a file without a byte, and one of too many.

    Raises:
        ImageRejected: `image_empty` or `image_too_large`.
    """
    if size == 0:
        raise ImageRejected(
            "the file has no byte. Copy or write it again.",
            code="image_empty",
        )
    if size > limits.bytes:
        raise ImageRejected(
            f"the file has {size:,} bytes, and {limits.bytes:,} are allowed. Compress the image, "
            "or raise the limit `image_bytes`.",
            code="image_too_large",
        )


def check_pixels(width: int, height: int, limits: ImageLimits) -> None:
    """Refuse an image that is larger than allowed, before it is decoded.

    Raises:
        ImageRejected: `image_too_many_pixels`.
    """
    if width * height > limits.pixels:
        raise ImageRejected(
            f"the image has {width:,} x {height:,} pixels, and {limits.pixels:,} are allowed. Make "
            "it smaller, or raise the limit `image_pixels`.",
            code="image_too_many_pixels",
        )


@contextmanager
def refusing_damage() -> Iterator[None]:
    """Turn whatever the decoder raises into `ImageRejected`.

    Raises:
        ImageRejected: `image_damaged`.
    """
    try:
        yield
    except ImageRejected:
        raise
    # Of damaged files Pillow raises OSError, SyntaxError, ValueError, struct.error, zlib.error,
    # MemoryError, and whatever else its parts happen to meet.
    except Exception as error:
        refuse_damaged(str(error) or type(error).__name__)


def pixels_of(image: Image.Image, found: Essentials, background: int) -> Pixels:
    """Decode, and bring to the one representation."""
    image.load()
    pixels = np.array(plain(image, background))
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if found.key is not None:
        level = background * (257 if pixels.dtype == np.uint16 else 1)
        pixels[(pixels == np.array(found.key)).all(axis=-1)] = level
    if found.is_grey:
        pixels = pixels[..., :1]  # grey of 16 bits with alpha is decoded to RGBA
    return np.ascontiguousarray(upright(pixels, found.orientation))


def plain(image: Image.Image, background: int) -> Image.Image:
    """The image in mode L, RGB or I;16."""
    match image.mode:
        case "L" | "RGB" | "I;16":
            return image
        case "1":
            return image.convert("L")
        case "P" if "transparency" in image.info:
            return flat(image.convert("RGBA"), "RGB", background)
        case "LA":
            return flat(image, "L", background)
        case "RGBA":
            return flat(image, "RGB", background)
        case _:  # P and CMYK
            return image.convert("RGB")


def flat(image: Image.Image, mode: str, background: int) -> Image.Image:
    """An image with alpha, laid on a background."""
    colour = background if mode == "L" else (background, background, background)
    sheet = Image.new(mode, image.size, colour)
    sheet.paste(image.convert(mode), mask=image.getchannel("A"))
    return sheet


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """A view of the pixels as they are to be seen (EXIF 2.3, tag 0x0112)."""
    if orientation >= 5:  # the sides of the image are stored as its top and bottom
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return pixels[::rows, ::columns]
