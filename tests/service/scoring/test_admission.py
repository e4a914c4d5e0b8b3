"""What is expected of a body by its length, and who is turned away for it."""

from __future__ import annotations

import pytest

from service.scoring.admission import Admission


class Full(Exception):
    """There is no room."""


class Room:
    """For so many rows, as the queue has it."""

    def __init__(self, most: int) -> None:
        self.most = most

    def check(self, rows: int, coming: int) -> None:
        if coming and coming + rows > self.most:
            raise Full


def test_before_anything_is_known_every_body_is_one_row() -> None:
    assert Admission(Room(5).check).expect(10**9) == 1


def test_a_body_is_expected_to_have_the_rows_of_those_before() -> None:
    admission = Admission(Room(5).check)

    admission.learn(2400, rows=10)

    assert admission.expect(480) == 2
    assert admission.expect(0) == 1


def test_of_formats_that_take_turns_the_wider_one_counts() -> None:
    """Nobody is turned away for the rows that another format would have."""
    admission = Admission(Room(5).check)
    for _ in range(100):
        admission.learn(1000, rows=100)
        admission.learn(1000, rows=1)

    assert admission.expect(1000) == 1


def test_what_no_longer_comes_is_forgotten() -> None:
    admission = Admission(Room(5).check)
    admission.learn(100_000, rows=1)

    for _ in range(200):
        admission.learn(1000, rows=100)

    assert admission.expect(1000) == 100


def test_room_is_kept_while_a_body_is_parsed_and_given_back_whatever_comes_of_it() -> None:
    admission = Admission(Room(4).check)
    admission.learn(100, rows=1)

    with admission.parsing(300):
        assert admission.expect(100) == 1
        with pytest.raises(Full):
            admission.expect(200)
        with pytest.raises(Full), admission.parsing(200):
            pytest.fail("it was let in")
        with pytest.raises(ValueError, match="at fault"), admission.parsing(100):
            raise ValueError("at fault")
        assert admission.expect(100) == 1

    assert admission.expect(10_000) == 100
