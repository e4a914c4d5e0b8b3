"""A server and every process it starts: their CPU seconds, their memory, their end.

They are known by a variable in their environment, which children inherit, so none is lost when a
parent ends or a session changes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

MARK = "SERVING_BENCHMARK"
END_SECONDS = 10
"""Between the signal to end and the one that cannot be refused."""

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Tree:
    """The processes of one server.

    Attributes:
        root: The one that was started.
        mark: What their environment holds.
    """

    root: subprocess.Popen[bytes]
    mark: bytes

    def folders(self) -> Iterator[Path]:
        """Below /proc, of those that live."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self.mark in (folder / "environ").read_bytes().split(b"\0"):
                    yield folder

    def cpu_seconds(self) -> float:
        """Of all that live, and of their children that ended and were waited for."""
        total = 0
        for folder in self.folders():
            with suppress(OSError):
                total += ticks_of((folder / "stat").read_text(encoding="utf-8"))
        return total / TICKS

    def memory_mb(self) -> dict[str, float]:
        """Resident: `rss_mb` counts a shared page in each process, `pss_mb` divides it among all
        processes of the machine that share it."""
        total = {"Rss": 0, "Pss": 0}
        for folder in self.folders():
            with suppress(OSError):
                found = kilobytes_of((folder / "smaps_rollup").read_text(encoding="utf-8"))
                total = {key: value + found[key] for key, value in total.items()}
        return {f"{key.lower()}_mb": value / 1024 for key, value in total.items()}

    def end(self) -> None:
        """Ask the first one to stop; end what is left then."""
        self.root.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self.root.wait(END_SECONDS)
        # A process that is killed takes a moment to go.
        while left := list(self.folders()):
            for folder in left:
                with suppress(ProcessLookupError):
                    os.kill(int(folder.name), signal.SIGKILL)
            time.sleep(0.01)
        self.root.wait()


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], core: int, folder: Path, log: IO[bytes]
) -> Iterator[Tree]:
    """Run a server on one core, each of its libraries with one thread; end it at the end.

    Args:
        folder: Where it runs and may write.
        log: Takes what it says.
    """
    mark = uuid.uuid4().hex
    root = subprocess.Popen(
        ["taskset", "--cpu-list", str(core), *command],
        cwd=folder,
        env={**os.environ, **environment, **dict.fromkeys(ONE_THREAD, "1"), MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    tree = Tree(root, f"{MARK}={mark}".encode())
    try:
        yield tree
    finally:
        tree.end()


def ticks_of(stat: str) -> int:
    """Clock ticks of a process and its children that were waited for, from /proc/PID/stat.

    The name of the program, in parentheses, may hold anything; what follows are numbers.
    """
    fields = stat.rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15])


def kilobytes_of(rollup: str) -> dict[str, int]:
    """Its entries in kB, from /proc/PID/smaps_rollup."""
    return {
        name: int(rest.split()[0])
        for name, colon, rest in (line.partition(":") for line in rollup.splitlines())
        if colon and rest.endswith("kB")
    }
