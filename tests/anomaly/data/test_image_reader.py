"""Images in order, decoded in parallel, in bounded memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from anomaly.data import image_reader
from anomaly.data.image_files import ImageFile, images_below
from anomaly.data.image_reader import ImageReject, read_images, read_mask
from anomaly.data.images import ImageLimits, Pixels, decode
from anomaly.errors import BadData, ConfigInvalid
from tests.anomaly.data.pictures import COLOUR_ALPHA, png, samples, saved

COUNT = 40


@pytest.fixture
def files(tmp_path: Path) -> list[ImageFile]:
    """Images of one pixel, whose level is their number."""
    for n in range(COUNT):
        (tmp_path / f"{n:03}.png").write_bytes(png(np.array([[[n]]])))
    return images_below(tmp_path)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_the_order_is_that_of_the_files_whoever_is_done_first(
    files: list[ImageFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(data: bytes, limits: ImageLimits) -> Pixels:
        pixels = decode(data, limits)
        time.sleep(0.004 if pixels[0, 0, 0] % 3 == 0 else 0)
        return pixels

    monkeypatch.setattr(image_reader, "decode", slow)

    loaded = list(read_images(files[::-1], workers=4))

    assert [image.file for image in loaded] == files[::-1]
    assert [int(image.pixels[0, 0, 0]) for image in loaded] == list(range(COUNT))[::-1]


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_than_two_images_a_worker_are_decoded_ahead(
    files: list[ImageFile], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    def counted(data: bytes, limits: ImageLimits) -> Pixels:
        done.append(1)
        return decode(data, limits)

    monkeypatch.setattr(image_reader, "decode", counted)

    for taken, _ in enumerate(read_images(files, workers=workers), start=1):
        time.sleep(0.005)
        assert len(done) <= taken + 2 * workers
    assert len(done) == COUNT


def test_an_iterator_that_is_closed_early_decodes_no_further(
    files: list[ImageFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    def counted(data: bytes, limits: ImageLimits) -> Pixels:
        done.append(1)
        return decode(data, limits)

    monkeypatch.setattr(image_reader, "decode", counted)
    images = read_images(files, workers=2)
    next(images)

    images.close()  # type: ignore[attr-defined]

    count = len(done)
    time.sleep(0.02)
    assert len(done) == count <= 5


def test_a_consumer_that_fails_leaves_no_thread_behind(files: list[ImageFile]) -> None:
    def consume() -> None:
        for image in read_images(files):
            assert image.pixels[0, 0, 0] < 5

    with pytest.raises(AssertionError):
        consume()


def test_nothing_is_read_before_the_first_image_is_asked_for(files: list[ImageFile]) -> None:
    read_images([ImageFile(Path("nowhere.png"), "nowhere.png"), *files])


def test_no_files_are_no_images() -> None:
    assert list(read_images([])) == []


def test_fewer_than_one_worker_is_refused_at_once(files: list[ImageFile]) -> None:
    with pytest.raises(ConfigInvalid, match="at least 1, got 0"):
        read_images(files, workers=0)


# Files at fault


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Sound images, and one file for each thing that can be wrong."""
    sound = png(samples(4, 5, 1))
    for name in ("a.png", "k.png"):
        (tmp_path / name).write_bytes(sound)
    (tmp_path / "b_empty.png").touch()
    (tmp_path / "c_cut.png").write_bytes(sound[:-20])
    (tmp_path / "d_gif.png").write_bytes(saved(Image.new("L", (4, 4)), "GIF"))
    (tmp_path / "e_damaged.png").write_bytes(sound[:45] + b"?" + sound[46:])
    (tmp_path / "f_large.png").write_bytes(sound + bytes(2000))
    (tmp_path / "g_many.png").write_bytes(png(samples(40, 50, 1, top=0)))
    return tmp_path


LIMITS = ImageLimits(bytes=1000, pixels=1000)


def test_files_at_fault_are_reported_in_order_and_left_out(mixed: Path) -> None:
    rejects: list[ImageReject] = []

    loaded = list(read_images(images_below(mixed), limits=LIMITS, on_reject=rejects.append))

    assert [image.file.name for image in loaded] == ["a.png", "k.png"]
    assert [(reject.name, reject.code) for reject in rejects] == [
        ("b_empty.png", "image_empty"),
        ("c_cut.png", "image_truncated"),
        ("d_gif.png", "image_format"),
        ("e_damaged.png", "image_damaged"),
        ("f_large.png", "image_too_large"),
        ("g_many.png", "image_too_many_pixels"),
    ]
    assert not any(str(mixed) in reject.message for reject in rejects)


def test_if_nobody_listens_the_first_file_at_fault_is_an_error_that_names_it(mixed: Path) -> None:
    images = read_images(images_below(mixed), limits=LIMITS)

    assert next(images).file.name == "a.png"
    with pytest.raises(BadData, match=r"b_empty\.png: the file has no byte") as caught:
        next(images)
    assert (caught.value.code, caught.value.file) == ("image_empty", mixed / "b_empty.png")


def test_a_jpeg_that_is_called_png_is_read_by_its_content(tmp_path: Path) -> None:
    data = saved(samples(16, 16, 1)[..., 0].astype(np.uint8))
    (tmp_path / "a.png").write_bytes(data)

    (image,) = read_images(images_below(tmp_path))

    assert_array_equal(image.pixels, decode(data))


def test_what_has_become_of_a_file_since_it_was_found_is_reported(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "late")
    found = [
        ImageFile(tmp_path / name, name) for name in ("pipe", "gone", ".", "nul\0", "/dev/zero")
    ]
    rejects: list[ImageReject] = []

    assert list(read_images(found, on_reject=rejects.append)) == []

    assert [reject.code for reject in rejects] == [
        "not_a_file",
        "unreadable_file",
        "not_a_file",
        "unreadable_file",
        "not_a_file",
    ]


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(png(samples(2, 2, 1)))
    before = (tmp_path / "a.png").stat()
    (tmp_path / "a.png").unlink()
    os.mkfifo(tmp_path / "a.png")
    monkeypatch.setattr(Path, "stat", lambda path: before)

    with pytest.raises(BadData) as caught:
        image_reader.read_bytes(tmp_path / "a.png", ImageLimits())
    assert caught.value.code == "not_a_file"


def test_of_a_file_over_the_limit_not_a_byte_is_read(tmp_path: Path) -> None:
    with (tmp_path / "hole.png").open("wb") as file:
        file.truncate(2**40)

    with pytest.raises(BadData, match="20,971,520 are allowed") as caught:
        image_reader.read_bytes(tmp_path / "hole.png", ImageLimits())
    assert caught.value.code == "image_too_large"


def test_the_limit_of_bytes_is_the_last_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")

    assert image_reader.read_bytes(tmp_path / "a", ImageLimits(bytes=5)) == b"12345"
    with pytest.raises(BadData):
        image_reader.read_bytes(tmp_path / "a", ImageLimits(bytes=4))


# Masks


def test_a_mask_is_true_where_any_channel_is_not_zero(tmp_path: Path) -> None:
    marks = samples(6, 7, 3, top=1) * np.array([0, 1, 255])
    (tmp_path / "colour.png").write_bytes(png(marks, 2))
    (tmp_path / "bits.png").write_bytes(png(marks[..., 1:2], depth=1))

    colour, bits = read_mask(tmp_path / "colour.png"), read_mask(tmp_path / "bits.png")

    assert colour.dtype == np.bool_
    assert_array_equal(colour, marks.any(-1))
    assert_array_equal(bits, marks[..., 1] > 0)


def test_transparent_pixels_of_a_mask_are_not_marked(tmp_path: Path) -> None:
    alpha = samples(6, 7, 1, top=1) * 255
    white = np.full((6, 7, 3), 255)
    (tmp_path / "a.png").write_bytes(png(np.concatenate([white, alpha], -1), COLOUR_ALPHA))

    assert_array_equal(read_mask(tmp_path / "a.png"), alpha[..., 0] > 0)


def test_a_mask_at_fault_is_named(mixed: Path) -> None:
    with pytest.raises(BadData, match=r"c_cut\.png") as caught:
        read_mask(mixed / "c_cut.png")
    assert caught.value.code == "image_truncated"
    with pytest.raises(BadData) as caught:
        read_mask(mixed / "g_many.png", ImageLimits(pixels=10))
    assert caught.value.code == "image_too_many_pixels"
