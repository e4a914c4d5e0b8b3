"""How this process keeps memory that it will need again in a moment."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
"""Numbers of `mallopt(3)` in glibc."""

LARGEST_KEPT_BYTES = 32 * 2**20
"""Arrays up to this size come from memory that is kept."""

KEPT_BYTES = 64 * 2**20
"""At the end of the heap, before any of it goes back to the system."""


def keep_freed_memory() -> None:
    """Let the next batch have the pages of the last one.

    By default glibc gives arrays of 128 kB and more back to the system as soon as they are freed,
    and every batch pays for fresh, zeroed pages: a sixth of the time of requests of 100 rows.
    Another C library keeps its own ways.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
