"""Files made to be slow: what no pixel needs costs next to nothing."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from anomaly.data.image_containers import MOST_SCANS, essentials, exif_orientation
from anomaly.data.images import ImageLimits, ImageRejected, decode
from tests.anomaly.data.pictures import (
    END,
    chunk,
    content,
    exif,
    header,
    png,
    samples,
    saved,
    segment,
)

LIMIT = ImageLimits().bytes
MIB = zlib.compress(bytes(2**20), 9)
"""A kilobyte that unpacks to a mebibyte."""

BYTE = samples(6, 8, 1)
JPEG = saved(BYTE[..., 0].astype(np.uint8))
ROOM = LIMIT - 2**13


def filled(piece: bytes) -> bytes:
    """As many copies as the limit of bytes has room for."""
    return piece * (ROOM // len(piece))


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(lambda: png(BYTE, before=filled(chunk(b"zTXt", b"k\0\0" + MIB))), id="zTXt"),
        pytest.param(
            lambda: png(BYTE, before=filled(chunk(b"zTXt", b"\0\0" + MIB))), id="nameless zTXt"
        ),
        pytest.param(lambda: png(BYTE, before=filled(chunk(b"iCCP", b"k\0\0" + MIB))), id="iCCP"),
        pytest.param(
            lambda: png(BYTE, before=filled(chunk(b"iTXt", b"k\0\1\0\0\0" + MIB + b"\xff"))),
            id="iTXt",
        ),
        pytest.param(
            lambda: png(BYTE, before=chunk(b"tEXt", b"k\0" + bytes(ROOM))), id="one long tEXt"
        ),
        pytest.param(
            lambda: png(BYTE, before=chunk(b"eXIf", exif(1)[:8] + filled(b"\xff\xff" + bytes(10)))),
            id="EXIF of 65,535 tags",
        ),
        pytest.param(
            lambda: JPEG[:2] + segment(0xE1, b"Exif\0\0" + bytes(5000)) * 4000 + JPEG[2:], id="EXIF"
        ),
        pytest.param(
            lambda: JPEG[:2] + segment(0xE2, b"ICC_PROFILE\0\1\2" * 300) * 4000 + JPEG[2:], id="ICC"
        ),
        pytest.param(lambda: JPEG[:20] + bytes(ROOM) + JPEG[20:], id="junk"),
        pytest.param(lambda: JPEG[:20] + b"\xff" * ROOM + JPEG[20:], id="fill bytes"),
    ],
)
def test_metadata_as_large_as_the_file_may_be_is_passed_over(written: Callable[[], bytes]) -> None:
    data = written()
    assert len(data) <= LIMIT
    plain = decode(JPEG if data.startswith(JPEG[:2]) else png(BYTE))

    start = time.thread_time()
    pixels = decode(data)
    assert time.thread_time() - start < 1

    assert_array_equal(pixels, plain)


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(lambda: png(BYTE, before=filled(chunk(b"tEXt", b""))), id="chunks"),
        pytest.param(
            lambda: png(BYTE, before=filled(chunk(b"IDAT", b""))), id="empty pixel chunks"
        ),
        pytest.param(lambda: JPEG[:2] + filled(segment(0xFE, b"")) + JPEG[2:], id="comments"),
        pytest.param(lambda: JPEG[:2] + filled(segment(0xDB, bytes(65))) + JPEG[2:], id="tables"),
    ],
)
def test_more_pieces_than_any_encoder_writes_are_refused(written: Callable[[], bytes]) -> None:
    data = written()
    start = time.thread_time()
    with pytest.raises(ImageRejected, match="more than") as caught:
        decode(data)
    assert time.thread_time() - start < 1

    assert caught.value.code == "image_damaged"


def test_pixels_beyond_the_last_row_are_not_unpacked() -> None:
    bomb = header(8, 6) + chunk(b"IDAT", zlib.compress(bytes(2**28), 9) * 40) + END

    start = time.thread_time()
    assert decode(bomb).shape == (6, 8, 1)
    assert time.thread_time() - start < 1


def test_a_progressive_jpeg_may_have_so_many_scans_and_no_more() -> None:
    data = saved(np.full((64, 64), 9, np.uint8), progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    missing = MOST_SCANS - data.count(b"\xff\xda")

    decode(data[:-2] + last * missing + data[-2:])
    with pytest.raises(ImageRejected, match="more than 100 scans"):
        decode(data[:-2] + last * (missing + 1) + data[-2:])


def test_pixels_in_many_chunks_are_those_of_one() -> None:
    whole = content(BYTE)
    body = whole[8:-4]
    parts = [chunk(b"IDAT", body[n : n + 1]) for n in range(len(body))]

    assert essentials(header(8, 6) + b"".join(parts) + END).data == header(8, 6) + whole + END


def test_what_follows_the_end_is_not_looked_at() -> None:
    for data in (png(BYTE), JPEG):
        assert_array_equal(decode(data + b"PK\3\4 and so on"), decode(data))


def test_markers_without_a_body_are_passed_over() -> None:
    assert_array_equal(decode(JPEG[:20] + b"\xff\x01\xff\xd8" + JPEG[20:]), decode(JPEG))


def test_a_preview_within_the_metadata_is_not_the_image() -> None:
    preview = saved(np.zeros((2, 2), np.uint8))
    data = JPEG[:2] + segment(0xE1, b"Exif\0\0" + exif(1) + preview) + JPEG[2:]

    assert_array_equal(decode(data), decode(JPEG))


@given(st.binary(max_size=80), st.sampled_from(["<", ">"]), st.integers(0, 2**16 - 1))
def test_an_orientation_is_one_of_eight(tail: bytes, order: str, value: int) -> None:
    kind = struct.pack(order + "HHI", 0x0112, 3, 1)
    block = exif(1, order)[:8] + struct.pack(order + "H", 2) + kind

    assert exif_orientation(exif(1, order)[:8] + tail) in range(1, 9)
    found = exif_orientation(block + struct.pack(order + "HH", value, 0))
    assert found == (value if 1 <= value <= 8 else 1)
