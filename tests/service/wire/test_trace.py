"""The header `traceparent`, by the text of W3C Trace Context, level 1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.wire.trace import traceparent_of

TRACE, PARENT = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"
VALID = b"-".join((b"00", TRACE, PARENT, b"01"))


def test_the_example_of_the_standard_is_valid() -> None:
    assert traceparent_of(VALID) == VALID.decode()


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        VALID.upper(),
        VALID + b"-00",
        VALID[:-1],
        b" " + VALID,
        VALID + b"\n",
        VALID.replace(b"00-", b"ff-", 1),
        VALID.replace(TRACE, b"0" * 32),
        VALID.replace(PARENT, b"0" * 16),
        VALID.replace(b"-", b"_"),
    ],
)
def test_what_the_standard_calls_invalid_is_as_if_nothing_was_sent(header: bytes | None) -> None:
    assert traceparent_of(header) is None


@pytest.mark.parametrize("more", [b"", b"-", b"-what-comes-later"])
def test_of_a_later_version_the_known_part_is_read(more: bytes) -> None:
    assert traceparent_of(VALID.replace(b"00-", b"cc-", 1) + more) == VALID.decode()


@given(st.binary(max_size=80))
def test_no_header_is_too_strange_to_be_ignored(header: bytes) -> None:
    found = traceparent_of(header)

    assert found is None or found.encode() == b"00" + header[2:55]
