"""What a person sees: tables on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

LINES = 10
"""Of progress at most, where there is no terminal to draw a bar on."""

SECONDS_BETWEEN_LINES = 5.0
"""At least; what takes no longer than this is not told of."""


def say(text: str = "") -> None:
    """A line for a person, on stderr, so that stdout stays for results."""
    print(text, file=sys.stderr)


def result(answer: Mapping[str, Any], *, as_json: bool, text: str) -> None:
    """The result of a command on stdout: JSON for machines, else text."""
    print(json.dumps(answer, indent=1, default=str) if as_json else text)


def table(rows: Sequence[Sequence[Any]], header: Sequence[str] = ()) -> str:
    """Columns aligned by spaces; numbers as they are given."""
    cells = [[str(cell) for cell in row] for row in ([header] if header else []) + list(rows)]
    widths = [max(len(row[j]) for row in cells) for j in range(len(cells[0]))] if cells else []
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


@contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A bar on stderr, or sparse lines where stderr is not a terminal.

    Yields:
        `update(done, note="", total=None)`, with the absolute number done.
    """
    if not sys.stderr.isatty():
        yield plain_progress(title, total, say, time.monotonic)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, note="")
        yield lambda done, note="", total=total: bar.update(
            task, completed=done, note=note, total=total
        )


def plain_progress(
    title: str, total: int | None, tell: Callable[[str], None], now: Callable[[], float]
) -> Callable[..., None]:
    """`update` of `progress` in lines: one for each further tenth, but no sooner than some seconds
    after the one before. Without a total there are none.

    Args:
        now: Seconds on any clock that only goes forward.
    """
    last_tenth, last_time = 0, now()

    def update(done: int, note: str = "", total: int | None = total) -> None:
        nonlocal last_tenth, last_time
        tenth = LINES * done // total if total else 0
        if tenth > last_tenth and now() - last_time >= SECONDS_BETWEEN_LINES:
            last_tenth, last_time = tenth, now()
            tell(f"{title}: {done:,} of {total:,}" + (f", {note}" if note else ""))

    return update
