"""Bytes to JSON: what is not JSON says where, what is too deep says so."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.wire.refusals import NotJSON
from service.wire.text import decode

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@given(plain)
def test_it_reads_what_the_standard_library_reads(value: Any) -> None:
    text = json.dumps(value)

    assert decode(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    ("body", "at"),
    [
        (b'{"rows": [1, }', 13),
        (b"[1, 2]x", 6),
        (b"\xef\xbb\xbf[]", 0),
        ('{"ä": [1 2]}'.encode(), 10),
        (b'{"a": "\xff"}', 7),
        (b'["a\nb"]', 3),
        (b"[01]", 2),
        (b"{'a': 1}", 1),
    ],
)
def test_what_is_not_json_says_at_which_byte(body: bytes, at: int) -> None:
    with pytest.raises(NotJSON, match=rf"byte {at}\b") as refused:
        decode(body)

    assert refused.value.code == "json_invalid"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le"])
def test_another_encoding_is_not_json(encoding: str) -> None:
    with pytest.raises(NotJSON) as refused:
        decode('{"rows": []}'.encode(encoding))

    assert refused.value.code == "json_invalid"


@pytest.mark.parametrize("depth", [5_000, 100_000, 1_000_000])
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_depth_bomb_is_refused_as_such(depth: int, opening: bytes) -> None:
    with pytest.raises(NotJSON) as refused:
        decode(opening * depth)

    assert refused.value.code == "json_depth"


def test_numbers_that_are_none_pass_so_that_their_place_can_be_named() -> None:
    value = decode(b'[NaN, Infinity, -1e400, "\\ud800", ' + b"9" * 5000 + b"]")

    assert math.isnan(value[0])
    assert value[1:4] == [math.inf, -math.inf, "\ud800"]
    assert value[4] > 10**300
