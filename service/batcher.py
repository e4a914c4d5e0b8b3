"""Requests that arrive together are computed together; each gets its own answer or error.

No timer: while one batch is computed the next one gathers, and when nothing is computed whatever
is there at the next tick of the loop is a batch. A waiting time would cost single callers all of
it and gain the others nothing. What takes hardly longer than to hand it to a thread and back is
computed in the loop itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from anomaly.errors import AnomalyError

if TYPE_CHECKING:
    from service.tracing.spans import Trace

Job = TypeVar("Job")
Result = TypeVar("Result")


class Overloaded(AnomalyError):
    """Too many rows wait already, or the service is about to stop.

    Attributes:
        rows: How many rows were turned away.
        retry_seconds: When it may be worth trying again.
    """

    code = "overloaded"

    def __init__(self, message: str, rows: int, retry_seconds: int = 1) -> None:
        super().__init__(message)
        self.rows = rows
        self.retry_seconds = retry_seconds


@dataclass(frozen=True)
class BatchReport:
    """What one batch was.

    Attributes:
        waits: Seconds that each of its requests waited.
        started: When the computation began, by `perf_counter`.
        seconds: That it took.
        traced: Those requests that have spans, each with the time since which it waited.
    """

    rows: int
    waits: Sequence[float]
    started: float
    seconds: float
    traced: Sequence[tuple[Trace, float]] = ()


class _Ticket(Struct, Generic[Job, Result], frozen=True):
    job: Job
    rows: int
    is_quick: bool
    since: float
    future: asyncio.Future[Result]
    trace: Trace | None = None


class Batcher(Generic[Job, Result]):
    """Computes jobs in one worker thread, as many together as are there.

    Args:
        compute: Jobs to results, in the same order. If it raises for several jobs, it is called
            again for each alone, so that only those at fault fail.
        max_rows: More must not wait; a job is taken whenever nothing waits, however large it is.
        max_batch_rows: Rows of a batch of several jobs. A job is never split.
        on_batch: Told of every batch.
        unit: What a row is, in messages.
        quick_rows: So many rows take so little time that the loop may wait for them; 0 if none do.
        max_seconds: A job that has waited longer is turned away: whoever sent it has given up, or
            will, and the time is better spent on the others.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Job]], Sequence[Result]],
        max_rows: int,
        max_batch_rows: int,
        on_batch: Callable[[BatchReport], None],
        unit: str = "rows",
        quick_rows: int = 0,
        max_seconds: float = float("inf"),
    ) -> None:
        self._compute = compute
        self._max_rows = max_rows
        self._max_batch_rows = max_batch_rows
        self._on_batch = on_batch
        self._unit = unit
        self._quick_rows = quick_rows
        self._max_seconds = max_seconds
        self._waiting: deque[_Ticket[Job, Result]] = deque()
        self._waiting_rows = 0
        self._is_busy = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="scoring")
        self._closed = False

    @property
    def waiting_rows(self) -> int:
        """Rows that no batch has taken yet."""
        return self._waiting_rows

    @property
    def is_full(self) -> bool:
        return self._waiting_rows >= self._max_rows

    def check(self, rows: int, coming: int = 0) -> None:
        """Refuse so many rows if there is no room for them.

        Args:
            coming: Others that will wait before them.

        Raises:
            Overloaded: accordingly.
        """
        ahead = self._waiting_rows + coming
        if ahead and ahead + rows > self._max_rows:
            raise Overloaded(
                f"{ahead} {self._unit} wait already, and no more than {self._max_rows} may. "
                "Try again in a moment, or run more instances.",
                rows,
            )

    def enqueue(
        self, job: Job, rows: int, *, is_slow: bool = False, trace: Trace | None = None
    ) -> asyncio.Future[Result]:
        """The result of one job, when there is one; cancelled before, it is not computed.

        Args:
            is_slow: Whether its rows take longer than others.
            trace: Of the request; the report of its batch has it.

        Raises:
            Overloaded: the queue is full, or closed.
            Exception: in the future, whatever `compute` raised for this job alone, or `Overloaded`
                for one that waited too long.
        """
        if self._closed:
            raise Overloaded("the service is stopping. Ask another instance.", rows)
        self.check(rows)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        is_quick = rows <= self._quick_rows and not is_slow
        self._waiting.append(_Ticket(job, rows, is_quick, perf_counter(), future, trace))
        self._waiting_rows += rows
        if not self._is_busy:
            self._is_busy = True
            self._idle.clear()
            loop.call_soon(self._begin)
        return future

    async def close(self) -> None:
        """Finish what waits, take nothing more."""
        self._closed = True
        await self._idle.wait()
        self._worker.shutdown()

    def _begin(self) -> None:
        """Take a batch, and have it computed."""
        batch, rows = self._take()
        if not batch:
            self._is_busy = False
            self._idle.set()
            return
        started = perf_counter()
        if batch[0].is_quick:
            self._finish(batch, rows, started, self._outcomes(batch))
            return
        try:
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._worker, self._outcomes, batch)
        except RuntimeError as error:  # no thread is to be had
            self._finish(batch, rows, started, [error] * len(batch))
            return
        running.add_done_callback(
            lambda done: self._finish(batch, rows, started, _outcomes_of(done, len(batch)))
        )

    def _finish(
        self,
        batch: list[_Ticket[Job, Result]],
        rows: int,
        started: float,
        outcomes: list[Result | Exception],
    ) -> None:
        """Give everyone their own, and go on with what came meanwhile."""
        for ticket, outcome in zip(batch, outcomes, strict=True):
            _deliver(ticket, outcome)
        # The answers are written in the next turn of the loop, and who has one may ask again: the
        # turn after it has larger batches.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._begin)
        waits = [started - ticket.since for ticket in batch]
        traced = [(ticket.trace, ticket.since) for ticket in batch if ticket.trace is not None]
        self._on_batch(BatchReport(rows, waits, started, perf_counter() - started, traced))

    def _take(self) -> tuple[list[_Ticket[Job, Result]], int]:
        """The next batch and its rows, quick ones or others; jobs that nobody waits for any more,
        or that have waited too long, are dropped."""
        oldest = perf_counter() - self._max_seconds
        batch: list[_Ticket[Job, Result]] = []
        rows = 0
        while self._waiting:
            ticket = self._waiting[0]
            most = self._quick_rows if ticket.is_quick else self._max_batch_rows
            is_other = batch and ticket.is_quick is not batch[0].is_quick
            if is_other or (batch and rows + ticket.rows > most):
                break
            self._waiting.popleft()
            self._waiting_rows -= ticket.rows
            if ticket.since < oldest:
                _deliver(ticket, self._too_late(ticket.rows))
            elif not ticket.future.cancelled():
                batch.append(ticket)
                rows += ticket.rows
        return batch, rows

    def _too_late(self, rows: int) -> Overloaded:
        return Overloaded(
            f"the {self._unit} have waited longer than {self._max_seconds:g} seconds. Try again in "
            "a moment, or run more instances.",
            rows,
        )

    def _outcomes(self, batch: list[_Ticket[Job, Result]]) -> list[Result | Exception]:
        """One result or error for each job."""
        try:
            results = self._compute([ticket.job for ticket in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} jobs")
            return list(results)
        except Exception as error:
            if len(batch) == 1:
                return [error]
        return [outcome for ticket in batch for outcome in self._outcomes([ticket])]


def _outcomes_of(
    done: asyncio.Future[list[Result | Exception]], jobs: int
) -> list[Result | Exception]:
    """What the thread found; whatever ended it, nobody is left waiting."""
    error = RuntimeError("it was given up") if done.cancelled() else done.exception()
    if error is None:
        return done.result()
    failure = RuntimeError(f"the computation ended with {type(error).__name__}")
    failure.__cause__ = error
    return [failure] * jobs


def _deliver(ticket: _Ticket[Job, Result], outcome: Result | Exception) -> None:
    if ticket.future.done():
        return
    if isinstance(outcome, Exception):
        ticket.future.set_exception(outcome)
    else:
        ticket.future.set_result(outcome)
