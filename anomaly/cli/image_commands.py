"""`anomaly score` where DATA are images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from anomaly.artifact import load_images
from anomaly.backends.backend import device_named
from anomaly.batch.images import ImageReport, score_images
from anomaly.batch.sinks import check_suffix
from anomaly.cli.console import progress, result
from anomaly.data.image_files import ImageFile, ImageReject, images_below, images_of_table
from anomaly.data.image_reader import read_images
from anomaly.data.options import ReadOptions
from anomaly.data.pixels import Pixels
from anomaly.errors import CannotWrite, ConfigInvalid


def score_folder(
    data: Path,
    model: str,
    output: Path,
    *,
    alpha: float | None,
    image_column: str | None,
    image_root: Path | None,
    heatmaps: Path | None,
    every_heatmap: bool,
    is_skipping: bool,
    rejects: Path | None,
    device: str,
    read: ReadOptions,
    as_json: bool,
) -> ImageReport:
    """Score the images that DATA names, and say what was found."""
    if rejects is not None and not is_skipping:
        raise ConfigInvalid("--rejects lists files that are skipped: add --on-error skip.")
    if every_heatmap and heatmaps is None:
        raise ConfigInvalid("--every-heatmap needs a folder to write them to: add --heatmaps.")
    if is_skipping:
        rejects = rejects or output.with_name(f"{output.name}.rejects.csv")
    if heatmaps is not None:
        refuse_file_in_the_way(heatmaps)
    if heatmaps is not None and is_inside(heatmaps, data):
        raise ConfigInvalid(
            f"{heatmaps} lies in {data}, so that the next run would score the heatmaps. Choose a "
            "folder elsewhere."
        )
    check_suffix(output.suffix)
    skipped: list[ImageReject] = []
    files = _files(data, image_column, image_root, read, skipped if is_skipping else None)
    detector = load_images(model, device_named(device))
    done = 0
    with progress("scoring", len(files)) as update:

        def on_images(images: int) -> None:
            nonlocal done
            done += images
            update(done, f"{done:,} images")

        report = score_images(
            detector,
            files,
            output,
            alpha=alpha,
            heatmaps=heatmaps,
            every_heatmap=every_heatmap,
            rejects=rejects,
            limits=read.images,
            earlier_rejects=skipped,
            on_images=on_images,
        )
    share = report.flagged / report.images if report.images else 0.0
    lines = [
        f"{report.images:,} images scored, {report.flagged:,} flagged ({share:.2%}; on normal "
        f"{detector.calibration.unit}s alpha = {report.alpha:g} promises at most "
        f"{report.alpha:.2%} on average): {output}"
    ]
    if report.widespread:
        lines.append(
            f"{report.widespread:,} of the flagged are odd as a whole: another kind of image, or "
            "other light, focus or framing (column `widespread`)"
        )
    if heatmaps is not None:
        lines.append(f"{report.heatmaps:,} heatmaps: {heatmaps}")
    if report.rejected:
        lines.append(f"{report.rejected:,} files could not be read and are listed in {rejects}")
    result({**asdict(report), "output": output}, as_json=as_json, text="\n".join(lines))
    return report


def images_named(
    data: Path, image_column: str | None, image_root: Path | None, read: ReadOptions
) -> Iterator[Pixels]:
    """The images that DATA names, one by one."""
    files = _files(data, image_column, image_root, read, None)
    return (loaded.pixels for loaded in read_images(files, limits=read.images))


def refuse_file_in_the_way(folder: Path) -> None:
    """Refuse a folder that is a file, or that lies in one.

    Raises:
        CannotWrite: names the file.
    """
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if there.is_file():
        raise CannotWrite(
            f"{there} is a file, and heatmaps are written to a folder. Name another with "
            "--heatmaps; it is made if it is not there."
        )


def is_inside(folder: Path, data: Path) -> bool:
    """Whether what is written to the folder would be found among the images."""
    return data.is_dir() and folder.resolve().is_relative_to(data.resolve())


def _files(
    data: Path,
    image_column: str | None,
    image_root: Path | None,
    read: ReadOptions,
    skipped: list[ImageReject] | None,
) -> list[ImageFile]:
    if image_column is not None:
        return images_of_table(data, image_column, root=image_root, options=read)
    return images_below(data, None if skipped is None else skipped.append)
