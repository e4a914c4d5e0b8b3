"""From a file to UTF-8 bytes: decompressed within bounds, checked, transcoded if asked."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from anomaly.data.options import ReadOptions
from anomaly.errors import BadData

_GZIP_MAGIC = b"\x1f\x8b"
_BOM = "\ufeff".encode()

RATIO_FROM_BYTES = 2**20
"""The ratio is judged from here on: a small file may be a single value many times over."""


@contextmanager
def open_text(path: Path, options: ReadOptions) -> Iterator[Iterator[bytes]]:
    """The text of a plain or gzip file as UTF-8 chunks of at most about `block_bytes`.

    A character may be split between two chunks. A byte order mark at the start is dropped.

    Raises:
        OSError: the file cannot be opened or read.
        BadData: while iterating, with `code` ``gzip_truncated``, ``gzip_damaged``,
            ``decompressed_too_large`` or ``encoding``.
    """
    with path.open("rb") as file:
        is_gzip = file.read(2) == _GZIP_MAGIC or path.suffix.lower() == ".gz"
        file.seek(0)
        chunks = inflate(file, options) if is_gzip else read(file, options)
        yield without_bom(checked(chunks) if options.is_utf8 else transcoded(chunks, options))


def read(file: BinaryIO, options: ReadOptions) -> Iterator[bytes]:
    """The bytes of an open file, `block_bytes` at a time."""
    while chunk := file.read(options.block_bytes):
        yield chunk


def inflate(file: BinaryIO, options: ReadOptions) -> Iterator[bytes]:
    """The decompressed bytes of a gzip file of one or more members.

    Never decompresses more than one block beyond the cap: a bomb costs no memory.

    Raises:
        BadData: the file ends too early, is damaged, or unpacks to too much.
    """
    total = 0
    with gzip.GzipFile(fileobj=file) as unzipped:
        try:
            while chunk := unzipped.read(options.block_bytes):
                total += len(chunk)
                check_size(total, file.tell(), options)
                yield chunk
        except EOFError as error:
            raise BadData(
                f"the gzip file ends in the middle of its data, after {total:,} decompressed "
                "bytes: it was not copied or written completely. Get it again.",
                code="gzip_truncated",
            ) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise BadData(
                f"not a sound gzip file ({error}). Get it again, or drop the .gz from its name "
                "if it is not compressed.",
                code="gzip_damaged",
            ) from error


def check_size(total: int, compressed: int, options: ReadOptions) -> None:
    """Refuse a file that unpacks to more than the cap, or at more than the ratio."""
    if options.max_bytes is not None and total > options.max_bytes:
        raise BadData(
            f"unpacks to more than the {options.max_bytes:,} bytes that are allowed. "
            "If that is right, raise `max_bytes` or decompress the file first.",
            code="decompressed_too_large",
        )
    if total > RATIO_FROM_BYTES and total > options.max_ratio * compressed:
        raise BadData(
            f"unpacks to more than {options.max_ratio:g} times its size, which tables do not. "
            "If that is right, raise `max_ratio` or decompress the file first.",
            code="decompressed_too_large",
        )


def checked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same chunks, refused at the first byte that is not UTF-8 text.

    Raises:
        BadData: `code` ``encoding``; the message names the byte offset.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    for chunk in chunks:
        nul = chunk.find(b"\0")
        text = chunk if nul < 0 else chunk[:nul]
        # Plain ASCII between whole characters needs no decoding: it is most of most tables.
        if not (text.isascii() and not decoder.getstate()[0]):
            decode(decoder, text, offset + len(text), "utf-8", final=nul >= 0)
        if nul >= 0:
            raise BadData(
                f"byte {offset + nul} is NUL, which no text has. If the file is UTF-16, say "
                "--encoding utf-16; otherwise it is damaged or no text file.",
                code="encoding",
            )
        offset += len(chunk)
        yield chunk
    decode(decoder, b"", offset, "utf-8", final=True)


def transcoded(chunks: Iterator[bytes], options: ReadOptions) -> Iterator[bytes]:
    """The chunks as UTF-8, from the encoding that was asked for.

    Raises:
        BadData: `code` ``encoding``; the message names the byte offset.
    """
    decoder = codecs.getincrementaldecoder(options.encoding)()
    offset = 0
    for chunk in chunks:
        offset += len(chunk)
        yield encode(decode(decoder, chunk, offset, options.encoding), offset, options)
    yield encode(decode(decoder, b"", offset, options.encoding, final=True), offset, options)


def decode(
    decoder: codecs.IncrementalDecoder, data: bytes, end: int, encoding: str, final: bool = False
) -> str:
    """Decode the bytes that end at offset `end`, naming the offset of the first bad one."""
    try:
        return decoder.decode(data, final)
    except UnicodeDecodeError as error:
        # `error.object` begins with what the decoder had kept of the chunk before.
        at = end - len(error.object) + error.start
        raise BadData(
            f"byte {at} (0x{error.object[error.start]:02x}) is not {encoding} text "
            f"({error.reason}). Save the file as UTF-8, or name its encoding, such as "
            "--encoding latin-1, cp1252 or utf-16; it is not guessed.",
            code="encoding",
        ) from error
    except UnicodeError as error:  # UTF-16 without a byte order mark
        raise BadData(
            f"not {encoding} text, before byte {end}: {error}. Name the byte order, "
            "such as --encoding utf-16-le.",
            code="encoding",
        ) from error


def encode(text: str, end: int, options: ReadOptions) -> bytes:
    """As UTF-8; NUL is refused, as it is in UTF-8 files."""
    if "\0" in text:
        raise BadData(
            f"holds a NUL character before byte {end}, read as {options.encoding}: "
            "that is probably not its encoding.",
            code="encoding",
        )
    try:
        return text.encode()
    except UnicodeEncodeError as error:  # such as utf-7, which lets lone surrogates through
        raise BadData(
            f"holds a character that is no text before byte {end}: {error.reason}",
            code="encoding",
        ) from error


def without_bom(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks without a byte order mark at the start, and without empty ones."""
    start = b""
    for chunk in chunks:
        start += chunk
        if len(start) >= len(_BOM):
            break
    if start := start.removeprefix(_BOM):
        yield start
    yield from filter(None, chunks)
