"""What a user is warned of on the way, kept in words."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def noted() -> Iterator[list[str]]:
    """A list that holds, at the end of the block, every different `UserWarning` in it. All warnings
    are passed on then."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    said = (str(w.message) for w in caught if issubclass(w.category, UserWarning))
    notes.extend(dict.fromkeys(said))
    for warning in caught:
        warnings.warn_explicit(
            warning.message, warning.category, warning.filename, warning.lineno, source=None
        )
