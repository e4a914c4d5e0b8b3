"""Who is let in, by the length of what is sent: before it is read, and again before it is parsed.

To read and parse what is turned away afterwards takes most of the time that scoring it would, and
takes it from those who are served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

FADING = 0.95
"""Of what was learned, with each body."""


class Admission:
    """Expects of a body as few rows as one of that length may have, by what came before.

    As few, because formats differ: who is let in wrongly is refused once the rows are counted, and
    who is turned away wrongly is not served although there is room.

    Args:
        check: See `Batcher.check`.
    """

    def __init__(self, check: Callable[[int, int], None]) -> None:
        self._check = check
        self._coming = 0
        self._bytes_per_row = 0.0

    def expect(self, size: int) -> int:
        """The rows that a body of so many bytes has at least.

        Raises:
            Overloaded: there is no room for them.
        """
        rows = max(1, int(size / (self._bytes_per_row or size or 1)))
        self._check(rows, self._coming)
        return rows

    @contextmanager
    def parsing(self, size: int) -> Iterator[None]:
        """Keep room for a body until it is parsed.

        Raises:
            Overloaded: there is none.
        """
        rows = self.expect(size)
        self._coming += rows
        try:
            yield
        finally:
            self._coming -= rows

    def learn(self, size: int, rows: int) -> None:
        """How many rows a body of so many bytes had."""
        self._bytes_per_row = max(size / max(rows, 1), FADING * self._bytes_per_row)
