"""How much of the callers' data may be held at once, whoever sent it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from service.batcher import Overloaded


class Memory:
    """Bytes that all requests share.

    A request is never refused for its own size, only for what the others hold: its own limits are
    in `Limits`.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held = 0
        self._lock = Lock()

    @property
    def held_bytes(self) -> int:
        """What all requests together hold now."""
        return self._held

    @property
    def is_full(self) -> bool:
        return self._held >= self._most

    @contextmanager
    def share(self) -> Iterator[Share]:
        """What one request holds; given back at the end, whatever that was."""
        share = Share(self)
        try:
            yield share
        finally:
            with self._lock:
                self._held -= share.held_bytes

    def take(self, count: int, of: Share) -> None:
        """See `Share.take`."""
        with self._lock:
            others = self._held - of.held_bytes
            if others and self._held + count > self._most:
                raise Overloaded(
                    f"other requests hold {others:,} bytes already, and all together may hold "
                    f"{self._most:,}. Try again in a moment, send less at once, or run more "
                    "instances.",
                    0,
                )
            self._held += count
            of.held_bytes += count


class Share:
    """What one request holds."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.held_bytes = 0

    def take(self, count: int) -> None:
        """Hold so many more bytes; from any thread.

        Raises:
            Overloaded: others hold so much that there is no room.
        """
        self._memory.take(count, self)
