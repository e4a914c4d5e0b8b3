"""Load on a server by wrk, on a core of its own."""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

SCRIPT = Path(__file__).with_name("load.lua")
PATIENCE_SECONDS = 30
"""Of one request, before wrk calls it failed."""


@dataclass(frozen=True)
class Load:
    """What came of it.

    Attributes:
        failed: Requests without an answer, or with another status than 2xx or 3xx.
        generator_load: Share of its core that wrk used; near 1 it measured itself.
    """

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int
    generator_load: float


def is_installed() -> bool:
    """Whether there is a wrk."""
    return which("wrk") is not None


def write_bodies(folder: Path, bodies: Sequence[bytes]) -> None:
    """One file a body, as the script expects them."""
    folder.mkdir()
    for i, body in enumerate(bodies):
        (folder / str(i)).write_bytes(body)


def run_load(
    url: str, bodies: Path, content_type: str, *, connections: int, seconds: int, core: int
) -> Load:
    """Post the bodies in turn, every connection as soon as it has its answer."""
    number = len(list(bodies.iterdir()))
    command: list[Any] = ["taskset", "--cpu-list", core, "wrk", "--threads", 1]
    command += ["--connections", connections, "--duration", f"{seconds}s"]
    command += ["--timeout", f"{PATIENCE_SECONDS}s", "--script", SCRIPT]
    command += [url, "--", bodies, number, content_type]
    before = _children_seconds()
    done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, text=True, check=True)
    spent = _children_seconds() - before
    told = json.loads(done.stdout.splitlines()[-1])
    return Load(**told, generator_load=spent / told["seconds"])


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
