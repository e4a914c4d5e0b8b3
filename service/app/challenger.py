"""Follows the alias `challenger` of a model: what it names is shown what the champion answers."""

from __future__ import annotations

import logging
from threading import Lock

from anomaly.errors import AnomalyError, DependencyDown, ModelNotFound
from service.app.switch import Switch, check_compatible
from service.detectors import Served
from service.logs import LOGGER
from service.scoring.comparison import Comparison
from service.scoring.shadow import Shadow
from service.watcher import Source

log = logging.getLogger(LOGGER)

CHALLENGER = "challenger"
"""The alias."""

NOBODY = ""
"""The version where the registry has no such alias."""

MOST_COMPARISONS = 2
"""Of versions whose counts a scrape sees: the last challenger, and the one before."""


class Challenger:
    """The challenger of one model, if the registry names one. Whatever befalls it, requests are
    answered as if there were none.

    Args:
        switch: The champion.
        source: Of the challenger.
    """

    def __init__(self, switch: Switch, source: Source) -> None:
        self._switch = switch
        self._source = source
        self._decided: tuple[str, str] | None = None
        self._is_refused = False
        self._is_stopped = False
        self._comparisons: dict[str, Comparison] = {}
        self._lock = Lock()

    def look(self, again: bool = False) -> None:
        """Show what is scored to the version that the alias names, if it is another one than is
        served. Decided once for each pair of versions.

        Args:
            again: Whether to try a version anew that was refused.
        """
        with self._lock:
            try:
                self._look(again)
            except DependencyDown as error:
                log.warning("the challenger could not be looked for: %s", error)

    def stop(self) -> None:
        """Show nothing to anyone any more. Nothing waits for a look that has begun."""
        self._is_stopped = True
        self._show(None)

    def _look(self, again: bool) -> None:
        decided = (self._named(), self._switch.served.version)
        if decided == self._decided and not (again and self._is_refused):
            return
        self._is_refused = False
        try:
            self._show(self._chosen(*decided))
        except DependencyDown:
            raise
        except Exception as error:
            self._is_refused = True
            self._show(None)
            is_bug = not isinstance(error, AnomalyError)
            log.error("version %s is no challenger: %s", decided[0], error, exc_info=is_bug)
        self._decided = decided

    def _named(self) -> str:
        try:
            return self._source.version()
        except ModelNotFound:
            return NOBODY

    def _chosen(self, named: str, champion: str) -> Served | None:
        """The challenger of that version; None if there is to be none."""
        if named in (NOBODY, champion):
            return None
        shadow = self._switch.hosted.shadow
        is_here = shadow is not None and shadow.served.version == named
        served = shadow.served if shadow is not None and is_here else self._source.fetch()
        check_compatible(self._switch.served.detector, served.detector)
        if not is_here:
            self._source.keep(served)
        return served

    def _show(self, served: Served | None) -> None:
        hosted = self._switch.hosted
        before, hosted.shadow = hosted.shadow, None
        if before is not None:
            before.stop()
        if served is not None and not self._is_stopped:
            hosted.shadow = Shadow(served, self._comparison(served))
            log.info("version %s of %s is the challenger", served.version, served.name)

    def _comparison(self, served: Served) -> Comparison:
        """The counts of that version; those of older ones are forgotten."""
        families = self._switch.common.metrics.families
        found = self._comparisons.pop(served.version, None)
        found = found or Comparison(families, served.name, served.version)
        self._comparisons[served.version] = found
        while len(self._comparisons) > MOST_COMPARISONS:
            self._comparisons.pop(next(iter(self._comparisons))).forget()
        return found
