"""What changes the version of a model that is served: its alias, and administrators."""

from __future__ import annotations

from functools import partial

from service.app.switch import Switch
from service.detectors import Served
from service.lifecycle import Lifecycle
from service.origin import Opened
from service.watcher import Watcher


def follow(switch: Switch, opened: Opened) -> Watcher | None:
    """Let administrators change what is served, and have the alias watched; None if there is none:
    a numbered version never moves."""
    watcher = _watcher(switch, opened)
    switch.hosted.lifecycle = _lifecycle(switch, watcher)
    switch.hosted.metrics.stale(opened.is_stale)
    return watcher


def _watcher(switch: Switch, opened: Opened) -> Watcher | None:
    if opened.origin is None or opened.served.alias is None:
        return None
    metrics, seconds = switch.hosted.metrics, switch.common.settings.reload.seconds
    return Watcher(opened.origin, lambda: switch.served, switch.serve, metrics, seconds)


def _lifecycle(switch: Switch, watcher: Watcher | None) -> Lifecycle:
    def roll_back() -> Served:
        served = switch.roll_back() if watcher is None else watcher.roll_back(switch.roll_back)
        switch.hosted.metrics.reloaded("rolled_back")
        return served

    return Lifecycle(None if watcher is None else partial(watcher.look, again=True), roll_back)
