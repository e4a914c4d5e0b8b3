"""Images for training and measuring: found, told apart, divided."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from anomaly.arrays import Int64, Objects
from anomaly.calibration import DEFAULT_ALPHA, rows_needed
from anomaly.data.image_files import (
    ImageFile,
    OnImageReject,
    image_set,
    images_of_table,
)
from anomaly.data.image_reader import read_images
from anomaly.data.options import DEFAULT_LIMITS, ImageLimits, ReadOptions
from anomaly.data.pixels import Pixels
from anomaly.data.splits import Splits, split_groups, split_rows
from anomaly.errors import BadData, ConfigInvalid
from anomaly.image_assembly import FEWEST_HELD_OUT
from training.config import ImageRunConfig

MARK_DIGITS = 8

MOST_MARKED = 500
"""Fit images that a model remembers the marks of: some four kilobytes."""

GOOD = "good"
"""The label of normal images in the layout of MVTec AD, and the default everywhere."""


@dataclass(frozen=True)
class ImageTable:
    """Columns of a table that names images; a folder has none.

    Attributes:
        image: Holds the paths.
        label, group, mask: See `anomaly.data.image_files.ImageFile`.
        root: What paths are relative to; None is the folder of the table.
    """

    image: str
    label: str | None = None
    group: str | None = None
    mask: str | None = None
    root: Path | None = None


def table_of_images(
    image: str | None,
    label: str | None,
    group: str | None,
    mask: str | None,
    root: Path | None,
) -> ImageTable | None:
    """The columns of a table that names images, or None for a folder.

    Raises:
        ConfigInvalid: columns, but no table of paths that they could be columns of.
    """
    if image is not None:
        return ImageTable(image, label, group, mask, root)
    if any(given is not None for given in (label, group, mask, root)):
        raise ConfigInvalid(
            "a folder of images has no columns: sub-folders are the labels, and --normal-label "
            "names the normal one. Labels, groups and masks of a table need --image-column."
        )
    return None


@dataclass(frozen=True)
class ImageData:
    """Images, told apart.

    Attributes:
        normal, anomalous: Ascending numbers of files; one without a label is in neither.
        kept_for_test: Of the normal ones, those that a given layout keeps for the test.
        groups: (N,) of all files, or None.
        limits: How large each image, and each mask, may be.
    """

    files: tuple[ImageFile, ...]
    normal: Int64
    anomalous: Int64
    kept_for_test: Int64
    groups: Objects | None
    limits: ImageLimits = DEFAULT_LIMITS

    def pixels(self, numbers: Int64) -> Iterator[Pixels]:
        """The images of these numbers, in that order.

        Raises:
            BadData: one of them cannot be read; names the file.
        """
        files = [self.files[number] for number in numbers]
        for loaded in read_images(files, limits=self.limits):
            yield loaded.pixels


def find_images(
    data: Path,
    table: ImageTable | None,
    normal_label: str | None,
    options: ReadOptions,
    on_reject: OnImageReject | None,
) -> ImageData:
    """The images of a folder, or of a table that names them.

    Args:
        normal_label: Which label is normal; None takes every image for normal, except in the
            layout of MVTec AD, where `good` is.
        on_reject: Is told of each image that cannot be read, which is then left out; None stops at
            the first.

    Raises:
        BadData: there is no image, or none with the normal label.
    """
    kept: list[ImageFile] = []
    is_default = normal_label is None
    if table is not None:
        files = images_of_table(
            data,
            table.image,
            label=table.label,
            group=table.group,
            mask=table.mask,
            root=table.root,
            options=options,
        )
        if table.label is not None and normal_label is None:
            normal_label = GOOD
    else:
        found = image_set(data, on_reject)
        files, kept = found.train, found.test
        normal_label = GOOD if kept and normal_label is None else normal_label
    everything = [*files, *kept]
    if on_reject is not None:
        everything = readable(everything, options.images, on_reject)
    labels = [file.label for file in everything]
    if normal_label is None:
        normal = np.arange(len(everything))
    else:
        normal = np.flatnonzero([label == normal_label for label in labels])
    if not len(normal):
        raise BadData(
            none_normal(sorted({label for label in labels if label}), normal_label, is_default),
            code="no_normal_rows",
            file=data,
        )
    known = np.flatnonzero([label is not None for label in labels])
    tested = {file.name for file in kept}
    groups = None
    if table is not None and table.group is not None:
        groups = np.array([file.group for file in everything], dtype=object)
    return ImageData(
        tuple(everything),
        normal,
        np.setdiff1d(known, normal) if normal_label is not None else normal[:0],
        normal[[everything[number].name in tested for number in normal]],
        groups,
        options.images,
    )


def none_normal(seen: Sequence[str], normal_label: str | None, is_default: bool) -> str:
    """What to tell the user none of whose images is normal.

    Args:
        seen: The labels that there are.
    """
    if not seen:
        return (
            f"no image has a label, and {normal_label!r} is to be the normal one. Labels are in "
            "the column that --label-column names, or are the folders below a folder; without "
            "--label-column and --normal-label every image is normal."
        )
    default = ", which is the default" if is_default else ""
    listed = ", ".join(map(repr, seen[:9])) + (f" and {len(seen) - 9} more" if seen[9:] else "")
    return (
        f"no image has the normal label {normal_label!r}{default}; the labels are {listed}. Say "
        "which one is normal with --normal-label."
    )


def readable(
    files: Sequence[ImageFile], limits: ImageLimits, on_reject: OnImageReject
) -> list[ImageFile]:
    """The files that can be read, each of which is read once for that."""
    return [loaded.file for loaded in read_images(files, limits=limits, on_reject=on_reject)]


def divide_images(data: ImageData, config: ImageRunConfig) -> tuple[Splits, Int64]:
    """The split of the normal images, and the numbers of the files that it indexes.

    What a layout keeps for the test is the test; then nothing else is held out for one.

    Raises:
        NotEnoughRows: fewer than 10 normal images or groups.
    """
    split = config.split
    numbers = np.setdiff1d(data.normal, data.kept_for_test)
    if split.by == "group":
        if data.groups is None:
            raise ConfigInvalid(
                "a split by group needs groups: a table of paths with --image-column and "
                "--group-column."
            )
        divided = partial(split_groups, data.groups[numbers], seed=config.seed)
    else:
        divided = partial(split_rows, len(numbers), seed=config.seed, unit="image")
    test_share = 0.0 if len(data.kept_for_test) else split.test_share
    left = max(1.0, (1 - test_share) * len(numbers))
    splits = divided(
        test_share=test_share,
        calibration_share=split.calibration_share,
        # Of few images more, so that their errors have a scatter.
        early_stop_share=min(0.5, max(split.early_stop_share, FEWEST_HELD_OUT / left)),
        needed=rows_needed(config.detector.alpha or DEFAULT_ALPHA),
    )
    return splits, numbers


def usual_side(data: ImageData, numbers: Int64, most: int = 20) -> float:
    """The median side of some of the images of these numbers, in pixels.

    Raises:
        BadData: one of them cannot be read; names the file.
    """
    places = np.linspace(0, len(numbers) - 1, min(most, len(numbers))).astype(int)
    areas = [pixels.shape[0] * pixels.shape[1] for pixels in data.pixels(numbers[places])]
    return float(np.sqrt(np.median(areas)))


def content_marks(data: ImageData, numbers: Int64) -> str:
    """Marks of at most `MOST_MARKED` images, by which they are known again, whatever their names:
    eight digits of the SHA-256 of each file, one after the other."""
    places = np.linspace(0, len(numbers) - 1, min(len(numbers), MOST_MARKED)).astype(np.int64)
    return "".join(mark_of(data.files[number]) for number in numbers[places])


def known_images(data: ImageData, numbers: Int64, marks: str) -> int:
    """How many of the images bear one of the marks."""
    known = {marks[n : n + MARK_DIGITS] for n in range(0, len(marks), MARK_DIGITS)}
    return sum(mark_of(data.files[number]) in known for number in numbers)


def mark_of(file: ImageFile) -> str:
    """Eight digits of the SHA-256 of the file."""
    with file.path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:MARK_DIGITS]


def images_digest(files: Sequence[ImageFile]) -> str:
    """SHA-256 over the names and contents of all files, in the order of their names."""
    total = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        with file.path.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        total.update(f"{file.name}\0{content}\n".encode())
    return total.hexdigest()
