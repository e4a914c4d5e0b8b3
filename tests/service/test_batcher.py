"""The batcher: everyone gets exactly their own, whatever arrives together and whatever fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batcher import Batcher, BatchReport, Overloaded

Job = tuple[int, ...]


class Doubler:
    """Doubles numbers; remembers what it was asked together, and refuses what it is told to."""

    def __init__(self, poison: frozenset[int] = frozenset()) -> None:
        self.poison = poison
        self.asked: list[list[Job]] = []

    def __call__(self, jobs: Sequence[Job]) -> list[Job]:
        self.asked.append(list(jobs))
        for job in jobs:
            if self.poison & set(job):
                raise ValueError(f"poison in a batch of {len(jobs)}")
        return [tuple(2 * number for number in job) for job in jobs]


def ignore(_: BatchReport) -> None:
    """Nobody looks."""


def batcher(
    compute: Doubler, max_rows: int = 1000, max_batch_rows: int = 1000
) -> Batcher[Job, Job]:
    return Batcher(compute, max_rows, max_batch_rows, ignore)


jobs_of_callers = st.lists(
    st.tuples(
        st.lists(st.integers(0, 20), min_size=1, max_size=5).map(tuple),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=60, deadline=None)
@given(callers=jobs_of_callers, poison=st.frozensets(st.integers(0, 20), max_size=3))
def test_every_caller_gets_its_own_rows_or_its_own_error(
    callers: list[tuple[Job, int]], poison: frozenset[int]
) -> None:
    async def main() -> list[Job | BaseException]:
        shared = batcher(Doubler(poison), max_batch_rows=7)

        async def call(job: Job, delay: int) -> Job:
            for _ in range(delay):
                await asyncio.sleep(0)
            return await shared.enqueue(job, len(job))

        answers = await asyncio.gather(
            *(call(job, delay) for job, delay in callers), return_exceptions=True
        )
        await shared.close()
        return list(answers)

    for (job, _), answer in zip(callers, asyncio.run(main()), strict=True):
        if poison & set(job):
            # Alone: the others were not what it failed with.
            assert str(answer) == "poison in a batch of 1"
        else:
            assert answer == tuple(2 * number for number in job)


def test_what_arrives_in_one_tick_is_one_batch() -> None:
    compute = Doubler()

    async def main() -> None:
        shared = batcher(compute)
        await asyncio.gather(*(shared.enqueue((i,), 1) for i in range(10)))
        await shared.close()

    asyncio.run(main())

    assert compute.asked == [[(i,) for i in range(10)]]


def test_a_batch_holds_no_more_rows_than_it_may_and_no_job_is_split() -> None:
    compute = Doubler()

    async def main() -> None:
        shared = batcher(compute, max_batch_rows=4)
        await asyncio.gather(*(shared.enqueue((i,) * 3, 3) for i in range(3)))
        await shared.enqueue((9,) * 100, 100)
        await shared.close()

    asyncio.run(main())

    assert [[len(job) for job in jobs] for jobs in compute.asked] == [[3], [3], [3], [100]]


class Gate:
    """Computes only when it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.asked: list[Job] = []

    def __call__(self, jobs: Sequence[Job]) -> list[Job]:
        self.asked += jobs
        self.entered.set()
        assert self.open.wait(30)
        return list(jobs)


async def until(event: threading.Event) -> None:
    while not event.is_set():
        await asyncio.sleep(0.001)


def test_a_full_queue_turns_rows_away_and_takes_them_again_later() -> None:
    async def main() -> None:
        gate = Gate()
        shared = Batcher(gate, max_rows=4, max_batch_rows=100, on_batch=ignore)
        first = asyncio.ensure_future(shared.enqueue((0,), 1))
        await until(gate.entered)
        waiting = [asyncio.ensure_future(shared.enqueue((i, i), 2)) for i in (1, 2)]
        await asyncio.sleep(0)

        assert (shared.waiting_rows, shared.is_full) == (4, True)
        with pytest.raises(Overloaded) as refused:
            await shared.enqueue((3,), 1)
        assert (refused.value.rows, refused.value.retry_seconds) == (1, 1)

        gate.open.set()
        assert await first == (0,)
        assert await asyncio.gather(*waiting) == [(1, 1), (2, 2)]
        assert shared.waiting_rows == 0
        assert await shared.enqueue((3,), 1) == (3,)
        await shared.close()

    asyncio.run(main())


def test_a_job_larger_than_the_queue_is_taken_when_nothing_waits() -> None:
    async def main() -> Job:
        shared = batcher(Doubler(), max_rows=4)
        answer = await shared.enqueue((1,) * 50, 50)
        await shared.close()
        return answer

    assert asyncio.run(main()) == (2,) * 50


def test_a_job_that_nobody_waits_for_is_never_computed() -> None:
    async def main() -> list[Job]:
        gate = Gate()
        shared = Batcher(gate, max_rows=100, max_batch_rows=100, on_batch=ignore)
        first = asyncio.ensure_future(shared.enqueue((0,), 1))
        await until(gate.entered)
        gone = asyncio.ensure_future(shared.enqueue((1,), 1))
        stays = asyncio.ensure_future(shared.enqueue((2,), 1))
        await asyncio.sleep(0)
        gone.cancel()
        gate.open.set()
        assert (await first, await stays) == ((0,), (2,))
        with pytest.raises(asyncio.CancelledError):
            await gone
        await shared.close()
        return gate.asked

    assert asyncio.run(main()) == [(0,), (2,)]


def test_closing_finishes_what_waits_and_takes_nothing_more() -> None:
    async def main() -> None:
        gate = Gate()
        shared = Batcher(gate, max_rows=100, max_batch_rows=1, on_batch=ignore)
        waiting = [asyncio.ensure_future(shared.enqueue((i,), 1)) for i in range(3)]
        await until(gate.entered)
        gate.open.set()
        await shared.close()

        assert await asyncio.gather(*waiting) == [(0,), (1,), (2,)]
        with pytest.raises(Overloaded, match="stopping"):
            await shared.enqueue((9,), 1)

    asyncio.run(main())


def test_every_batch_is_reported_with_its_rows_and_waits() -> None:
    reports: list[BatchReport] = []

    async def main() -> None:
        shared: Batcher[Job, Job] = Batcher(Doubler(), 100, 100, reports.append)
        await asyncio.gather(shared.enqueue((1, 2), 2), shared.enqueue((3,), 1))
        await shared.close()

    asyncio.run(main())

    assert [(report.rows, len(report.waits)) for report in reports] == [(3, 2)]
    assert all(seconds >= 0 for seconds in (*reports[0].waits, reports[0].seconds))


def test_a_computation_that_loses_an_answer_is_an_error_and_not_another_callers_answer() -> None:
    def lossy(jobs: Sequence[Job]) -> list[Job]:
        return list(jobs[1:])

    async def main() -> list[Job | BaseException]:
        shared = Batcher(lossy, 100, 100, ignore)
        answers = await asyncio.gather(
            *(shared.enqueue((i,), 1) for i in range(3)), return_exceptions=True
        )
        await shared.close()
        return list(answers)

    assert [type(answer) for answer in asyncio.run(main())] == [RuntimeError] * 3


def test_quick_rows_are_computed_in_the_loop_and_slow_ones_in_a_thread() -> None:
    """Each by itself, in the order in which they came, and no more than is quick at once."""
    where: list[tuple[str, int]] = []

    def compute(jobs: Sequence[Job]) -> list[Job]:
        where.append((threading.current_thread().name, sum(map(len, jobs))))
        return list(jobs)

    async def main() -> list[Job]:
        shared = Batcher(compute, 1000, 1000, ignore, quick_rows=4)
        answers = await asyncio.gather(
            shared.enqueue((1, 2), 2),
            shared.enqueue((3, 4), 2),
            shared.enqueue((5,), 1),
            shared.enqueue((6, 7, 8, 9, 10), 5),
            shared.enqueue((11,), 1, is_slow=True),
            shared.enqueue((12,), 1),
        )
        await shared.close()
        return list(answers)

    assert asyncio.run(main()) == [(1, 2), (3, 4), (5,), (6, 7, 8, 9, 10), (11,), (12,)]
    loop = threading.main_thread().name
    assert [(name == loop, rows) for name, rows in where] == [
        (True, 4),
        (True, 1),
        (False, 6),
        (True, 1),
    ]


def test_what_has_waited_too_long_is_turned_away_and_the_others_are_not() -> None:
    begun, released = threading.Event(), threading.Event()

    def compute(jobs: Sequence[Job]) -> list[Job]:
        begun.set()
        released.wait(20)
        return list(jobs)

    async def main() -> list[Job | BaseException]:
        shared = Batcher(compute, 1000, 1000, ignore, max_seconds=0.05)
        first = asyncio.ensure_future(shared.enqueue((1,), 1))
        while not begun.is_set():
            await asyncio.sleep(0)
        late = asyncio.ensure_future(shared.enqueue((2,), 1))
        await asyncio.sleep(0.1)
        fresh = asyncio.ensure_future(shared.enqueue((3,), 1))
        await asyncio.sleep(0)
        released.set()
        answers = await asyncio.gather(first, late, fresh, return_exceptions=True)
        await shared.close()
        return list(answers)

    first, late, fresh = asyncio.run(main())

    assert (first, fresh) == ((1,), (3,))
    assert isinstance(late, Overloaded)
    assert "0.05 seconds" in str(late)


@pytest.mark.parametrize("how", ["no thread", "the end of the thread"])
def test_whatever_ends_a_computation_nobody_waits_for_ever(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(jobs: Sequence[Job]) -> list[Job]:
        raise SystemExit

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> list[Job | BaseException]:
        shared = Batcher(end, 1000, 1000, ignore)
        if how == "no thread":
            monkeypatch.setattr(shared._worker, "submit", refuse)
        answers = [
            *(await asyncio.gather(shared.enqueue((1,), 1), return_exceptions=True)),
            *(await asyncio.gather(shared.enqueue((2,), 1), return_exceptions=True)),
        ]
        await asyncio.wait_for(shared.close(), 10)
        return answers

    assert [type(answer) for answer in asyncio.run(main())] == [RuntimeError, RuntimeError]
