"""Detection quality on real tables, beside scikit-learn's and PyOD's detectors.

    python -m benchmarks.accuracy [--peer .venv-bench/bin/python] [--only TABLE ...]
        [--presets NAME ...] [--all-rows NAME ...] [--peers NAME ...] [--seeds N ...] [--jobs N]
        [--again]

Protocol R (`benchmarks.protocol`) on every table of ADBench. Settings are the same on all tables,
and nothing is chosen by labels. Work that was done is kept: a run that was stopped goes on where it
was, and `--again` measures anew what is asked for. An option followed by no name means none of
that kind. Any method that fails makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path
from threading import Lock

from anomaly.presets import PRESETS
from benchmarks.accuracy_pyod import PYOD
from benchmarks.classical import CLASSICAL, NEAREST
from benchmarks.contest import Work
from benchmarks.labelled import adbench, read_adbench, skip_message
from benchmarks.protocol import split
from benchmarks.record import RESULTS, ROOT, Record, Results, heading, markdown
from benchmarks.standings import QUALITIES, duel, per_table, summary

PEERS = (*CLASSICAL, *PYOD)
ONE_CORE = {
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
    ),
    "CUDA_VISIBLE_DEVICES": "",
}
NO_LABELS = (
    "AUROC and average precision (AP) x 100, means over tables. Labels place the rows and judge "
    "the scores; no setting, method or preprocessing is chosen by them, and settings are the same "
    "on all tables and seeds."
)
SUMMARY = {
    "method": "{method}",
    "tables": "{tables}",
    "AUROC": "{AUROC:.2f}",
    "AP": "{AP:.2f}",
    "AUROC by seed": "{AUROC seeds}",
    "sd": "{AUROC sd:.2f}",
    "AP by seed": "{AP seeds}",
    "sd of AP": "{AP sd:.2f}",
    "fit s": "{fit_s:.2f}",
    "rows/s": "{rows_per_s:,.0f}",
    "false alarms": "{false_alarms}",
    f"wins against {NEAREST}": "{AUROC paired.wins} of {AUROC paired.tables}",
    "p": "{AUROC paired.p:.2g}",
    "p of AP": "{AP paired.p:.2g}",
}
DUELS = {
    "ours": "{method}",
    "peer": "{peer}",
    "AUROC": "{AUROC.points:+.2f}",
    "wins": "{AUROC.wins} of {AUROC.tables}",
    "p": "{AUROC.p:.2g}",
    "AP": "{AP.points:+.2f}",
    "wins in AP": "{AP.wins} of {AP.tables}",
    "p of AP": "{AP.p:.2g}",
}

Item = tuple[str, int]
"""Method and seed."""


@dataclass(frozen=True)
class Sides:
    """Which Python runs which methods.

    Attributes:
        peer: Python that has PyOD; None where it is not installed.
    """

    peer: Path | None

    def runs(self, method: str) -> tuple[Path, str] | None:
        """The Python and the module of a method; None if it cannot be run."""
        if method not in PYOD:
            return Path(sys.executable), "benchmarks.accuracy_ours"
        return None if self.peer is None else (self.peer, "benchmarks.accuracy_pyod")


def main() -> int:
    """Measure what is not measured yet, print the tables."""
    arguments = parsed()
    tables = {
        name: path
        for name, path in adbench().items()
        if not arguments.only or any(part in name for part in arguments.only)
    }
    if not tables:
        print(skip_message())
        return 0
    os.environ.update(ONE_CORE)
    print(heading(), flush=True)
    sides = Sides(peer_python(arguments.peer))
    methods = [
        *(f"ours/{preset}" for preset in arguments.presets),
        *(f"ours-all-rows/{preset}" for preset in arguments.all_rows),
        *arguments.peers,
    ]
    items = list(product(methods, arguments.seeds))
    results = opened(arguments.results)
    if arguments.again:
        results.forget(lambda r: r["table"] in tables and (r["method"], r["seed"]) in items)
    faults = measure_all(results, tables, items, sides, arguments.jobs)
    wanted = [
        r for r in results.records if r["table"] in tables and (r["method"], r["seed"]) in items
    ]
    print("\n" + report(wanted, methods))
    for fault in faults:
        print(f"FAULT: {fault}")
    return 1 if faults else 0


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", metavar="TABLE", help="tables whose name contains this"
    )
    parser.add_argument(
        "--presets",
        nargs="*",
        default=tuple(PRESETS),
        choices=tuple(PRESETS),
        metavar="NAME",
        help="of ours: " + ", ".join(PRESETS),
    )
    parser.add_argument(
        "--all-rows",
        nargs="*",
        default=("default", "nearest"),
        choices=tuple(PRESETS),
        metavar="NAME",
        help="of ours, fitted on their calibration rows, too: what holding them out costs",
    )
    parser.add_argument(
        "--peers", nargs="*", default=PEERS, choices=PEERS, metavar="NAME", help=", ".join(PEERS)
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2), metavar="N")
    parser.add_argument("--jobs", type=int, default=1, help="tables at a time, one core each")
    parser.add_argument("--again", action="store_true", help="measure again what was measured")
    parser.add_argument(
        "--peer",
        type=Path,
        default=ROOT / ".venv-bench" / "bin" / "python",
        help="Python that has PyOD",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS / "accuracy.jsonl",
        metavar="PATH",
        help="JSON lines to keep results in",
    )
    return parser.parse_args()


def peer_python(path: Path) -> Path | None:
    """Where PyOD's side runs; None, and a word, if it is not installed."""
    # Not resolved: a virtual environment's python is a link, and is known by where it lies.
    peer = path.absolute()
    if peer.exists():
        return peer
    print(f"SKIPPED: there is no {peer}. `make -C benchmarks peers` installs PyOD beside us.")
    return None


def opened(path: Path) -> Results:
    """Our presets' results for the code that lies here now; a peer does not depend on our code."""
    return Results.open(path, of_any_code=lambda record: record["method"] in PEERS)


def measure_all(
    results: Results, tables: dict[str, Path], items: Sequence[Item], sides: Sides, jobs: int
) -> list[str]:
    """Measure what is missing, `jobs` tables at a time; what went wrong, in words."""
    lock = Lock()

    def of_table(table: str) -> list[str]:
        missing = [
            (method, seed)
            for method, seed in items
            if not results.matching(table=table, method=method, seed=seed)
        ]
        faults = []
        with tempfile.TemporaryDirectory() as folder:
            for (python, module), share in shares(missing, sides):
                work = written(Path(folder), tables[table], share)
                try:
                    for record in run_side(python, module, work):
                        with lock:
                            results.add({"table": table, **record})
                            print(f"{table} {record['method']} {record['seed']}: done", flush=True)
                except subprocess.CalledProcessError as error:
                    faults.append(f"{table}: {module} ended with {error.returncode}")
        return faults

    with ThreadPoolExecutor(jobs) as pool:
        return [fault for faults in pool.map(of_table, tables) for fault in faults]


def shares(items: Sequence[Item], sides: Sides) -> Iterator[tuple[tuple[Path, str], list[Item]]]:
    """The items of each process; those that nothing here can run are left out."""
    for side, share in groupby(items, key=lambda item: sides.runs(item[0])):
        if side is not None:
            yield side, list(share)


def written(folder: Path, table: Path, items: list[Item]) -> Path:
    """Splits and settings for one process, in files."""
    labelled = read_adbench(table)
    splits = {}
    for seed in {seed for _, seed in items}:
        path = folder / f"{seed}.npz"
        split(labelled.values, labelled.is_anomalous, seed).save(path)
        splits[str(seed)] = str(path)
    work = folder / "work.json"
    Work(splits, items).save(work)
    return work


def run_side(python: Path, module: str, work: Path) -> Iterator[Record]:
    """The figures of one process as they come.

    Raises:
        CalledProcessError: it failed; its words are on the standard error.
    """
    command = [str(python), "-m", module, str(work)]
    environment = {**os.environ, **ONE_CORE, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout or ():
            yield json.loads(line)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def report(records: Sequence[Record], methods: Sequence[str]) -> str:
    """What was measured, as Markdown.

    Args:
        methods: In the order to print them in.
    """
    by_method: dict[str, Sequence[Record]] = {
        method: [r for r in records if r["method"] == method]
        for method in methods
        if any(r["method"] == method for r in records)
    }
    ours = {m: found for m, found in by_method.items() if m not in PEERS}
    peers = {m: found for m, found in by_method.items() if m in PEERS}
    reference = by_method.get(NEAREST, ())
    lines = [
        summary(found, reference if method != NEAREST else ())
        for method, found in by_method.items()
    ]
    parts = [NO_LABELS, markdown(lines, SUMMARY)]
    if ours and peers:
        duels = [duel(a, b) for a, b in product(ours.values(), peers.values())]
        parts += ["Ours beside each peer, over tables:", markdown(duels, DUELS)]
    columns = {"table": "{table}"} | {method: f"{{{method}:.1f}}" for method in by_method}
    for title, figure in QUALITIES.items():
        parts += [f"{title} by table:", markdown(per_table(by_method, figure), columns)]
    return "\n\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
