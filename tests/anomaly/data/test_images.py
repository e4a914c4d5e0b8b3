"""Bytes to pixels: every kind of PNG and JPEG, and the refusal of everything else."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile
from pydantic import ValidationError

from anomaly.data.images import ImageLimits, ImageRejected, decode
from anomaly.data.pixels import as_unit, to_channels
from anomaly.errors import BadData, ConfigInvalid
from tests.anomaly.data.pictures import (
    COLOUR,
    COLOUR_ALPHA,
    END,
    GREY,
    GREY_ALPHA,
    PALETTE,
    Samples,
    chunk,
    content,
    exif,
    header,
    png,
    samples,
    saved,
    segment,
)


def code(data: bytes, limits: ImageLimits | None = None) -> str:
    with pytest.raises(ImageRejected) as caught:
        decode(data, limits or ImageLimits())
    return caught.value.code


# Kinds of image

H, W = 5, 7
BIT, TWO, FOUR = (samples(H, W, 1, top=2**depth - 1) for depth in (1, 2, 4))
BYTE, WORD = samples(H, W, 1), samples(H, W, 1, top=65535)
RGB, RGB_WORD = samples(H, W, 3), samples(H, W, 3, top=65535)
ALPHA = samples(H, W, 1, seed=1)
NUMBERS = samples(H, W, 1, top=3)
COLOURS = samples(4, 3, seed=2)
PLTE = chunk(b"PLTE", COLOURS.astype(np.uint8).tobytes())
ALPHAS = np.array([255, 0, 100, 255])
FEW = samples(H, W, 3, top=1) * 200
KEY = FEW[2, 3]


def on(background: int, colours: Samples, alpha: Samples) -> Samples:
    """The blend by its definition, in floating point."""
    share = alpha / 255
    return np.rint(share * colours + (1 - share) * background)


def transparent(*values: int, size: str = "H") -> bytes:
    return chunk(b"tRNS", struct.pack(f">{len(values)}{size}", *values))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(png(BIT, GREY, 1), BIT * 255, id="1 bit"),
        pytest.param(png(TWO, GREY, 2), TWO * 85, id="2 bits"),
        pytest.param(png(FOUR, GREY, 4), FOUR * 17, id="4 bits"),
        pytest.param(png(BYTE), BYTE, id="grey"),
        pytest.param(png(RGB, COLOUR), RGB, id="RGB"),
        pytest.param(png(RGB_WORD, COLOUR, 16), RGB_WORD >> 8, id="RGB of 16 bits"),
        pytest.param(png(NUMBERS, PALETTE, 2, PLTE), COLOURS[NUMBERS[..., 0]], id="palette"),
        pytest.param(
            png(NUMBERS, PALETTE, 8, PLTE + transparent(*ALPHAS, size="B")),
            on(255, COLOURS[NUMBERS[..., 0]], ALPHAS[NUMBERS]),
            id="palette with alphas",
        ),
        pytest.param(
            png(NUMBERS, PALETTE, 4, PLTE + transparent(255, 0, size="B")),
            np.where(NUMBERS == 1, 255, COLOURS[NUMBERS[..., 0]]),
            id="palette with a transparent entry",
        ),
        pytest.param(
            png(np.concatenate([BYTE, ALPHA], -1), GREY_ALPHA), on(255, BYTE, ALPHA), id="LA"
        ),
        pytest.param(
            png(np.concatenate([RGB, ALPHA], -1), COLOUR_ALPHA), on(255, RGB, ALPHA), id="RGBA"
        ),
        pytest.param(
            png(np.concatenate([WORD, np.full_like(WORD, 65535)], -1), GREY_ALPHA, 16),
            WORD >> 8,
            id="LA of 16 bits",
        ),
        pytest.param(
            png(BIT, GREY, 1, transparent(0)), np.full_like(BIT, 255), id="1 bit with key"
        ),
        pytest.param(
            png(FOUR, GREY, 4, transparent(FOUR[1, 2, 0])),
            np.where(FOUR[1, 2, 0] == FOUR, 255, FOUR * 17),
            id="4 bits with key",
        ),
        pytest.param(
            png(BYTE, GREY, 8, transparent(BYTE[1, 2, 0])),
            np.where(BYTE[1, 2, 0] == BYTE, 255, BYTE),
            id="grey with key",
        ),
        pytest.param(
            png(FEW, COLOUR, 8, transparent(*KEY)),
            np.where((FEW == KEY).all(-1, keepdims=True), 255, FEW),
            id="RGB with key",
        ),
        pytest.param(
            png(FEW * 256 + 9, COLOUR, 16, transparent(*(KEY * 256 + 9))),
            np.where((FEW == KEY).all(-1, keepdims=True), 255, FEW),
            id="RGB of 16 bits with key",
        ),
    ],
)
def test_a_png_of_any_kind_is_bytes_of_grey_or_rgb(data: bytes, expected: Samples) -> None:
    pixels = decode(data)

    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert_array_equal(pixels, expected)


def test_grey_of_16_bits_stays_so() -> None:
    key = WORD[2, 2, 0]

    assert decode(png(WORD, GREY, 16)).dtype == np.uint16
    assert_array_equal(decode(png(WORD, GREY, 16)), WORD)
    assert_array_equal(
        decode(png(WORD, GREY, 16, transparent(key))), np.where(key == WORD, 65535, WORD)
    )


def test_an_rgb_file_that_shows_only_grey_keeps_its_channels() -> None:
    assert decode(png(np.repeat(BYTE, 3, -1), COLOUR)).shape == (H, W, 3)


def test_transparent_pixels_can_be_laid_on_black_instead() -> None:
    data = png(np.concatenate([RGB, ALPHA], -1), COLOUR_ALPHA)
    keyed = png(WORD, GREY, 16, transparent(WORD[2, 2, 0]))

    assert_array_equal(decode(data, background=0), on(0, RGB, ALPHA))
    assert decode(keyed, background=0)[2, 2, 0] == 0


def smooth(channels: int) -> Samples:
    """Even areas, which survive JPEG."""
    areas = samples(4, 4, channels, seed=3)
    return areas.repeat(8, 0).repeat(8, 1).astype(np.uint8)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
def test_jpegs_in_grey_and_colour(options: dict[str, Any]) -> None:
    grey, colour = smooth(1), smooth(3)

    assert_allclose(decode(saved(grey[..., 0], quality=100, **options)).astype(int), grey, atol=2)
    read = decode(saved(colour, quality=100, subsampling=0, **options)).astype(int)
    assert_allclose(read, colour, atol=4)


def test_a_jpeg_in_cmyk_becomes_rgb() -> None:
    inks = smooth(4)
    cyan_magenta_yellow, black = inks[..., :3].astype(float), inks[..., 3:].astype(float)

    read = decode(saved(Image.fromarray(inks, "CMYK"), quality=100)).astype(int)

    light = (255 - cyan_magenta_yellow) * (255 - black) / 255
    assert_allclose(read, light, atol=5)


def test_every_jpeg_is_what_pillow_makes_of_it() -> None:
    for image in (smooth(1)[..., 0], smooth(3), Image.fromarray(smooth(4), "CMYK")):
        data = saved(image, comment=b"a comment", dpi=(300, 300))
        reference = np.asarray(Image.open(io.BytesIO(data)))
        if reference.shape[-1] == 4:
            reference = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert_array_equal(decode(data), reference.reshape(decode(data).shape))


def test_of_an_animation_this_is_the_default_image() -> None:
    frames = [Image.fromarray(samples(6, 6, 3, seed=n).astype(np.uint8)) for n in range(3)]
    together = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    apart = saved(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)

    assert b"acTL" in together
    assert_array_equal(decode(together), frames[0])
    assert_array_equal(decode(apart), frames[0])


def test_of_several_pictures_in_a_jpeg_this_is_the_first() -> None:
    first, second = (Image.fromarray(smooth(3)[::step]) for step in (1, -1))
    data = saved(first, "MPO", save_all=True, append_images=[second])

    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert_array_equal(decode(data), decode(saved(first)))


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("order", "kind"), [("<", 3), (">", 3), ("<", 4), (">", 4)])
def test_the_exif_orientation_is_applied(orientation: int, order: str, kind: int) -> None:
    block = exif(orientation, order, kind)
    picture = smooth(3)[:24]
    jpeg = saved(picture)
    turned = jpeg[:2] + segment(0xE1, b"Exif\0\0" + block) + jpeg[2:]

    for data in (turned, png(RGB, COLOUR, 8, chunk(b"eXIf", block))):
        image = Image.open(io.BytesIO(data))
        assert image.getexif()[0x0112] == orientation
        assert_array_equal(decode(data), np.asarray(ImageOps.exif_transpose(image)))


def test_the_first_stored_row_of_a_phone_held_upright_is_the_right_side() -> None:
    data = png(BYTE, GREY, 8, chunk(b"eXIf", exif(6)))

    assert_array_equal(decode(data)[:, -1], BYTE[0])


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda tail: exif(6)[:10] + tail))
def test_an_exif_block_that_cannot_be_read_costs_at_most_the_orientation(block: bytes) -> None:
    pixels = decode(png(BYTE, GREY, 8, chunk(b"eXIf", block)))

    assert sorted(pixels.shape) == sorted(BYTE.shape)


# Refusals


def test_zero_bytes_are_empty() -> None:
    assert code(b"") == "image_empty"


@pytest.mark.parametrize("format_", ["GIF", "TIFF", "BMP", "WEBP", "ICO", "PPM"])
def test_other_formats_are_refused_by_their_content(format_: str) -> None:
    assert code(saved(smooth(3), format_)) == "image_format"


@pytest.mark.parametrize(
    "data", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"a,b\n1,2\n", bytes(100), b"\xff\xd8x"]
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    assert code(data) == "image_format"


def test_a_refusal_is_bad_data_that_says_what_to_do() -> None:
    with pytest.raises(BadData, match=r"neither PNG nor JPEG.*b'GIF89a.*Convert"):
        decode(b"GIF89a" + bytes(20))


SOUND = {
    "grey": png(BYTE),
    "palette": png(NUMBERS, PALETTE, 2, PLTE + transparent(255, 0, size="B")),
    "LA": png(np.concatenate([BYTE, ALPHA], -1), GREY_ALPHA),
    "16 bits": png(WORD, GREY, 16, chunk(b"tEXt", b"k\0v") + chunk(b"eXIf", exif(3))),
    "interlaced": header(1, 1)[:28]
    + b"\1"
    + struct.pack(">I", zlib.crc32(header(1, 1)[12:28] + b"\1"))
    + content(np.array([[[7]]]))
    + END,
    "animated": saved(
        Image.fromarray(smooth(3)), "PNG", save_all=True, append_images=[Image.new("RGB", (32, 32))]
    ),
    "JPEG": saved(smooth(3), exif=b"Exif\0\0" + exif(6), comment=b"x"),
    "progressive JPEG": saved(smooth(3), progressive=True, icc_profile=bytes(300)),
    "CMYK JPEG": saved(Image.fromarray(smooth(4), "CMYK")),
}


@pytest.mark.parametrize("name", SOUND)
def test_every_proper_prefix_of_a_file_is_truncated(name: str) -> None:
    data = SOUND[name]
    decode(data)

    assert {code(data[:n]) for n in range(1, len(data))} == {"image_truncated"}


@pytest.mark.parametrize("name", ["grey", "palette", "LA", "16 bits"])
def test_no_flipped_bit_of_a_png_goes_unnoticed(name: str) -> None:
    data = SOUND[name]

    found = {
        code(data[:n] + bytes([data[n] ^ 1 << bit]) + data[n + 1 :])
        for n in range(len(data))
        for bit in range(8)
    }

    assert found <= {"image_format", "image_truncated", "image_damaged", "image_too_many_pixels"}


@settings(max_examples=600, deadline=None)
@given(
    name=st.sampled_from(sorted(SOUND)),
    flips=st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 255)), min_size=1, max_size=8),
    end=st.none() | st.integers(0, 5000),
    mend=st.booleans(),
)
def test_a_damaged_file_is_pixels_or_a_refusal(
    name: str, flips: list[tuple[int, int]], end: int | None, mend: bool
) -> None:
    data = bytearray(SOUND[name])
    for place, mask in flips:
        data[place % len(data)] ^= mask
    broken = mended(bytes(data)) if mend else bytes(data)

    try:
        pixels = decode(broken[:end], ImageLimits(pixels=2**20))
    except ImageRejected:
        return
    assert pixels.ndim == 3
    assert pixels.shape[-1] in (1, 3)
    assert pixels.dtype in (np.uint8, np.uint16)


def mended(data: bytes) -> bytes:
    """The chunks of a PNG file with checksums that fit what is in them."""
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        parts.append(chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return b"".join(parts)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(header(4, 4) + END, id="no pixels"),
        pytest.param(header(0, 4) + content(BYTE) + END, id="no columns"),
        pytest.param(header(W, H, 5) + content(BYTE) + END, id="no such colour type"),
        pytest.param(header(W, H, GREY, 3) + content(BYTE) + END, id="no such depth"),
        pytest.param(png(NUMBERS, PALETTE, 2), id="no palette"),
        pytest.param(SOUND["grey"][:8] + SOUND["grey"][33:], id="no header"),
        pytest.param(header(W, H) + chunk(b"IDAT", b"no zlib") + END, id="no zlib"),
        pytest.param(b"\xff\xd8\xff\xd9", id="JPEG without a segment"),
        pytest.param(b"\xff\xd8\xff\xdb\0\1\xff\xd9", id="segment too short"),
        pytest.param(
            saved(smooth(3)).replace(b"\x08\0\x20\0\x20", b"\x0c\0\x20\0\x20"), id="12 bits"
        ),
        pytest.param(
            saved(smooth(3)).replace(b"\x08\0\x20\0\x20", b"\x08\0\0\0\x20"), id="no rows"
        ),
    ],
)
def test_what_cannot_be_decoded_is_damaged(data: bytes) -> None:
    assert code(data) == "image_damaged"


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("deep"), AssertionError("odd")])
def test_whatever_the_decoder_raises_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load(self: PngImageFile) -> None:
        raise error

    monkeypatch.setattr(PngImageFile, "load", load)

    assert code(png(BYTE)) == "image_damaged"


# Limits


def test_the_limits_are_the_last_that_pass() -> None:
    data = png(BYTE)

    decode(data, ImageLimits(bytes=len(data), pixels=H * W))
    assert code(data, ImageLimits(bytes=len(data) - 1)) == "image_too_large"
    assert code(data, ImageLimits(pixels=H * W - 1)) == "image_too_many_pixels"


def test_a_bomb_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = header(20_000, 20_000) + chunk(b"IDAT", zlib.compress(b"")) + END

    def load(self: PngImageFile) -> None:
        raise AssertionError("a pixel was allocated")

    monkeypatch.setattr(PngImageFile, "load", load)

    assert len(bomb) == 65
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert code(bomb) == "image_too_many_pixels"


@pytest.mark.parametrize("size", [(65_535, 65_535), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1)])
def test_no_declared_size_is_too_large_to_be_refused(size: tuple[int, int]) -> None:
    data = header(*size) + content(BYTE) + END

    assert code(data) in ("image_too_many_pixels", "image_damaged")


@pytest.mark.parametrize("field", ["bytes", "pixels"])
def test_a_limit_is_at_least_one(field: str) -> None:
    with pytest.raises(ValidationError):
        ImageLimits(**{field: 0})


# Conversions


def test_luma_is_that_of_rec_601() -> None:
    pixels = samples(40, 50, 3).astype(np.uint8)

    grey = to_channels(pixels, 1)

    assert grey.dtype == np.uint8
    assert_array_equal(grey[..., 0], np.asarray(Image.fromarray(pixels).convert("L")))
    assert_allclose(grey[..., 0], pixels @ [0.299, 0.587, 0.114], atol=0.51)


def test_luma_of_16_bits_does_not_overflow() -> None:
    pixels = np.concatenate([samples(9, 9, 3, top=65535), np.full((1, 9, 3), 65535)])

    grey = to_channels(pixels.astype(np.uint16), 1)

    assert grey.dtype == np.uint16
    assert_allclose(grey[..., 0], pixels @ [0.299, 0.587, 0.114], atol=1.01)


@pytest.mark.parametrize("type_", [np.uint8, np.uint16])
def test_grey_goes_to_rgb_and_back_unchanged(type_: type[np.uint8 | np.uint16]) -> None:
    grey = np.arange(np.iinfo(type_).max + 1).astype(type_).reshape(16, -1, 1)

    assert to_channels(grey, 3).shape == (16, grey.shape[1], 3)
    assert_array_equal(to_channels(to_channels(grey, 3), 1), grey)


def test_as_many_channels_as_there_are_change_nothing() -> None:
    for channels in (1, 3):
        pixels = samples(4, 4, channels).astype(np.uint8)
        assert to_channels(pixels, channels) is pixels


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_other_numbers_of_channels_are_refused(channels: int) -> None:
    with pytest.raises(ConfigInvalid, match=r"1 \(grey\) or 3 \(RGB\)"):
        to_channels(samples(2, 2, 3).astype(np.uint8), channels)


@pytest.mark.parametrize("type_", [np.uint8, np.uint16])
def test_the_unit_interval_is_the_exact_quotient_rounded_once(
    type_: type[np.uint8 | np.uint16],
) -> None:
    top = np.iinfo(type_).max
    levels = np.arange(top + 1).astype(type_).reshape(1, -1, 1)

    unit = as_unit(levels)

    assert unit.dtype == np.float32
    assert (unit.min(), unit.max()) == (0, 1)
    assert_array_equal(unit[0, :, 0], (np.arange(top + 1) / top).astype(np.float32))
