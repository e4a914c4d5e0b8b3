"""What a Parquet body unpacks to, read from the headers of its pages before any is unpacked.

The footer of a file may say anything: pyarrow allocates what the header of each page says. So the
headers are read here, and their sum is held against a limit. A header is a struct of the Thrift
compact protocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md);
its fields are those of parquet.thrift.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from pyarrow import parquet

from service.wire.refusals import NotATable

DELTA_BYTE_ARRAY = 7
"""The encoding of text by what it shares with the text before: a few bytes repeat a megabyte."""

MOST_PAGES = 50_000

_UNPACKED, _PACKED, _DATA, _DATA_V2 = 2, 3, 5, 8
"""Fields of PageHeader: sizes in bytes, and the headers of the two kinds of data pages."""

_ENCODING = {_DATA: 2, _DATA_V2: 4}
"""In which field of these the encoding stands."""

DEEPEST = 8
"""Structs within structs; a page header has two."""

Fields: TypeAlias = dict[int, Any]


@dataclass
class Cursor:
    """A place in the bytes, moving forward."""

    data: memoryview
    at: int

    def byte(self) -> int:
        if not 0 <= self.at < len(self.data):
            raise _refused("a page header is damaged")
        self.at += 1
        return self.data[self.at - 1]

    def skip(self, count: int) -> None:
        self.at += count

    def varint(self) -> int:
        """An unsigned number, seven bits in each byte."""
        found = shift = 0
        while True:
            byte = self.byte()
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found
            shift += 7
            if shift > 63:
                raise _refused("a page header is damaged")

    def zigzag(self) -> int:
        """A signed number."""
        found = self.varint()
        return (found >> 1) ^ -(found & 1)

    def struct(self, depth: int = 0) -> Fields:
        """The numbers and structs of a struct, by field; the rest is passed over."""
        if depth > DEEPEST:
            raise _refused("a page header is damaged")
        fields: Fields = {}
        field = 0
        while head := self.byte():
            step = head >> 4
            field = field + step if step else self.zigzag()
            fields[field] = self._value(head & 0x0F, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        match kind:
            case 1 | 2:  # true and false, without a byte of their own
                return kind == 1
            case 3:
                return self.byte()
            case 4 | 5 | 6:  # integers of 16, 32 and 64 bits
                return self.zigzag()
            case 7:  # double
                return self.skip(8)
            case 8:  # binary
                return self.skip(self.varint())
            case 12:
                return self.struct(depth + 1)
        raise _refused("a page header is damaged")


def unpacked_bytes(body: bytes, metadata: parquet.FileMetaData, columns: Iterable[int]) -> int:
    """What the pages of these columns unpack to, in bytes, by their own headers.

    Raises:
        NotATable: a header is damaged, there are too many, or a column is encoded so that it
            unpacks to more than its pages say.
    """
    total = pages = 0
    data = memoryview(body)
    wanted = sorted(columns)
    for group in range(metadata.num_row_groups):
        for column in wanted:
            chunk = metadata.row_group(group).column(column)
            if not chunk.num_values:
                continue  # and nothing of it is read, wherever its pages are
            start = chunk.data_page_offset
            if 0 < (dictionary := chunk.dictionary_page_offset or 0) < start:
                start = dictionary
            cursor = Cursor(data, start)
            while cursor.at < start + chunk.total_compressed_size:
                header = cursor.struct()
                total += _size(header, _UNPACKED)
                cursor.skip(_size(header, _PACKED))
                pages += 1
                if pages > MOST_PAGES:
                    raise _refused("there are too many pages; write more rows into each")
                _check_encoding(header)
    return total


def _size(header: Fields, field: int) -> int:
    found = header.get(field)
    if type(found) is not int or found < 0:
        raise _refused("a page header is damaged")
    return found


def _check_encoding(header: Fields) -> None:
    for kind, field in _ENCODING.items():
        page = header.get(kind)
        if isinstance(page, dict) and page.get(field) == DELTA_BYTE_ARRAY:
            raise _refused(
                "text is encoded as DELTA_BYTE_ARRAY, which is not read; write it plain or with a "
                "dictionary"
            )


def _refused(why: str) -> NotATable:
    return NotATable(f"the Parquet file is not read: {why}.", code="parquet_invalid")
