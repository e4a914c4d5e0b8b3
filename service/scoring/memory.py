"""How much of the callers' data may be held at once, whoever sent it."""

from __future__ import annotations

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

    def share(self) -> Share:
        """What one request holds; given back at the end of its context, or when it is released."""
        return Share(self)

    def give_back(self, of: Share) -> None:
        """See `Share.release`."""
        with self._lock:
            self._held -= of.held_bytes
            of.held_bytes = 0

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

    __slots__ = ("_memory", "held_bytes")

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.held_bytes = 0

    def take(self, count: int) -> None:
        """Hold so many more bytes; from any thread.

        Raises:
            Overloaded: others hold so much that there is no room.
        """
        self._memory.take(count, self)

    def release(self) -> None:
        """Hold nothing any more."""
        self._memory.give_back(self)

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
