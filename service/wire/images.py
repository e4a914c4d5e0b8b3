"""A request to score images: from files to pixels, with everything that is wrong in them named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from anomaly.arrays import Int64
from anomaly.data.images import ImageRejected, Pixels, decode
from service.settings import Limits
from service.wire.multipart import Upload
from service.wire.options import Options
from service.wire.refusals import (
    Code,
    ImagesOfOtherFormat,
    ImagesTooLarge,
    InvalidRequest,
    RowError,
    TooLarge,
)
from service.wire.request import Mode

OF_SIZE = frozenset({Code.IMAGE_TOO_LARGE, Code.IMAGE_TOO_MANY_PIXELS, Code.IMAGE_TOO_MANY_TILES})

HEAT_BYTES = 4
"""Of one pixel of a heatmap."""


@dataclass(frozen=True)
class ImageRequest:
    """What was sent, faulty images set aside.

    Attributes:
        images: The sound ones.
        rows: (len(images),) where they stood in the request.
        names: Of all that were sent.
        errors: Of the faulty ones, ascending; empty unless the mode is partial.
    """

    images: list[Pixels]
    rows: Int64
    names: list[str | None]
    errors: tuple[RowError, ...]


def open_images(
    uploads: Sequence[Upload],
    options: Options,
    limits: Limits,
    count_tiles: Callable[[int, int], int],
    hold: Callable[[int], None],
) -> ImageRequest:
    """Decode the files, one after the other.

    Args:
        count_tiles: Height and width to the number of tiles that the model makes of them.
        hold: Told of the bytes that an image takes, before the next one is decoded.

    Raises:
        TooLarge: all images together have too many pixels.
        InvalidRequest: (mode strict) an image is faulty; `ImagesTooLarge` or
            `ImagesOfOtherFormat` if that is all.
        Exception: whatever `hold` raises.
    """
    images, rows, errors, total = [], [], [], 0
    for row, upload in enumerate(uploads):
        try:
            pixels = decode(bytes(upload.data), limits.of_an_image)
        except ImageRejected as error:
            errors.append(RowError.of(Code(error.code), row))
            continue
        height, width = pixels.shape[:2]
        if count_tiles(height, width) > limits.image_tiles:
            errors.append(RowError.of(Code.IMAGE_TOO_MANY_TILES, row))
            continue
        total += height * width
        if total > limits.upload_pixels:
            raise TooLarge(
                f"the images have more than {limits.upload_pixels:,} pixels together. Send them "
                "in parts.",
                code="too_many_pixels",
            )
        hold(pixels.nbytes + HEAT_BYTES * height * width * options.explain)
        images.append(pixels)
        rows.append(row)
    if errors and options.mode is Mode.STRICT:
        raise invalid_images(errors, len(uploads))
    names = [upload.name for upload in uploads]
    return ImageRequest(images, np.array(rows, dtype=np.int64), names, tuple(errors))


def invalid_images(errors: Sequence[RowError], n_images: int) -> InvalidRequest:
    """Why a strict request is refused."""
    codes = {error.code for error in errors}
    kind = InvalidRequest
    if codes <= OF_SIZE:
        kind = ImagesTooLarge
    elif codes == {Code.IMAGE_FORMAT}:
        kind = ImagesOfOtherFormat
    return kind(
        f"{len(errors)} of {n_images} images cannot be scored, so none was. Correct them, or add "
        "`?mode=partial` to have the other images scored.",
        code="invalid_images",
        errors=errors,
    )
