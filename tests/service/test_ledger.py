"""What was scored is counted once, in its order, when many rows wait or someone looks."""

from __future__ import annotations

from threading import Thread

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anomaly.arrays import Float64, Int64
from anomaly.detector import Verdicts
from anomaly.preprocessing.preprocessor import ColumnWarning, WarningCode
from anomaly.reference import Watched
from service.ledger import ROWS_TOGETHER, VALUES_TOGETHER, Ledger, Pick


def verdicts(scores: Float64, warnings: tuple[ColumnWarning, ...] = ()) -> Verdicts:
    return Verdicts(scores, np.ones(len(scores)), scores > 5, 0.01, warnings)


class Counted:
    """Remembers what it was told, and looks at every second row."""

    def __init__(self) -> None:
        self.calls: list[Verdicts] = []
        self.scores: list[float] = []

    def __call__(self, verdicts: Verdicts, pick: Pick) -> None:
        self.calls.append(verdicts)
        self.scores += verdicts.scores.tolist()
        some = np.arange(0, len(verdicts), 2)
        np.testing.assert_array_equal(pick(some).numbers[:, 0], verdicts.scores[some])


def add(ledger: Ledger, to: Counted, scores: Float64, columns: int = 1) -> None:
    ledger.add(to, verdicts(scores), Watched(scores[:, None]), columns)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=20), st.sets(st.integers(0, 19)))
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


def test_many_rows_do_not_wait_for_someone_to_look() -> None:
    ledger, counted = Ledger(), Counted()

    add(ledger, counted, np.zeros(ROWS_TOGETHER - 1))
    assert not counted.calls
    add(ledger, counted, np.zeros(1))
    assert len(counted.scores) == ROWS_TOGETHER

    add(ledger, counted, np.zeros(8), columns=VALUES_TOGETHER // 8)
    assert len(counted.scores) == ROWS_TOGETHER + 8


def test_each_version_counts_what_it_scored() -> None:
    ledger, old, new = Ledger(), Counted(), Counted()
    for to, score in ((old, 1.0), (old, 2.0), (new, 3.0), (old, 4.0)):
        add(ledger, to, np.array([score]))
    ledger.settle()

    assert (old.scores, new.scores) == ([1.0, 2.0, 4.0], [3.0])


def test_remarks_name_the_same_rows_as_before() -> None:
    def remark(rows: Int64) -> tuple[ColumnWarning, ...]:
        return (ColumnWarning(WarningCode.MISSING_VALUE, "flow", rows),)

    together = Verdicts.together(
        [
            verdicts(np.zeros(3), remark(np.array([2]))),
            verdicts(np.full(2, 6.0), remark(np.array([0, 1]))),
        ]
    )

    assert [warning.rows.tolist() for warning in together.warnings] == [[2], [3, 4]]
    assert together.is_anomaly.tolist() == [False] * 3 + [True] * 2


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
