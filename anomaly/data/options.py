"""How a file is to be read, where the file itself does not say."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass as config_dataclass

from anomaly.data.schema import STRICT
from anomaly.errors import ConfigInvalid


@config_dataclass(frozen=True, config=STRICT)
class ImageLimits:
    """How large an image may be.

    Attributes:
        bytes: Of the file.
        pixels: Width times height.
    """

    bytes: Annotated[int, Field(ge=1)] = 20 * 2**20
    pixels: Annotated[int, Field(ge=1)] = 16 * 2**20


DEFAULT_LIMITS = ImageLimits()


@dataclass(frozen=True)
class ReadOptions:
    """How a file is to be read. Nothing here is guessed from the content.

    Attributes:
        delimiter: One ASCII character between the values; a `.tsv` file has tabs instead of the
            default comma.
        quote: One ASCII character around values that contain the delimiter; doubled inside.
        encoding: A Python codec. Without a byte order mark it is UTF-8 unless said otherwise.
        newlines_in_values: Whether a quoted value may go on in the next line.
        max_bytes: Cap on the decompressed size of a compressed file; None is no cap.
        max_ratio: Cap on decompressed over compressed size: text seldom exceeds 20, and a
            deflate bomb reaches 1,028.
        block_bytes: Bytes that are parsed at once. Large blocks do not stay in the cache, small
            ones pay for starting the parser: on 32 columns 1 MiB was the fastest.
        max_row_bytes: Cap on one row, so that a quote that is never closed, or a file without
            line ends, stops early instead of filling the memory.
        images: How large an image may be, where files are images or a table names some.

    Raises:
        ConfigInvalid: a delimiter, quote or encoding that cannot be.
    """

    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    newlines_in_values: bool = False
    max_bytes: int | None = 64 * 2**30
    max_ratio: float = 200.0
    block_bytes: int = 2**20
    max_row_bytes: int = 16 * 2**20
    images: ImageLimits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        for name, mark in (("delimiter", self.delimiter), ("quote", self.quote)):
            if len(mark) != 1 or not mark.isascii() or mark in "\r\n\0":
                raise ConfigInvalid(
                    f"{name} must be one ASCII character and no line end, got {mark!r}"
                )
        if self.delimiter == self.quote:
            raise ConfigInvalid(f"delimiter and quote are both {self.quote!r}: choose two")
        try:
            "".encode(self.encoding)
        except LookupError as error:
            raise ConfigInvalid(
                f"{self.encoding!r} is not a text encoding that Python knows; "
                "try utf-8, latin-1, cp1252 or utf-16"
            ) from error

    @property
    def is_utf8(self) -> bool:
        return codecs.lookup(self.encoding).name in ("utf-8", "utf-8-sig")

    def for_path(self, path: Path) -> ReadOptions:
        """The same options, with tabs between the values of a `.tsv` file."""
        is_tsv = ".tsv" in (suffix.lower() for suffix in path.suffixes[-2:])
        return replace(self, delimiter="\t") if is_tsv and self.delimiter == "," else self
