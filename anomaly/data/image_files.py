"""Which image files there are: below a folder, in the layout of MVTec AD, or named by a table."""

from __future__ import annotations

import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from anomaly.data.flaws import shown
from anomaly.data.options import ReadOptions
from anomaly.data.readers import DEFAULT_OPTIONS, PARQUET_SUFFIXES, open_reader
from anomaly.data.schema import Column, Kind, Role, Schema
from anomaly.errors import BadData

SUFFIXES = (".png", ".jpg", ".jpeg")

TRAIN, TEST, GOOD, MASKS = "train", "test", "good", "ground_truth"


@dataclass(frozen=True)
class ImageFile:
    """An image to be read.

    Attributes:
        name: POSIX path relative to the root, the id in outputs. Bytes of the path that are not
            UTF-8 are written as ``\\xff``, so that it is text in any case.
        label: What it shows, if that is known.
        group: What it belongs together with, such as the part that was photographed.
        mask: An image of the same size that is not zero where the anomaly is.
    """

    path: Path
    name: str
    label: str | None = None
    group: str | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class ImageSet:
    """The images of a folder, told apart, each list sorted by name."""

    train: list[ImageFile]
    test: list[ImageFile]


@dataclass(frozen=True)
class ImageReject:
    """A file or folder that was left out.

    Attributes:
        name: As in `ImageFile`.
        code: Stable machine word, such as ``image_truncated``.
    """

    name: str
    code: str
    message: str


OnImageReject: TypeAlias = Callable[[ImageReject], None]


class FilesPassedOver(UserWarning):
    """A folder holds files that are not looked at, because of their suffix."""


def images_below(root: Path, on_reject: OnImageReject | None = None) -> list[ImageFile]:
    """The PNG and JPEG files of a folder and its sub-folders, sorted by name.

    Told by suffix, `.png`, `.jpg` or `.jpeg` in any case. What begins with a dot is not looked at.
    Links to files inside the root are followed; links to folders inside are not, because what they
    lead to is found where it is. Of files with another suffix a `FilesPassedOver` tells how many.

    Args:
        on_reject: Is told of what is left out: links that lead outside (`outside_root`) or nowhere,
            images that are no regular files (`not_a_file`), folders that cannot be listed
            (`unreadable_folder`). Without it the first of them is an error.

    Raises:
        OSError: the root is no folder, or cannot be listed.
        BadData: there is no image (`no_images`), or one of the above.
    """
    others: Counter[str] = Counter()
    found = {name_of(path, root): path for path in image_paths(root, on_reject, others)}
    if not found:
        held = f" (there are {counted(others)})" if others else ""
        raise BadData(
            f"holds no image: no file below it ends in {', '.join(SUFFIXES)}, hidden ones aside"
            f"{held}. Name another folder, or convert the images to PNG.",
            code="no_images",
            file=root,
        )
    if others:
        warnings.warn(
            f"files of {root} that are passed over, because they do not end in "
            f"{', '.join(SUFFIXES)}: {others.total():,} ({counted(others)}). Convert those that "
            "are images to PNG.",
            FilesPassedOver,
            stacklevel=2,
        )
    return [ImageFile(found[name], name) for name in sorted(found)]


def image_set(root: Path, on_reject: OnImageReject | None = None) -> ImageSet:
    """The images of a folder, told apart by where they are.

    With a folder `train/good` it is the layout of MVTec AD: its images train and have the label
    "good"; images in `test/KIND` have the label KIND and, where it is there, the mask
    `ground_truth/KIND/STEM_mask.png`. Other folders are not used.

    Any other folder is for training as a whole; the label of an image is the name of the first
    folder below the root, None without one.

    Raises:
        OSError, BadData: as `images_below`; `no_images` also if there is none to train with.
    """
    files = images_below(root, on_reject)
    if not (root / TRAIN / GOOD).is_dir():
        return ImageSet([replace(file, label=kind_of(file.name, 0)) for file in files], [])
    paths = {file.name: file.path for file in files}
    train = [replace(f, label=GOOD) for f in files if f.name.startswith(f"{TRAIN}/{GOOD}/")]
    test = [
        replace(file, label=kind_of(file.name, 1), mask=paths.get(mask_name(file.name)))
        for file in files
        if file.name.startswith(f"{TEST}/")
    ]
    if not train:
        raise BadData(
            f"holds no image in {TRAIN}/{GOOD}, where the layout of MVTec AD has those to train "
            "with. Put normal images there, or rename the folder.",
            code="no_images",
            file=root,
        )
    return ImageSet(train, test)


def images_of_table(
    path: Path,
    column: str,
    *,
    label: str | None = None,
    group: str | None = None,
    mask: str | None = None,
    root: Path | None = None,
    options: ReadOptions = DEFAULT_OPTIONS,
) -> list[ImageFile]:
    """The images that a CSV or Parquet file names, in its order.

    Args:
        column: Holds paths relative to the root; any suffix will do.
        label, group: Columns of text. An empty cell is None.
        mask: Column of paths as in `column`. An empty cell is None.
        root: By default the folder of the table.

    Raises:
        OSError: the table cannot be opened.
        BadData: the table cannot be read, a path is empty (`missing_value`), leads outside the root
            (`outside_root`), or is no regular file (`not_a_file`); names the line and column.
    """
    named = [name for name in (label, group, mask) if name is not None and name != column]
    wanted = (
        Column(column, Kind.CATEGORICAL),
        *(Column(name, Kind.CATEGORICAL, Role.ID) for name in dict.fromkeys(named)),
    )
    base = path.parent if root is None else root
    table = Table(path, base, base.resolve())
    files: list[ImageFile] = []
    for chunk in open_reader(path, Schema(wanted), options=options, columns=wanted):
        for n, line in enumerate(chunk.lines.tolist()):
            row = {name: values[n] for name, values in chunk.records.columns.items()}
            image = table.image(row[column], column, line)
            files.append(
                ImageFile(
                    image,
                    table.name(row[column]),
                    row[label] if label else None,
                    row[group] if group else None,
                    table.image(row[mask], mask, line) if mask and row[mask] else None,
                )
            )
    return files


@dataclass(frozen=True)
class Table:
    """A table of paths.

    Attributes:
        path: Of the table.
        root: What the paths are relative to.
        inside: The same folder, without links, which no path may leave.
    """

    path: Path
    root: Path
    inside: Path

    def image(self, text: str | None, column: str, line: int) -> Path:
        """The file that a cell names.

        Raises:
            BadData: the cell is empty, or the file is not as `check_file` wants it.
        """
        try:
            if not text:
                raise BadData(
                    "the cell is empty, so there is no image to read. Write the path, or take the "
                    "row out.",
                    code="missing_value",
                )
            check_file(self.root / text, self.inside)
        except BadData as error:
            is_numbered = self.path.suffix.lower() in PARQUET_SUFFIXES
            raise BadData(
                f"{shown(text, 200)} {error.message}" if text else error.message,
                code=error.code,
                file=self.path,
                line=None if is_numbered else line,
                row=line - 1 if is_numbered else None,
                column=column,
            ) from error.__cause__
        return self.root / text

    def name(self, text: str) -> str:
        """The path in the cell, relative to the root and without detours."""
        path = PurePosixPath(text)
        if path.is_absolute() or ".." in path.parts:
            return name_of((self.root / text).resolve(), self.inside)
        return path.as_posix()


def image_paths(
    root: Path, on_reject: OnImageReject | None, others: Counter[str]
) -> Iterator[Path]:
    """The image files below a folder; what is refused is told of, as in `images_below`.

    Args:
        others: Counts, by suffix, the visible files that are no images.
    """
    folders, inside = [root], root.resolve()
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            if folder == root:
                raise
            refusal = BadData(
                f"cannot be listed: {error.strerror}. Change its permissions, or move it away.",
                code="unreadable_folder",
                file=folder,
            )
            reject(refusal, name_of(folder, root), on_reject, error)
            continue
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
                continue
            try:
                if is_image(entry, inside):
                    yield path
                elif not leads_to_folder(path):
                    others[Path(name_of(path, root)).suffix.lower()] += 1
            except BadData as error:
                reject(error, name_of(path, root), on_reject)


def is_image(entry: os.DirEntry[str], inside: Path) -> bool:
    """Whether a visible entry is an image file; a linked folder is none, but must be inside.

    Raises:
        BadData: as `check_file`.
    """
    path = Path(entry.path)
    if entry.is_symlink() and leads_to_folder(path):
        check_inside(path, inside)
        return False
    if path.suffix.lower() not in SUFFIXES:
        return False
    if not entry.is_file(follow_symlinks=False):
        check_file(path, inside)
    return True


def counted(others: Counter[str], most: int = 6) -> str:
    """Such as `12 .bmp, 1 .txt`, the most frequent suffixes first."""
    kinds = [f"{count:,} {suffix or 'without suffix'}" for suffix, count in others.most_common()]
    return ", ".join([*kinds[:most], *(["..."] if len(kinds) > most else [])])


def leads_to_folder(link: Path) -> bool:
    try:
        return link.is_dir()
    except OSError:
        return False


def check_file(path: Path, inside: Path) -> None:
    """Refuse what is no regular file inside a folder without links. The file is not opened.

    Raises:
        BadData: `outside_root`, `no_such_file`, `unreadable_file` or `not_a_file`.
    """
    real = check_inside(path, inside)
    try:
        mode = real.stat().st_mode
    except FileNotFoundError as error:
        raise BadData(
            "is not there. Correct the path, or take it out.", code="no_such_file", file=path
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(mode):
        raise not_a_file(path)


def check_inside(path: Path, inside: Path) -> Path:
    """The path without links and detours, which must be below a folder without links.

    Raises:
        BadData: `outside_root`, or `unreadable_file` if links go round in a circle.
    """
    try:
        real = path.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise unreadable(path, error) from error
    if not real.is_relative_to(inside):
        raise BadData(
            "leads outside the folder of the images. Copy the file into it, or name as root a "
            "folder that holds both.",
            code="outside_root",
            file=path,
        )
    return real


def not_a_file(path: Path) -> BadData:
    return BadData(
        "is no regular file but a folder, pipe, socket or device, which is never opened. Take it "
        "out.",
        code="not_a_file",
        file=path,
    )


def unreadable(path: Path, error: Exception) -> BadData:
    return BadData(
        f"cannot be read: {getattr(error, 'strerror', None) or error}. Correct the path, or change "
        "the permissions.",
        code="unreadable_file",
        file=path,
    )


def reject(
    refusal: BadData, name: str, on_reject: OnImageReject | None, cause: Exception | None = None
) -> None:
    """Tell of what is left out, or raise if nobody listens."""
    if on_reject is None:
        raise refusal from cause or refusal.__cause__
    on_reject(ImageReject(name, refusal.code, refusal.message))


def name_of(path: Path, root: Path) -> str:
    """The path relative to the root, as text in any case."""
    name = path.relative_to(root).as_posix()
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def kind_of(name: str, depth: int) -> str | None:
    """The folder of that depth in the name, None if the file is not in one."""
    parts = PurePosixPath(name).parts
    return parts[depth] if len(parts) > depth + 1 else None


def mask_name(name: str) -> str:
    """Where the layout of MVTec AD keeps the mask of an image in `test`."""
    image = PurePosixPath(MASKS, *PurePosixPath(name).parts[1:])
    return str(image.with_name(f"{image.stem}_mask.png"))
