"""Follows the alias: when it moves, the new version is fetched, verified and served.

In a thread of its own, so that no request waits for a registry. What is refused is remembered until
the alias moves on, so that a broken model is not downloaded again and again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event, Lock, Thread
from typing import Protocol

from anomaly.errors import AnomalyError, DependencyDown
from service.detectors import Served
from service.logs import LOGGER
from service.metrics import ModelMetrics

log = logging.getLogger(LOGGER)

LONGEST_PAUSE = 300.0
"""Seconds between two questions to a registry that does not answer."""


class Source(Protocol):
    """Where versions come from; see `service.origin.Origin`."""

    def version(self) -> str:
        """Which version should be served."""

    def fetch(self) -> Served:
        """That version, verified."""

    def keep(self, served: Served) -> None:
        """Remember it as the last good one."""


@dataclass(frozen=True)
class Outcome:
    """What came of one look at the alias.

    Attributes:
        outcome: `unchanged`, or one of `service.metrics.OUTCOMES`; in here also `known`, a refusal
            that was counted before.
        version: The version that the alias names; None if the registry did not say.
        reason: Why it is not served, if it is not.
    """

    outcome: str
    version: str | None
    reason: str | None = None


class Watcher:
    """Keeps what is served in step with the alias.

    Args:
        serving: What is served now.
        serve: Has another version served; raises an `AnomalyError` if it cannot be.
        seconds: Between two looks; 0 looks only when asked.
        then: What else is to be looked for, after every look; told whether to try anew what was
            refused.
    """

    def __init__(
        self,
        source: Source,
        serving: Callable[[], Served],
        serve: Callable[[Served], None],
        metrics: ModelMetrics,
        seconds: float,
        then: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._source = source
        self._serving = serving
        self._serve = serve
        self._metrics = metrics
        self._seconds = seconds
        self._then = then
        # What is not to be served again unless asked for: it was refused, or rolled back.
        self._refused: Outcome | None = None
        self._named: str | None = serving().version
        self._rollbacks = 0
        self._looking = Lock()
        self._lock = Lock()
        self._stop = Event()
        self._thread = Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        """Begin to look, if ever."""
        if self._seconds:
            self._thread.start()

    def stop(self) -> None:
        """Look no more. A look that has begun may go on; nothing waits for it."""
        self._stop.set()

    def look(self, *, again: bool = False) -> Outcome:
        """Serve what the alias names, if that is not what is served.

        Args:
            again: Whether to try a version anew that was refused.
        """
        with self._looking:
            found = self._look(again)
        if found.outcome not in ("unchanged", "known"):
            self._metrics.reloaded(found.outcome)
        self._tell_stale(found)
        self._then(again)
        return replace(found, outcome="refused") if found.outcome == "known" else found

    def roll_back(self, roll_back: Callable[[], Served]) -> Served:
        """Serve the version before, and the one that is left not again until the alias has named
        another. A version that is being fetched meanwhile is not served, either."""
        with self._lock:
            left = self._serving().version
            served = roll_back()
            self._rollbacks += 1
            self._refused = Outcome("rolled_back", left, "it was rolled back.")
        self._keep(served)
        self._tell_stale(None)
        return served

    def _look(self, again: bool) -> Outcome:
        version, rollbacks = None, self._rollbacks
        try:
            version = self._source.version()
            self._named = version
            if version == self._serving().version:
                self._refused = None
                return Outcome("unchanged", version)
            if self._refused is not None and self._refused.version == version and not again:
                return replace(self._refused, outcome="known")
            served = self._source.fetch()
            with self._lock:
                if self._rollbacks != rollbacks:
                    return Outcome("known", version, "another version was rolled back meanwhile.")
                if served.version != self._serving().version:
                    self._serve(served)
        except DependencyDown as error:
            log.warning("the model could not be looked for: %s", error)
            return Outcome("unreachable", version, str(error))
        except AnomalyError as error:
            found = Outcome("refused", version, str(error))
            if version is not None:
                # What the registry did not name cannot be remembered, and must not make what was
                # refused before forgotten.
                self._refused = found
            log.error("version %s is not served: %s", version, error)
            return found
        self._refused = None
        self._keep(served)
        served.tell()
        return Outcome("loaded", served.version)

    def _tell_stale(self, found: Outcome | None) -> None:
        is_known = found is None or found.version is not None
        left, serving = self._refused, self._serving().version
        is_refused = (found is not None and found.outcome == "refused") or (
            left is not None
            and left.outcome == "refused"
            and left.version == self._named != serving
        )
        self._metrics.stale(not is_known or self._named != serving, is_refused=is_refused)

    def _keep(self, served: Served) -> None:
        try:
            self._source.keep(served)
        except (OSError, AnomalyError) as error:
            log.warning("version %s is served, but no copy was kept: %s", served.version, error)

    def _run(self) -> None:
        pause = self._seconds
        while not self._stop.wait(pause):
            try:
                is_down = self.look().outcome == "unreachable"
            except Exception as error:
                # Whatever it was, it must not be the last look.
                log.exception("looking for another version failed: %s", error)
                is_down = True
            pause = min(2 * pause, LONGEST_PAUSE) if is_down else self._seconds
            pause = max(pause, self._seconds)
