"""Fit and scoring speed beside PyOD's VAE, in one run, alternating, one core.

    python -m benchmarks.peer_speed --peer .venv-bench/bin/python [--repeats 3] [--rows 100000]

Equal work: 100,000 x 32 rows, networks 32-128-64-8-64-128-32, nothing masked or dropped, batches
of 1,024 rows and as many rows through the network as 10 epochs of PyOD show it. Each side runs in
a process of its own and times itself after its imports. Exit code 1 if we are not faster.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.data.splits import split_sizes
from benchmarks.labelled import correlated, with_anomalies
from benchmarks.record import RESULTS, ROOT, Record, Results, heading, markdown

COLUMNS = 32
TABLE = {"what": "{what}", "ours": "{ours}", "PyOD's VAE": "{peer}", "ratio": "{ratio:.1f}x"}


@dataclass(frozen=True)
class Work:
    """What both sides are told.

    Attributes:
        data: .npz of fit_rows (N, D), new_rows (N, D) and their truth (N,).
        our_steps: Optimiser steps on our side. It fits on fewer rows than it is given, because
            some calibrate, so its epochs are shorter.
    """

    data: str
    core: int
    epochs: int
    batch_rows: int
    our_steps: int
    hidden: tuple[int, ...] = (128, 64)
    latent: int = 8


def main() -> int:
    """Alternate the two sides, print medians and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", type=Path, required=True, help="Python that has PyOD")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    # Not resolved: a virtual environment's python is a link, and is known by where it lies.
    peer = arguments.peer.absolute()
    if not peer.exists():
        print(f"SKIPPED: there is no {peer}. `make -C benchmarks peers` installs PyOD beside us.")
        return 0
    print(heading(), flush=True)
    results = Results.open(RESULTS / "peer_speed.jsonl", fresh=True)
    with tempfile.TemporaryDirectory() as folder:
        work = write_work(Path(folder), arguments.rows, arguments.core)
        for repeat in range(arguments.repeats):
            for side, python in (("ours", Path(sys.executable)), ("pyod", peer)):
                timings = run_side(python, f"benchmarks.peer_{side}", work)
                results.add({"side": side, "repeat": repeat, "rows": arguments.rows, **timings})
                print(f"repeat {repeat}, {side}: fit {fit_text(timings)}", flush=True)
    ours, theirs = (medians(results.matching(side=side)) for side in ("ours", "pyod"))
    rows = comparison(ours, theirs)
    print("\n" + markdown(rows, TABLE))
    for preset in ("default", "fast"):
        from_features = ours[f"{preset}_from_features_rows_per_s"]
        print(f"preset {preset} without preprocessing: {from_features:,.0f} rows/s")
    slower = [row["what"] for row in rows if row["judged"] and row["ratio"] <= 1]
    for what in slower:
        print(f"FAULT: not faster: {what}")
    return 1 if slower else 0


def write_work(folder: Path, rows: int, core: int) -> Path:
    """Data and settings for both sides, in files."""
    rng = np.random.default_rng(0)
    new = with_anomalies(rng, "new", correlated(rng, round(rows / 1.1), COLUMNS))
    data = folder / "data.npz"
    np.savez(
        data,
        fit_rows=correlated(rng, rows, COLUMNS),
        new_rows=new.values,
        truth=new.is_anomalous,
    )
    epochs, batch_rows = 10, 1024
    work = Work(str(data), core, epochs, batch_rows, steps_for(rows, epochs, batch_rows))
    path = folder / "work.json"
    path.write_text(json.dumps(asdict(work)), encoding="utf-8")
    return path


def steps_for(rows: int, epochs: int, batch_rows: int) -> int:
    """Steps on our fit rows that take as many rows as PyOD's epochs, which drop the short batch."""
    theirs = epochs * (rows // batch_rows) * batch_rows
    fit_rows = split_sizes(rows).fit
    steps_an_epoch = -(-fit_rows // batch_rows)
    return round(theirs / fit_rows * steps_an_epoch)


def run_side(python: Path, module: str, work: Path) -> Record:
    """The timings of one process; one thread, whatever library."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    done = subprocess.run(
        [python, "-m", module, work],
        cwd=ROOT,
        env={**os.environ, **dict.fromkeys(threads, "1"), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    timings: Record = json.loads(done.stdout.splitlines()[-1])
    return timings


def fit_text(timings: Record) -> str:
    return ", ".join(f"{key} {value:.2f}" for key, value in timings.items() if "fit_s" in key)


def medians(records: list[Record]) -> dict[str, float]:
    """The median over repeats of every number."""
    numbers = [key for key, value in records[0].items() if isinstance(value, float)]
    return {key: statistics.median(record[key] for record in records) for key in numbers}


def comparison(ours: dict[str, float], theirs: dict[str, float]) -> list[dict[str, Any]]:
    """The lines of the table; `judged` are those at equal work, in which we must be faster."""

    def speed(what: str, our: str, their: str, judged: bool) -> dict[str, Any]:
        mine, other = ours[f"{our}_rows_per_s"], theirs[f"rows_per_s_{their}"]
        text = {"ours": f"{mine:,.0f} rows/s", "peer": f"{other:,.0f} rows/s"}
        return {"what": what, **text, "ratio": mine / other, "judged": judged}

    def time(what: str, mine: float, other: float, unit: str, judged: bool) -> dict[str, Any]:
        text = {"ours": f"{mine:.3g} {unit}", "peer": f"{other:.3g} {unit}"}
        return {"what": what, **text, "ratio": other / mine, "judged": judged}

    fast, full = "same network, one decode", "same network, ELBO of 8 draws"
    return [
        time("fit, equal work", ours["equal_elbo_fit_s"], theirs["fit_s"], "s", True),
        speed(f"score: {fast}; PyOD's default batch", "equal_fast", "default", True),
        speed(f"score: {fast}; PyOD's best batch", "equal_fast", "best", True),
        speed(f"score: {full}; PyOD's default batch", "equal_elbo", "default", False),
        speed(f"score: {full}; PyOD's best batch", "equal_elbo", "best", False),
        speed("score: preset fast as shipped; PyOD's best batch", "fast", "best", False),
        speed("score: preset default as shipped; PyOD's best batch", "default", "best", False),
        time(f"one row: {fast}", ours["equal_fast_one_row_ms"], theirs["one_row_ms"], "ms", False),
        time(
            "one row: preset default as shipped",
            ours["default_one_row_ms"],
            theirs["one_row_ms"],
            "ms",
            False,
        ),
        time("fit: preset default as shipped", ours["default_fit_s"], theirs["fit_s"], "s", False),
    ]


if __name__ == "__main__":
    sys.exit(main())
