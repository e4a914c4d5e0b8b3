"""Image files as pixels: read and decoded in parallel, handed on in order, in bounded memory."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from anomaly.arrays import Bool
from anomaly.data.chunks import located
from anomaly.data.image_files import (
    ImageFile,
    ImageReject,
    OnImageReject,
    not_a_file,
    reject,
    unreadable,
)
from anomaly.data.images import DEFAULT_LIMITS, ImageLimits, Pixels, check_bytes, decode
from anomaly.errors import BadData, ConfigInvalid

__all__ = ["ImageReject", "LoadedImage", "OnImageReject", "read_images", "read_mask"]

AHEAD = 2
"""Images that are decoded ahead of the one in use, for each worker."""

MOST_WORKERS = 8
"""By default. Decoding outruns what comes after it long before."""

BLACK = 0


@dataclass(frozen=True)
class LoadedImage:
    """An image and where it came from."""

    file: ImageFile
    pixels: Pixels


def read_images(
    files: Sequence[ImageFile],
    *,
    limits: ImageLimits = DEFAULT_LIMITS,
    workers: int | None = None,
    on_reject: OnImageReject | None = None,
) -> Iterator[LoadedImage]:
    """The images, in the order of `files`, while the next ones are decoded.

    At most 2 x `workers` images are held or in work beside the one that was handed on. Closing the
    iterator early ends the threads.

    Args:
        workers: Threads that decode (Pillow lets the others run meanwhile); by default one for
            each processor that this process may use, at most 8.
        on_reject: Is told, in order, of each file that is left out because it cannot be read.
            Without it the first such file is an error.

    Raises:
        ConfigInvalid: `workers` is less than 1.
        BadData: a file cannot be read or decoded, and `on_reject` is None; names the file.
    """
    if workers is not None and workers < 1:
        raise ConfigInvalid(f"workers must be at least 1, got {workers}")
    return decoded(files, limits, workers or default_workers(), on_reject)


def decoded(
    files: Sequence[ImageFile],
    limits: ImageLimits,
    workers: int,
    on_reject: OnImageReject | None,
) -> Iterator[LoadedImage]:
    """The generator behind `read_images`."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode-images")
    try:
        waiting = iter(files)
        ahead: deque[tuple[ImageFile, Future[Pixels]]] = deque()

        def submit(count: int) -> None:
            for file in islice(waiting, count):
                ahead.append((file, pool.submit(read_pixels, file.path, limits)))

        submit(AHEAD * workers)
        while ahead:
            file, future = ahead.popleft()
            loaded = None
            try:
                loaded = LoadedImage(file, future.result())
            except BadData as error:
                reject(error, file.name, on_reject)
            submit(1)
            if loaded is not None:
                yield loaded
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def default_workers() -> int:
    return min(len(os.sched_getaffinity(0)), MOST_WORKERS)


def read_pixels(path: Path, limits: ImageLimits) -> Pixels:
    """The pixels of one file, (H, W, C).

    Raises:
        BadData: the file cannot be read or decoded; names it.
    """
    with located(file=path):
        return decode(read_bytes(path, limits), limits)


def read_mask(path: Path, limits: ImageLimits = DEFAULT_LIMITS) -> Bool:
    """(H, W), True where any channel of the mask is not zero; transparent pixels are zero.

    Raises:
        BadData: the file cannot be read or decoded; names it.
    """
    with located(file=path):
        pixels = decode(read_bytes(path, limits), limits, background=BLACK)
    mask: Bool = np.asarray(pixels.any(axis=-1))
    return mask


def read_bytes(path: Path, limits: ImageLimits) -> bytes:
    """The content of a regular file of at most `limits.bytes`; of a larger one nothing is read.

    Raises:
        BadData: `image_too_large`, `image_empty`, `not_a_file`, or `unreadable_file` for what the
            system says.
    """
    try:
        check_regular(path, path.stat(), limits)
        # Something else may have taken its place since: a pipe would wait here for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            check_regular(path, status, limits)
            return file.read(status.st_size)
    except (OSError, ValueError) as error:
        if isinstance(error, BadData):
            raise
        raise unreadable(path, error) from error


def check_regular(path: Path, status: os.stat_result, limits: ImageLimits) -> None:
    """Refuse what is no regular file, or too large a one.

    Raises:
        BadData: `not_a_file`, or as `check_bytes`.
    """
    if not stat.S_ISREG(status.st_mode):
        raise not_a_file(path)
    check_bytes(status.st_size, limits)
