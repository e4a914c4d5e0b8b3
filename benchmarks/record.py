"""What every benchmark keeps: the machine, the code, one JSON line a result, a Markdown table."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
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
    the same committed code is found again, so that a long run can be stopped and taken up.
    """

    path: Path
    code: str
    records: list[Record]

    @staticmethod
    def open(path: Path, *, fresh: bool = False) -> Results:
        """The results in the file; none if `fresh`, or if the code has uncommitted changes."""
        code = code_version()
        found: list[Record] = []
        if path.exists() and not fresh and not code.endswith("+changes"):
            lines = path.read_text(encoding="utf-8").splitlines()
            found = [record for record in map(json.loads, lines) if record["code"] == code]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in found), encoding="utf-8")
        return Results(path, code, found)

    def matching(self, **key: Any) -> list[Record]:
        """The records that have these values."""
        return [r for r in self.records if all(r.get(name) == key[name] for name in key)]

    def add(self, record: Mapping[str, Any]) -> None:
        """Keep one result, with the code and machine that gave it."""
        kept = {**record, "code": self.code, "machine": machine()}
        self.records.append(kept)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")


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
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "torch", "scikit-learn"))
    return (
        f"command: {command}\ncode: {code_version()}\nmachine: {machine()}\n"
        f"versions: python {platform.python_version()}, {versions}\n"
    )


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
        except (KeyError, TypeError):  # TypeError: None has no such format
            return ""

    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += [
        "| " + " | ".join(cell(template, record) for template in columns.values()) + " |"
        for record in records
    ]
    return "\n".join(lines)
