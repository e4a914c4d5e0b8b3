"""What callers hold together is bounded; one alone is never refused; all of it is given back."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batcher import Overloaded
from service.scoring.memory import Memory


def test_one_alone_may_hold_more_than_the_bound() -> None:
    memory = Memory(10)

    with memory.share() as share:
        share.take(8)
        share.take(100)
        assert memory.held_bytes == 108


def test_what_does_not_fit_beside_the_others_is_refused_and_not_held() -> None:
    memory = Memory(10)

    with memory.share() as first, memory.share() as second:
        first.take(8)
        second.take(2)
        with pytest.raises(Overloaded, match="Try again"):
            second.take(1)
        with pytest.raises(Overloaded):
            first.take(1)
        assert memory.held_bytes == 10


def test_what_was_held_is_given_back_whatever_happened() -> None:
    memory = Memory(10)

    with suppress(ZeroDivisionError), memory.share() as share:
        share.take(8)
        raise ZeroDivisionError

    assert memory.held_bytes == 0


@given(st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=2, max_size=6))
def test_several_never_hold_more_than_the_bound(wishes: list[list[int]]) -> None:
    memory = Memory(20)

    def serve(rest: list[list[int]], others: int) -> None:
        if not rest:
            return
        with memory.share() as share:
            for count in rest[0]:
                try:
                    share.take(count)
                except Overloaded:
                    break
                assert memory.held_bytes <= 20 or not others
            serve(rest[1:], others + share.held_bytes)

    serve(wishes, 0)
    assert memory.held_bytes == 0
