"""What the messages of an Arrow stream say of themselves, read before any of them is opened.

pyarrow unpacks a compressed buffer to whatever length the buffer claims, and copies a dictionary
anew for each addition to it. Neither has a limit, so streams with either are refused, by the
metadata of each message: a FlatBuffers table (https://flatbuffers.dev/internals/), of which this
module reads the few fields that it needs (Message.fbs and Schema.fbs of Arrow).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from pyarrow import ipc

from service.wire.refusals import NotATable

MOST_MESSAGES = 50_000
"""A stream of the most rows that are taken, each in a batch of its own, has fewer."""


class MessageHeader(IntEnum):
    """What a message is, by its number in Message.fbs."""

    SCHEMA = 1
    DICTIONARY = 2
    BATCH = 3


@dataclass(frozen=True)
class FlatTable:
    """A table within a FlatBuffers buffer.

    Attributes:
        at: Where it begins.
    """

    data: bytes
    at: int

    @staticmethod
    def root(data: bytes) -> FlatTable:
        """The outermost table."""
        return FlatTable(data, _number("<I", data, 0))

    def place(self, field: int) -> int:
        """Where the value of a field stands; 0 if it has its default."""
        vtable = self.at - _number("<i", self.data, self.at)
        slot = 4 + 2 * field
        if slot + 2 > _number("<H", self.data, vtable):
            return 0
        offset = _number("<H", self.data, vtable + slot)
        return self.at + offset if offset else 0

    def small(self, field: int) -> int:
        """An unsigned byte; 0 by default."""
        place = self.place(field)
        return _number("<B", self.data, place) if place else 0

    def table(self, field: int) -> FlatTable:
        """A table that must be there."""
        if not (place := self.place(field)):
            raise _refused("a message lacks its header")
        return FlatTable(self.data, place + _number("<I", self.data, place))


def check_messages(body: bytes) -> None:
    """Refuse a stream that could unpack to more than itself.

    Raises:
        NotATable: compressed, in pieces that repeat each other, of the other byte order, or of more
            messages than any sound stream.
        pyarrow.ArrowException, OSError: it is no stream, or cut off.
    """
    for number, message in enumerate(ipc.MessageReader.open_stream(body)):
        if number >= MOST_MESSAGES:
            raise _refused("there are too many messages; write more rows into each batch")
        _check(FlatTable.root(message.metadata.to_pybytes()))


def _check(message: FlatTable) -> None:
    header = message.table(2)
    match message.small(1):
        case MessageHeader.SCHEMA:
            if header.small(0):
                raise _refused("its byte order is big-endian; write it little-endian")
        case MessageHeader.DICTIONARY:
            if header.small(2):
                raise _refused("it adds to its dictionaries; write each dictionary once")
            _check_batch(header.table(1))
        case MessageHeader.BATCH:
            _check_batch(header)
        case _:
            raise _refused("it holds something else than batches of rows")


def _check_batch(batch: FlatTable) -> None:
    if batch.place(3):
        raise _refused("its buffers are compressed; write it without compression")


def _number(form: str, data: bytes, at: int) -> int:
    """The number there.

    Raises:
        NotATable: it lies outside of the data.
    """
    if at < 0 or at + struct.calcsize(form) > len(data):
        raise _refused("a message is damaged")
    found: int = struct.unpack_from(form, data, at)[0]
    return found


def _refused(why: str) -> NotATable:
    return NotATable(f"the Arrow stream is not read: {why}.", code="arrow_invalid")
