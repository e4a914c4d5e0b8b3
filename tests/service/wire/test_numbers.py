"""The quick reader: what it takes, it takes as the careful one does; what is odd, it leaves."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.data.schema import Column, Kind, Role, Schema
from anomaly.errors import AnomalyError
from service.settings import Limits
from service.wire.numbers import MOST_ORDERS, NumberReader
from service.wire.request import Reader, ScoreRequest, parse
from tests.service.pumps import SCHEMA

NAMES = ("a", "b", "c")
NUMBERS = Schema(
    (
        Column("a", Kind.NUMERIC, nullable=True),
        Column("id", Kind.CATEGORICAL, role=Role.ID),
        Column("b", Kind.NUMERIC, nullable=True),
        Column("c", Kind.NUMERIC, nullable=True),
    )
)
LIMITS = Limits(rows=4)

finite = st.floats(allow_nan=False, allow_infinity=False)
values = finite | st.integers(-(2**60), 2**60) | st.none()
odd_values = values | st.booleans() | st.text(max_size=2) | st.just([1.0])
rows = st.lists(st.lists(values, min_size=3, max_size=3), max_size=5)
odd_rows = st.lists(st.lists(odd_values, max_size=4) | st.none(), max_size=5)
names = st.permutations(NAMES) | st.lists(st.sampled_from([*NAMES, "id", "d"]), max_size=4)
records = st.lists(st.dictionaries(st.sampled_from([*NAMES, "id"]), odd_values), max_size=5)
rest = st.fixed_dictionaries(
    {},
    optional={
        "alpha": st.none() | st.floats(-1, 2) | st.booleans() | st.integers(0, 1),
        "mode": st.none() | st.sampled_from(["strict", "partial", "other"]) | st.integers(),
        "more": st.none(),
    },
)
bodies = st.one_of(
    st.builds(lambda n, r, o: {"columns": n, "rows": r, **o}, names, rows | odd_rows, rest),
    st.builds(lambda r, o: {"records": r, **o}, records, rest),
    st.builds(
        lambda n, r, k: {"columns": n, "rows": r, "records": k}, names, rows, st.none() | records
    ),
)


def outcome(body: bytes, schema: Schema, limits: Limits) -> ScoreRequest | tuple[str, str]:
    try:
        return parse(body, schema, limits)
    except AnomalyError as error:
        return error.code, str(error)


def assert_same(found: ScoreRequest, expected: ScoreRequest) -> None:
    assert found.records.columns.keys() == expected.records.columns.keys()
    for name, column in expected.records.columns.items():
        np.testing.assert_array_equal(found.records.columns[name], column)
    np.testing.assert_array_equal(found.rows, expected.rows)
    for part in ("n_rows", "ids", "alpha", "mode", "errors"):
        assert getattr(found, part) == getattr(expected, part)


@given(plain=bodies)
@settings(max_examples=600, deadline=None)
def test_whatever_is_sent_is_answered_as_by_the_careful_reader(plain: dict[str, Any]) -> None:
    body = json.dumps(plain).encode()
    expected = outcome(body, NUMBERS, LIMITS)
    try:
        found: ScoreRequest | tuple[str, str] = Reader(NUMBERS, LIMITS).read(body)
    except AnomalyError as error:
        found = error.code, str(error)

    if isinstance(expected, ScoreRequest):
        assert isinstance(found, ScoreRequest)
        assert_same(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize(
    "body",
    [
        {"columns": ["a", "b", "c"], "rows": [[1, 2.5, -3e-9]]},
        {"columns": ["c", "a", "b"], "rows": [[1, 2.5, -3e-9], [None, 4, 5]]},
        {"records": [{"b": 1, "a": 2.5, "c": -3e-9}], "alpha": 0.05, "mode": "partial"},
    ],
    ids=["rows", "turned, with a gap", "records"],
)
def test_usual_requests_are_taken(body: dict[str, Any]) -> None:
    """Or the other test would show nothing."""
    assert NumberReader(NUMBERS, LIMITS).read(json.dumps(body).encode()) is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"columns": ["a", "b", "c"], "rows": [[1, 2, 1e400]]}',
        b'{"columns": ["a", "b", "c"], "rows": [[1, 2, NaN]]}',
        b'{"columns": ["a", "b", "c"], "rows": [[1, 2, 9007199254740993]]}',
        b'{"columns": ["a", "b", "c"], "rows": [[null, null, 1]]}',
    ],
    ids=lambda body: body[-24:].decode(),
)
def test_what_is_odd_is_left_to_the_careful_reader(body: bytes) -> None:
    assert NumberReader(NUMBERS, LIMITS).read(body) is None


def test_a_table_of_other_kinds_is_left_to_the_careful_reader() -> None:
    assert NumberReader(SCHEMA, LIMITS).read(b'{"records": [{}]}') is None


def test_a_gap_where_none_may_be_is_left_to_the_careful_reader() -> None:
    strict = Schema(tuple(Column(name, Kind.NUMERIC, nullable=False) for name in NAMES))
    body = b'{"columns": ["a", "b", "c"], "rows": [[1, 2, null]]}'

    assert NumberReader(strict, LIMITS).read(body) is None


def test_orders_of_columns_are_not_remembered_without_end() -> None:
    wide = Schema(tuple(Column(f"x{n}", Kind.NUMERIC) for n in range(6)))
    reader = NumberReader(wide, LIMITS)
    rng = np.random.default_rng(0)

    for _ in range(3 * MOST_ORDERS):
        order = [f"x{n}" for n in rng.permutation(6)]
        row = [float(name[1:]) for name in order]
        found = reader.read(json.dumps({"columns": order, "rows": [row]}).encode())
        assert found is not None
        np.testing.assert_array_equal(found[0].numbers(wide.names), [np.arange(6.0)])
        assert len(reader._orders) <= MOST_ORDERS


def test_bodies_are_read_in_many_threads_at_once() -> None:
    """Orders come and go meanwhile; none is missed by whoever needs it."""
    wide = Schema(tuple(Column(f"x{n}", Kind.NUMERIC) for n in range(6)))
    reader = NumberReader(wide, Limits(rows=2000))
    rng = np.random.default_rng(0)
    bodies = []
    for _ in range(150):
        order = [f"x{n}" for n in rng.permutation(6)]
        rows = [[float(name[1:]) for name in order]] * 300
        bodies.append(json.dumps({"columns": order, "rows": rows}).encode())

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(reader.read, bodies * 3))

    for read in found:
        assert read is not None
        np.testing.assert_array_equal(read[0].numbers(wide.names)[0], np.arange(6.0))
