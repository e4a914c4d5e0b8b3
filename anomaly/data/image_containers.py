"""PNG and JPEG files without what no pixel needs.

Text, colour profiles, previews, animations and comments are left out before a decoder sees the
file. They are where a few kilobytes unpack to gigabytes, and where a decoder in Python spends
minutes: a reader that keeps every profile of a file unpacks thousands of them, and one that joins
EXIF blocks copies them again for each. What is left is read in time linear in the file.

The orientation of EXIF is read here too, by its one tag, for the same reason.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NoReturn

from anomaly.errors import ImageRejected


class Format(StrEnum):
    """The formats that are read, told by their first bytes."""

    PNG = "PNG"
    JPEG = "JPEG"


MAGIC = {Format.PNG: b"\x89PNG\r\n\x1a\n", Format.JPEG: b"\xff\xd8\xff"}

UPRIGHT = 1

MOST_CHUNKS = 2**16
"""Of a PNG file. Encoders write 8 KiB and more a chunk."""

MOST_SEGMENTS = 2**12
"""Of a JPEG file. A profile takes 255 at most."""

MOST_SCANS = 100
"""Of a progressive JPEG file. Encoders write about ten; each passes over all pixels again."""


@dataclass(frozen=True)
class Essentials:
    """An image file with nothing in it but its pixels.

    Attributes:
        data: A file of that format.
        orientation: 1 to 8, as EXIF numbers them; 1 is upright.
        key: The grey level or the colour that is transparent, in the units of the decoded pixels,
            or None. A palette keeps its transparency in `data`.
        is_grey: Whether a PNG file says that it is grey, with or without alpha.
    """

    format: Format
    data: bytes
    orientation: int = UPRIGHT
    key: tuple[int, ...] | None = None
    is_grey: bool = False


def essentials(data: bytes) -> Essentials:
    """What the pixels of a file need.

    Raises:
        ImageRejected: `image_format`, `image_truncated` or `image_damaged`.
    """
    match format_of(data):
        case Format.PNG:
            return png_essentials(data)
        case Format.JPEG:
            return jpeg_essentials(data)


def format_of(data: bytes) -> Format:
    """The format by content; names are not looked at.

    Raises:
        ImageRejected: another format, or too few bytes to tell.
    """
    for format_, magic in MAGIC.items():
        if data.startswith(magic):
            return format_
        if magic.startswith(data):
            refuse_truncated()
    raise ImageRejected(
        f"neither PNG nor JPEG: the content begins with {data[:8]!r}, whatever the name says. "
        "Convert the image to PNG.",
        code="image_format",
    )


# PNG: a signature, then chunks of length, kind, body and checksum.

KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT"})

GREY, COLOUR, PALETTE, GREY_ALPHA = 0, 2, 3, 4


def png_essentials(data: bytes) -> Essentials:
    """Header, palette, transparency and the pixels in one chunk.

    Of an animation this is the default image, the one that a reader of still images shows.

    Raises:
        ImageRejected: `image_truncated` before the end chunk, or `image_damaged`.
    """
    parts: dict[bytes, bytes] = {}
    pixels: list[memoryview] = []
    for kind, body in png_chunks(data):
        if kind == b"IDAT":
            pixels.append(body)
        else:
            parts.setdefault(kind, bytes(body))
    header = parts.get(b"IHDR", b"")
    if len(header) != 13:
        refuse_damaged("it has no header")
    depth, colour = header[8], header[9]
    kept = [b"IHDR"]
    if colour == PALETTE:
        if b"PLTE" not in parts:
            refuse_damaged("it has no palette, although its pixels are numbers of one")
        kept += [kind for kind in (b"PLTE", b"tRNS") if kind in parts]
    chunks = [png_chunk(kind, parts[kind]) for kind in kept]
    content = png_chunk(b"IDAT", b"".join(pixels)), png_chunk(b"IEND", b"")
    return Essentials(
        Format.PNG,
        b"".join((MAGIC[Format.PNG], *chunks, *content)),
        exif_orientation(parts.get(b"eXIf", b"")),
        transparent_key(depth, colour, parts.get(b"tRNS", b"")),
        colour in (GREY, GREY_ALPHA),
    )


def png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and body of each chunk that is kept, up to the end chunk; every checksum is verified."""
    view = memoryview(data)
    start = len(MAGIC[Format.PNG])
    for _ in range(MOST_CHUNKS):
        if start + 12 > len(data):
            refuse_truncated()
        (length,), kind = struct.unpack_from(">I", data, start), data[start + 4 : start + 8]
        end = start + 12 + length
        if not kind.isalpha():
            refuse_damaged(f"{kind!r} is no kind of chunk")
        if end > len(data):
            refuse_truncated()
        if zlib.crc32(view[start + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            refuse_damaged(f"the checksum of the chunk {kind.decode()} is wrong")
        if kind == b"IEND":
            return
        if kind in KEPT:
            yield kind, view[start + 8 : end - 4]
        start = end
    refuse_damaged(f"it has more than {MOST_CHUNKS:,} chunks")


def png_chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)))


def transparent_key(depth: int, colour: int, body: bytes) -> tuple[int, ...] | None:
    """The transparent level or colour as decoding scales it.

    Levels of less than 8 bits are spread over 0 to 255, as the decoder does. Colours of 16 bits are
    decoded to their upper 8, so that all colours that share them are transparent.
    """
    channels = {GREY: 1, COLOUR: 3}.get(colour, 0)
    if not channels or len(body) < 2 * channels:
        return None
    samples = struct.unpack_from(f">{channels}H", body)
    if depth == 16:
        return samples if colour == GREY else tuple(sample >> 8 for sample in samples)
    top = 2**depth - 1
    return tuple((sample & top) * 255 // top for sample in samples)


# JPEG: segments of marker, length and body; after the head of a scan its entropy-coded data, in
# which 0xFF is followed by 0 or a restart marker.

SOI, EOI, SOS, TEM, APP0, APP1, APP14 = 0xD8, 0xD9, 0xDA, 0x01, 0xE0, 0xE1, 0xEE

MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
"""Any but a restart marker; what stands between segments is skipped, as libjpeg does."""

EXIF = b"Exif\0\0"

COLOUR_HINTS = {APP0: b"JFIF\0", APP14: b"Adobe"}
"""The two application segments that say how the channels are to be understood."""


def jpeg_essentials(data: bytes) -> Essentials:
    """Tables, frame and scans up to the end of the first image.

    Raises:
        ImageRejected: `image_truncated` before the end marker, or `image_damaged`.
    """
    parts = [b"\xff\xd8"]
    exif: bytes | None = None
    hints = dict(COLOUR_HINTS)
    scans = 0
    for marker, body, segment in jpeg_segments(data):
        scans += marker == SOS
        if scans > MOST_SCANS:
            refuse_damaged(f"it has more than {MOST_SCANS} scans")
        if marker < APP0:
            parts.append(segment)
        elif marker in hints and body.startswith(hints[marker]):
            del hints[marker]
            parts.append(segment)
        elif marker == APP1 and exif is None and body.startswith(EXIF):
            exif = body.removeprefix(EXIF)
    return Essentials(Format.JPEG, b"".join((*parts, b"\xff\xd9")), exif_orientation(exif or b""))


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, body and the whole of each segment, a scan with its data, up to the end marker."""
    at = 2
    for _ in range(MOST_SEGMENTS):
        found = MARKER.search(data, at) or refuse_truncated()
        start, at, marker = found.start(), found.end(), found[1][0]
        if marker == EOI:
            return
        if marker in (SOI, TEM):
            continue
        if at + 2 > len(data):
            refuse_truncated()
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2:
            refuse_damaged(f"a segment is {length} bytes long, and 2 is the least")
        body, at = slice(at + 2, at + length), at + length
        if at > len(data):
            refuse_truncated()
        if marker == SOS:
            at = (MARKER.search(data, at) or refuse_truncated()).start()
        yield marker, data[body], data[start:at]
    refuse_damaged(f"it has more than {MOST_SEGMENTS:,} segments")


# EXIF: a TIFF directory of 12-byte entries.

ORIENTATION = 0x0112
VALUE_SIZES = {1: 1, 3: 2, 4: 4}  # of the types byte, short and long
BYTE_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}


def exif_orientation(exif: bytes) -> int:
    """The orientation that an EXIF block gives, 1 to 8; 1 if it gives none or cannot be read."""
    order = BYTE_ORDERS.get(exif[:4])
    if order is None:
        return UPRIGHT
    first = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[first : first + 2], order)
    for n in range(count):
        entry = exif[first + 2 + 12 * n : first + 14 + 12 * n]
        if len(entry) < 12:
            break
        if int.from_bytes(entry[:2], order) == ORIENTATION:
            size = VALUE_SIZES.get(int.from_bytes(entry[2:4], order), 0)
            value = int.from_bytes(entry[8 : 8 + size], order)
            return value if value in range(1, 9) else UPRIGHT
    return UPRIGHT


def refuse_truncated() -> NoReturn:
    raise ImageRejected(
        "the file ends before the image does. It was cut off; copy or write it again.",
        code="image_truncated",
    )


def refuse_damaged(reason: str) -> NoReturn:
    raise ImageRejected(
        f"the image cannot be decoded: {reason}. It is damaged; copy or write it again.",
        code="image_damaged",
    )
