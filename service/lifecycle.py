"""What an administrator can do about the version that is served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.detectors import Served
from service.watcher import Outcome


@dataclass(frozen=True)
class Lifecycle:
    """The two things.

    Attributes:
        reload: Looks at the alias now, and tries again what was refused; None if what is served
            does not come from a registry.
        roll_back: Serves the version before.
    """

    reload: Callable[[], Outcome] | None
    roll_back: Callable[[], Served]
