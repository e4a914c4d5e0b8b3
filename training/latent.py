"""From a model and a file of rows, or a folder of images, to a folder of figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anomaly.arrays import Int64
from anomaly.artifact import load_any
from anomaly.backends.backend import Device
from anomaly.data.image_files import OnImageReject, images_below
from anomaly.data.image_reader import read_images
from anomaly.data.options import ImageLimits, ReadOptions
from anomaly.data.pixels import Pixels
from anomaly.data.readers import read_records
from anomaly.detector import Detector
from anomaly.errors import BadData, CannotWrite
from anomaly.image_detector import AnyDetector, ImageDetector, of_images
from training.latent_images import image_latent_figures
from training.latent_plots import NAMES
from training.latent_tables import table_latent_figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_latents(
    model: str,
    data: Path,
    folder: Path,
    *,
    rows: int,
    seed: int = 0,
    device: Device = Device.AUTO,
    options: ReadOptions | None = None,
    on_reject: OnImageReject | None = None,
    on_image: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Draw every figure of a model's latent space that applies.

    Args:
        data: A CSV or Parquet file for a model of tables, a folder for one of images.
        folder: Is made, or holds nothing but figures of an earlier call, which are replaced.
        rows: At most so many rows or images, drawn at random.
        seed: Of that choice, and of draws from the prior.
        on_reject: See `read_images`.
        on_image: Is told how many images of how many are read.

    Returns:
        The files that were written.

    Raises:
        ConfigInvalid: the model looks at other data.
        BadData: the data cannot be read, or are empty.
        CannotWrite: the folder holds something else, or cannot be written.
    """
    check_folder(folder)
    detector = load_any(model, device)
    figures = latent_figures(
        detector, data, rows, seed, options or ReadOptions(), on_reject, on_image
    )
    return written(figures, folder)


def latent_figures(
    detector: AnyDetector,
    data: Path,
    rows: int,
    seed: int,
    options: ReadOptions,
    on_reject: OnImageReject | None,
    on_image: Callable[[int, int], None] | None,
) -> dict[str, Figure]:
    """The figures by file name, of a choice of the data."""
    if isinstance(detector, Detector) and not data.is_dir():
        records = read_records(data, detector.schema, options=options)
        if not len(records):
            raise BadData(
                "holds no rows, so there is nothing to draw. Give some that the model has not "
                "seen.",
                code="no_rows",
                file=data,
            )
        return table_latent_figures(
            detector, records.take(chosen(len(records), rows, seed)), seed=seed
        )
    return _image_figures(
        of_images(detector), data, rows, seed, options.images, on_reject, on_image
    )


def _image_figures(
    detector: ImageDetector,
    data: Path,
    most: int,
    seed: int,
    limits: ImageLimits,
    on_reject: OnImageReject | None,
    on_image: Callable[[int, int], None] | None,
) -> dict[str, Figure]:
    files = images_below(data, on_reject)
    taken = [files[n] for n in chosen(len(files), most, seed)]
    loaded = enumerate(read_images(taken, limits=limits, on_reject=on_reject), start=1)

    def told() -> Iterator[Pixels]:
        for number, image in loaded:
            if on_image is not None:
                on_image(number, len(taken))
            yield image.pixels

    images = told()
    first = next(images, None)
    if first is None:
        raise BadData(
            "holds no image that can be read. Look at the notes above.",
            code="no_images",
            file=data,
        )
    return image_latent_figures(detector, chain([first], images), seed=seed)


def chosen(count: int, most: int, seed: int) -> Int64:
    """Numbers of at most so many of the rows, at random, in their order."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def check_folder(folder: Path) -> None:
    """Refuse to mix figures with anything else.

    Raises:
        CannotWrite: it is a file, or holds something that is no latent figure.
    """
    if folder.exists() and not folder.is_dir():
        raise CannotWrite(f"{folder} is a file. Name a folder for the figures with --output.")
    held = {path.name for path in folder.iterdir()} if folder.exists() else set()
    others = sorted(held - set(NAMES))
    if others:
        raise CannotWrite(
            f"{folder} holds {others[0]!r}, which is no figure of a latent space. Name another "
            "folder with --output, which is made if it is not there."
        )


def written(figures: dict[str, Figure], folder: Path) -> list[Path]:
    """Save the figures, instead of those of an earlier call.

    Raises:
        CannotWrite: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            if name not in figures:
                (folder / name).unlink(missing_ok=True)
        for name, figure in figures.items():
            figure.savefig(folder / name)
    except OSError as error:
        raise CannotWrite(f"cannot write {folder}: {error.strerror}. Check the path.") from error
    return [folder / name for name in figures]
