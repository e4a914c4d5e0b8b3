"""What every benchmark keeps: the machine, the code, one JSON line a result, a Markdown table."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MEASURED_CODE = ("anomaly", "training", "service")

Record = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """The results of one benchmark for the code that lies here now, in a JSON lines file.

    Records of other code are dropped when the file is opened: git has them. Work that was done for
    the same committed code is found again, so that a long run can be stopped and taken up, even
    if it was killed in the middle of a line.
    """

    path: Path
    code: str
    records: list[Record]

    @staticmethod
    def open(
        path: Path, *, fresh: bool = False, of_any_code: Callable[[Record], bool] = lambda _: False
    ) -> Results:
        """The results in the file; none if `fresh`, or if the code has uncommitted changes.

        Args:
            of_any_code: Which records hold whatever our code is, such as those of a peer.
        """
        code = code_version()
        clean = not code.endswith("+changes")
        found = [
            record
            for record in ([] if fresh else read_lines(path))
            if of_any_code(record) or (clean and record["code"] == code)
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        results = Results(path, code, found)
        results.write()
        return results

    def write(self) -> None:
        """Make the file what the records are."""
        text = "".join(json.dumps(record) + "\n" for record in self.records)
        self.path.write_text(text, encoding="utf-8")

    def forget(self, unwanted: Callable[[Record], bool]) -> None:
        """Drop records, so that their work is done again."""
        self.records[:] = [record for record in self.records if not unwanted(record)]
        self.write()

    def matching(self, **key: Any) -> list[Record]:
        """The records that have these values."""
        return [r for r in self.records if all(r.get(name) == key[name] for name in key)]

    def add(self, record: Mapping[str, Any]) -> None:
        """Keep one result, with the code and machine that gave it."""
        kept = {**record, "code": self.code, "machine": machine()}
        self.records.append(kept)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")


def read_lines(path: Path) -> list[Record]:
    """The records of a JSON lines file; none if there is no file.

    A last line that no newline ends was cut off when its writer was killed, and is left out.
    """
    if not path.exists():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def code_version() -> str:
    """The commit that last changed the measured packages; `+changes` if they differ from it."""
    commit = _git("log", "-1", "--format=%h", "--", *MEASURED_CODE) or "unknown"
    return commit + ("+changes" if _git("status", "--porcelain", "--", *MEASURED_CODE) else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def machine() -> str:
    """CPU, cores, threads asked for, and the load of the last minute: 1.0 is one busy core."""
    cpus = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    threads = os.environ.get("OMP_NUM_THREADS", "as many as cores")
    return (
        f"{cpus[0] if cpus else platform.processor()}, {os.cpu_count()} cores, "
        f"threads: {threads}, load {os.getloadavg()[0]:.1f}"
    )


def heading() -> str:
    """What to print above a table: command, code, machine, versions."""
    command = shlex.join(["python", "-m", _module_name(), *sys.argv[1:]])
    of_libraries = versions("numpy", "torch", "scikit-learn").items()
    return (
        f"command: {command}\ncode: {code_version()}\nmachine: {machine()}\n"
        f"versions: {', '.join(f'{name} {number}' for name, number in of_libraries)}\n"
    )


def versions(*names: str) -> dict[str, str]:
    """Of Python, and of those of the libraries that this environment has."""
    found = {"python": platform.python_version()}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _module_name() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return str(spec.name) if spec else Path(sys.argv[0]).stem


def markdown(records: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """A Markdown table.

    Args:
        columns: For each title of a column, in order, a format such as `{auroc:.3f}`; a value that
            a record lacks leaves the cell empty.
    """

    def cell(template: str, record: Mapping[str, Any]) -> str:
        try:
            return template.format_map(record)
        except (KeyError, TypeError, AttributeError):  # None has no such format or attribute
            return ""

    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += [
        "| " + " | ".join(cell(template, record) for template in columns.values()) + " |"
        for record in records
    ]
    return "\n".join(lines)
