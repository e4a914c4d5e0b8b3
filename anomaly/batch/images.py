"""Score image files on this machine: read, score, write, draw heatmaps, in bounded memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from anomaly.batch.sinks import open_sink
from anomaly.data.image_files import ImageFile, ImageReject, OnImageReject
from anomaly.data.image_reader import LoadedImage, read_images
from anomaly.data.images import DEFAULT_LIMITS, ImageLimits
from anomaly.data.pixels import Pixels
from anomaly.detector import Verdicts
from anomaly.errors import CannotWrite, ImageRejected
from anomaly.heat import Heat
from anomaly.heat_png import boxes_at_size, overlay, png
from anomaly.image_detector import ImageDetector, check_tiles

IMAGES_AT_ONCE = 8
"""That are written together."""


SMALLEST_SIDE, LARGEST_SIDE = 128, 2_048
"""Of pictures of heat that are enlarged."""


@dataclass(frozen=True)
class ImageReport:
    """What was done.

    Attributes:
        images: Scored.
        flagged: Of those.
        rejected: Files left out and listed.
        alpha: The false-alarm rate that was applied.
        heatmaps: Written.
        widespread: Flagged images that are odd as a whole; see `anomaly.heat`.
    """

    images: int
    flagged: int
    rejected: int
    alpha: float
    heatmaps: int
    widespread: int


def score_images(
    detector: ImageDetector,
    files: Sequence[ImageFile],
    output: Path,
    *,
    alpha: float | None = None,
    heatmaps: Path | None = None,
    every_heatmap: bool = False,
    rejects: Path | None = None,
    limits: ImageLimits = DEFAULT_LIMITS,
    earlier_rejects: Sequence[ImageReject] = (),
    on_images: Callable[[int], None] | None = None,
) -> ImageReport:
    """Score every file, in order.

    The output holds `image` (the name), `score, p_value, is_anomaly, hottest` (the largest heat; 1
    is what one normal image in 1 / alpha exceeds), `boxes` (JSON: [left, top, right, bottom,
    heat] of each hot place in pixels of the image) and `widespread` (it is odd as a whole, and has
    a single box). It is shown only when complete.

    Args:
        output: `.csv` or `.parquet`.
        heatmaps: A folder for PNGs of the flagged images under their heat, named as the images.
        every_heatmap: Also for images that are not flagged.
        rejects: Where files that cannot be read are listed (CSV: image, code, message). None stops
            at the first.
        earlier_rejects: Files that were left out when they were looked for.
        on_images: Called with the number of images of each chunk that is done.

    Raises:
        BadData: a file cannot be read and `rejects` is None.
        CannotWrite: the output or a heatmap cannot be written.
    """
    if alpha is not None:
        # Heat is on the scale of the rate that is asked for.
        detector = detector.with_alpha(alpha)
    bad = list(earlier_rejects)
    images = flagged = drawn = widespread = 0
    on_reject = None if rejects is None else bad.append
    loaded = fitting(read_images(files, limits=limits, on_reject=on_reject), detector, on_reject)
    with open_sink(output) as write:
        while chunk := list(islice(loaded, IMAGES_AT_ONCE)):
            mapped = list(detector.mapped(image.pixels for image in chunk))
            scores = [of.score for of in mapped]
            verdicts = detector.verdicts(pa.array(scores, pa.float64()).to_numpy())
            heats = [detector.heat(of) for of in mapped]
            write(_table(chunk, verdicts, heats))
            for image, heat, is_anomaly in zip(chunk, heats, verdicts.is_anomaly, strict=True):
                if heatmaps is not None and (every_heatmap or is_anomaly):
                    _write_png(
                        heatmaps / f"{image.file.name}.png",
                        png(overlay(visible(image.pixels), heat)),
                    )
                    drawn += 1
            images += len(chunk)
            flagged += int(verdicts.is_anomaly.sum())
            widespread += sum(
                bool(is_anomaly) and heat.is_widespread
                for heat, is_anomaly in zip(heats, verdicts.is_anomaly, strict=True)
            )
            if on_images is not None:
                on_images(len(chunk))
        if not images:
            write(_table([], detector.verdicts(pa.array([], pa.float64()).to_numpy()), []))
    if rejects is not None and bad:
        _write_rejects(rejects, bad)
    return ImageReport(images, flagged, len(bad), detector.calibration.alpha, drawn, widespread)


def fitting(
    loaded: Iterator[LoadedImage], detector: ImageDetector, on_reject: OnImageReject | None
) -> Iterator[LoadedImage]:
    """The images that the model can look at; others are reported, or refused if nobody listens.

    Raises:
        ImageRejected: an image becomes too many tiles, and `on_reject` is None.
    """
    for image in loaded:
        try:
            check_tiles(image.pixels, detector.preprocessor)
        except ImageRejected as error:
            if on_reject is None:
                raise ImageRejected(error.message, code=error.code, file=image.file.path) from None
            on_reject(ImageReject(image.file.name, error.code, error.message))
        else:
            yield image


def visible(pixels: Pixels) -> Pixels:
    """The image, or one with larger pixels if it is too small for a person to see."""
    height, width = pixels.shape[:2]
    times = min(-(-SMALLEST_SIDE // min(height, width)), max(1, LARGEST_SIDE // max(height, width)))
    return pixels.repeat(times, axis=0).repeat(times, axis=1) if times > 1 else pixels


def _table(chunk: Sequence[LoadedImage], verdicts: Verdicts, heats: Sequence[Heat]) -> pa.Table:
    boxes = [
        json.dumps(
            [
                [box.left, box.top, box.right, box.bottom, round(box.hottest, 3)]
                for box in boxes_at_size(heat, *image.pixels.shape[:2])
            ]
        )
        for image, heat in zip(chunk, heats, strict=True)
    ]
    return pa.table(
        {
            "image": pa.array([image.file.name for image in chunk], pa.string()),
            "score": pa.array(verdicts.scores),
            "p_value": pa.array(verdicts.p_values),
            "is_anomaly": pa.array(verdicts.is_anomaly),
            "hottest": pa.array([heat.hottest for heat in heats], pa.float64()),
            "boxes": pa.array(boxes, pa.string()),
            "widespread": pa.array([heat.is_widespread for heat in heats], pa.bool_()),
        }
    )


def _write_png(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside its place and then there: never through a link to another file.
        partial = path.with_name(f".{os.getpid()}.partial")
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise CannotWrite(
            f"cannot write {path}: {error.strerror}. Check the place and its free space, or choose "
            "another folder."
        ) from error


def _write_rejects(path: Path, rejects: Sequence[ImageReject]) -> None:
    with open_sink(path) as write:
        write(
            pa.table(
                {
                    "image": pa.array([reject.name for reject in rejects], pa.string()),
                    "code": pa.array([reject.code for reject in rejects], pa.string()),
                    "message": pa.array([reject.message for reject in rejects], pa.string()),
                }
            )
        )
