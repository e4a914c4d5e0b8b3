"""What changes the version of a model that is served: its alias, and administrators."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from threading import Thread

from service.app.challenger import CHALLENGER, Challenger
from service.app.switch import Switch
from service.detectors import Served
from service.lifecycle import Lifecycle
from service.origin import Opened, Origin
from service.watcher import Watcher


@dataclass(frozen=True)
class Following:
    """What runs beside a model whose alias may move; nothing beside another one.

    Attributes:
        challenger: None unless there is to be one.
    """

    watcher: Watcher | None
    challenger: Challenger | None

    def start(self) -> None:
        """Begin to look; at once for the challenger, without which requests can be answered."""
        if self.challenger is not None:
            Thread(target=self.challenger.look, name="challenger", daemon=True).start()
        if self.watcher is not None:
            self.watcher.start()

    def stop(self) -> None:
        """Look no more, and show nothing to the challenger any more."""
        if self.watcher is not None:
            self.watcher.stop()
        if self.challenger is not None:
            self.challenger.stop()


def follow(switch: Switch, opened: Opened) -> Following:
    """Let administrators change what is served, and set up what follows the alias."""
    origin = None if opened.served.alias is None else opened.origin
    challenger = _challenger(switch, origin)
    watcher = None if origin is None else _watcher(switch, origin, challenger)
    switch.hosted.lifecycle = _lifecycle(switch, watcher)
    switch.hosted.metrics.stale(opened.is_stale)
    return Following(watcher, challenger)


def _challenger(switch: Switch, origin: Origin | None) -> Challenger | None:
    if origin is None or not switch.common.settings.shadow:
        return None
    uri = f"models:/{switch.served.name}@{CHALLENGER}"
    return Challenger(switch, Origin(uri, origin.device, switch.common.settings.cache))


def _watcher(switch: Switch, origin: Origin, challenger: Challenger | None) -> Watcher:
    return Watcher(
        origin,
        lambda: switch.served,
        switch.serve,
        switch.hosted.metrics,
        switch.common.settings.reload.seconds,
        (lambda _: None) if challenger is None else challenger.look,
    )


def _lifecycle(switch: Switch, watcher: Watcher | None) -> Lifecycle:
    def roll_back() -> Served:
        served = switch.roll_back() if watcher is None else watcher.roll_back(switch.roll_back)
        switch.hosted.metrics.reloaded("rolled_back")
        return served

    return Lifecycle(None if watcher is None else partial(watcher.look, again=True), roll_back)
