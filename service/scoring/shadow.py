"""A challenger scores what the champion has answered: later, in a thread, and unheard."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Any, TypeAlias, assert_never

from anomaly.data.pixels import Pixels
from anomaly.data.records import Records
from anomaly.detector import Detector, Verdicts
from anomaly.image_detector import ImageDetector
from service.detectors import Served
from service.logs import LOGGER
from service.scoring.comparison import Comparison, Judged

log = logging.getLogger(LOGGER)

Rows: TypeAlias = Records | Sequence[Pixels]

MOST_BYTES = 64 * 2**20
"""Of rows that wait. More are dropped, but for those of one batch where nothing waits."""

PAUSE_SECONDS = 0.2
"""Between two looks at what waits: to score the rows of many requests together takes the processor,
and the interpreter, from the champion for less time."""

GROUP_ROWS = 1024
"""That are scored together, at least, if so many wait. Fewer take longer for each row, and others
wait no less for the interpreter: some 5 ms at the 99th percentile, with 32 rows as with 1024."""

LAST_SECONDS = 5.0
"""That the end may wait for rows that are being scored."""


@dataclass(frozen=True)
class _Answered:
    """Rows with the champion's verdicts on them.

    Attributes:
        size: Of the rows, in bytes.
    """

    rows: Rows
    champion: Judged
    size: int

    def __len__(self) -> int:
        return len(self.champion.is_anomaly)


class Shadow:
    """What one challenger is shown.

    Attributes:
        served: The challenger.
    """

    def __init__(self, served: Served, comparison: Comparison) -> None:
        self.served = served
        self._comparison = comparison
        self._detect = detection(served)
        self._has_failed = False
        self._waiting: deque[_Answered] = deque()
        self._held_bytes = 0
        self._lock = Lock()
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, rows: Rows, verdicts: Verdicts) -> None:
        """Take the rows, if there is room for them. From any thread; it waits for nothing."""
        if not len(verdicts):
            return
        size = bytes_of(rows)
        answered = _Answered(rows, Judged(verdicts.p_values, verdicts.is_anomaly), size)
        with self._lock:
            has_room = not self._held_bytes or self._held_bytes + size <= MOST_BYTES
            is_taken = has_room and not self._stopping.is_set()
            if is_taken:
                self._waiting.append(answered)
                self._held_bytes += size
        if not is_taken:
            self._comparison.dropped(len(answered))

    def stop(self) -> None:
        """Score no more. What waits is counted as dropped."""
        with self._lock:
            self._stopping.set()
        while group := self._take():
            self._comparison.dropped(sum(map(len, group)))
        self._thread.join(LAST_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE_SECONDS):
            while group := self._take():
                self._score(group)

    def _take(self) -> list[_Answered]:
        """The next group, without the lock: whoever answers must not wait for it."""
        group: list[_Answered] = []
        rows = 0
        while rows < GROUP_ROWS:
            try:
                answered = self._waiting.popleft()
            except IndexError:
                break
            group.append(answered)
            rows += len(answered)
        return group

    def _score(self, group: list[_Answered]) -> None:
        try:
            found = self._detect([answered.rows for answered in group])
            champion = Judged.of([answered.champion for answered in group])
            self._comparison.scored(champion, Judged.of([found]))
        except Exception:
            self._comparison.failed(sum(map(len, group)))
            if not self._has_failed:
                log.exception("the challenger, version %s, fails", self.served.version)
            self._has_failed = True
        finally:
            with self._lock:
                self._held_bytes -= sum(answered.size for answered in group)


def detection(served: Served) -> Callable[[Sequence[Any]], Verdicts]:
    """What a challenger says of the rows of several batches, one after the other; they are of the
    kind that it takes, or it would not be shown them."""
    match served.detector:
        case Detector() as detector:
            return lambda parts: detector.detect(Records.concatenate(parts))
        case ImageDetector() as images:
            return lambda parts: images.detect(image for part in parts for image in part)
        case _:
            assert_never(served.detector)


def bytes_of(rows: Rows) -> int:
    """How much memory they take, texts roughly."""
    return rows.nbytes if isinstance(rows, Records) else sum(image.nbytes for image in rows)
