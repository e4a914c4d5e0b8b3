"""How the two sides of a comparison are timed: alike, each in a process of its own.

Needs nothing but Python, so that both virtual environments can import it.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

WARM_UP_ROWS = 4096
"""Each side fits so many rows before it is timed."""


def pin(core: int) -> None:
    """Keep this process on one core; call it before anything starts threads."""
    os.sched_setaffinity(0, {core})


def seconds(call: Callable[[], object]) -> float:
    """Wall clock of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """The median over repeats, after one call to warm up."""
    call()
    return statistics.median(seconds(call) for _ in range(repeats))
