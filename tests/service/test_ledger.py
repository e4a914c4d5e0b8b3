"""What was scored is counted once, in its order, when many rows wait or someone looks."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from anomaly.arrays import Float64, Int64
from anomaly.detector import Verdicts
from anomaly.preprocessing.preprocessor import ColumnWarning, WarningCode
from anomaly.reference import Watched
from service.ledger import (
    BATCHES_TOGETHER,
    BYTES_TOGETHER,
    ROWS_SEEN,
    ROWS_TOGETHER,
    Ledger,
    Scored,
    drawn,
)


class Counted:
    """Remembers what it was told, and looks at every second row."""

    def __init__(self) -> None:
        self.calls: list[Scored] = []
        self.scores: list[float] = []

    def __call__(self, scored: Scored) -> None:
        self.calls.append(scored)
        self.scores += scored.scores.tolist()
        some = np.arange(0, len(scored), 2)
        np.testing.assert_array_equal(scored.pick(some).numbers[:, 0], scored.scores[some])


def add(
    ledger: Ledger,
    to: Callable[[Scored], None],
    scores: Float64,
    warnings: tuple[ColumnWarning, ...] = (),
    columns: int = 1,
) -> None:
    verdicts = Verdicts(scores, np.ones(len(scores)), scores > 5, 0.01, warnings)
    ledger.add(to, verdicts, Watched(np.repeat(scores[:, None], columns, axis=1)))


@given(st.lists(st.integers(0, 7), min_size=1, max_size=20), st.sets(st.integers(0, 19)))
def test_rows_are_counted_once_in_their_order_whoever_looks_between(
    sizes: list[int], looks: set[int]
) -> None:
    ledger, counted, sent = Ledger(), Counted(), np.arange(float(sum(sizes)))
    for place, scores in enumerate(np.split(sent, np.cumsum(sizes)[:-1])):
        add(ledger, counted, scores)
        if place in looks:
            ledger.settle()
    ledger.settle()

    assert counted.scores == sent.tolist()
    assert all(len(scored) for scored in counted.calls)


@pytest.mark.parametrize(
    ("batches", "rows", "columns"),
    [
        (1, ROWS_TOGETHER, 1),
        (BATCHES_TOGETHER, 1, 1),
        (1, 8, BYTES_TOGETHER // 64),
    ],
    ids=["rows", "batches", "bytes"],
)
def test_many_do_not_wait_for_someone_to_look(batches: int, rows: int, columns: int) -> None:
    ledger, counted = Ledger(), Counted()

    for _ in range(batches):
        assert not counted.calls
        add(ledger, counted, np.zeros(rows), columns=columns)

    assert len(counted.scores) == batches * rows


def test_each_version_counts_what_it_scored() -> None:
    ledger, old, new = Ledger(), Counted(), Counted()
    for to, score in ((old, 1.0), (old, 2.0), (new, 3.0), (old, 4.0)):
        add(ledger, to, np.array([score]))
    ledger.settle()

    assert (old.scores, new.scores) == ([1.0, 2.0, 4.0], [3.0])


def test_remarks_are_counted_by_what_and_column() -> None:
    def remark(column: str, rows: Int64) -> ColumnWarning:
        return ColumnWarning(WarningCode.MISSING_VALUE, column, rows)

    ledger, counted = Ledger(), Counted()
    add(ledger, counted, np.zeros(3), (remark("flow", np.array([2])),))
    both = (remark("flow", np.array([0, 1])), remark("speed", np.array([1])))
    add(ledger, counted, np.zeros(2), both)
    ledger.settle()

    (scored,) = counted.calls
    code = WarningCode.MISSING_VALUE
    assert scored.remarks == {(code, "flow"): 3, (code, "speed"): 1}


def test_what_cannot_be_counted_is_logged_and_hides_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(scored: Scored) -> None:
        raise ValueError(scored)

    ledger, counted = Ledger(), Counted()
    add(ledger, counted, np.ones(2))
    add(ledger, fails, np.ones(1))
    add(ledger, counted, np.full(2, 2.0))

    ledger.settle()

    assert counted.scores == [1.0, 1.0, 2.0, 2.0]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_who_adds_does_not_wait_for_who_counts() -> None:
    counts, goes_on, ledger, counted = Event(), Event(), Ledger(), Counted()

    def slow(scored: Scored) -> None:
        counts.set()
        assert goes_on.wait(20)

    add(ledger, slow, np.ones(1))
    scrape = Thread(target=ledger.settle)
    scrape.start()
    assert counts.wait(20)

    add(ledger, counted, np.zeros(2 * ROWS_TOGETHER))
    assert not counted.calls

    goes_on.set()
    scrape.join()
    ledger.settle()
    assert len(counted.scores) == 2 * ROWS_TOGETHER


def test_nothing_is_lost_while_threads_add_and_look() -> None:
    ledger, counted = Ledger(), Counted()

    def score() -> None:
        for number in range(300):
            add(ledger, counted, np.full(5, float(number)))
            if number % 10 == 0:
                ledger.settle()

    threads = [Thread(target=score) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.settle()

    assert sorted(counted.scores) == sorted(np.repeat(np.arange(300.0), 20).tolist())


@given(st.integers(1, 20_000), st.integers(0, 10))
def test_of_many_rows_some_are_drawn_from_all_of_them(rows: int, seed: int) -> None:
    found = drawn(rows, np.random.default_rng(seed))

    assert len(found) == min(rows, max(ROWS_SEEN, rows // 32))
    assert 0 <= found[0] <= found[-1] < rows
    assert np.diff(found, append=rows).max() <= 2 * -(-rows // len(found))
    assert (np.diff(found) > 0).all()


def test_every_row_is_as_likely_to_be_drawn() -> None:
    """Whatever the rhythm of a stream is, none of its beats is left out."""
    rng, rows = np.random.default_rng(0), 8 * ROWS_SEEN

    drawn_often = np.bincount(np.concatenate([drawn(rows, rng) for _ in range(400)]))

    assert stats.chisquare(drawn_often).pvalue > 0.001
