"""Detection quality, speed and memory on images, beside methods without a network.

    python -m benchmarks.images [--seeds 5] [--only tiles|digits] [--peer PYTHON]

Magnetic tiles: split G (`benchmarks.magnetic_tiles`), by kind of defect. Settings were chosen on
seeds 0 and 1 with the defects of even name hash; the odd ones are other photographs, but many of
them of the same defective pieces, so the seeds that nothing was chosen on are shown by themselves.
Digits of scikit-learn: one digit is normal, half of it trains, the rest and all others test; the
settings were chosen on four digits. Each run is a process of its own, and so is its memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.record import RESULTS, Record, Results, heading, markdown

DIGITS = 10
DIGIT_SEEDS = 3
CHOSEN_ON_SEEDS, CHOSEN_ON_DIGITS = (0, 1), (1, 3, 8, 9)
TYPES = ("Blowhole", "Break", "Crack", "Fray", "Uneven")


def main() -> None:
    """Run what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=("tiles", "digits"))
    parser.add_argument("--peer", type=Path, help="Python of an environment with PyOD.")
    parser.add_argument("--fresh", action="store_true", help="Forget what was measured before.")
    asked = parser.parse_args()
    results = Results.open(RESULTS / "images.jsonl", fresh=asked.fresh)
    print(heading())
    root = Path(os.environ.get("ANOMALY_DATA", "../shared/data")) / "mtd"
    if asked.only != "digits":
        if root.is_dir():
            for seed in range(asked.seeds):
                measure(results, "tiles", seed, sys.executable)
            print(tiles_table(results.matching(kind="tiles")))
        else:
            print(f"SKIPPED: no magnetic tiles at {root}; set ANOMALY_DATA.")
    if asked.only != "tiles":
        for seed in range(DIGIT_SEEDS):
            measure(results, "digits", seed, sys.executable)
            if asked.peer is not None:
                measure(results, "digits-pyod", seed, str(asked.peer))
        print(
            digits_table([*results.matching(kind="digits"), *results.matching(kind="digits-pyod")])
        )


def measure(results: Results, kind: str, seed: int, python: str) -> None:
    """One process, unless its records are there."""
    if results.matching(kind=kind, seed=seed):
        return
    module = {
        "tiles": "benchmarks.images_tiles",
        "digits": "benchmarks.images_digits",
        "digits-pyod": "benchmarks.images_pyod",
    }[kind]
    done = subprocess.run(
        [python, "-m", module, str(seed)], stdout=subprocess.PIPE, text=True, check=True
    )
    for line in done.stdout.splitlines():
        results.add({"kind": kind, "seed": seed, **json.loads(line)})


def tiles_table(records: Sequence[Record]) -> str:
    """Mean and standard deviation over seeds, by method."""
    rows = []
    for method in dict.fromkeys(record["method"] for record in records):
        of = [record for record in records if record["method"] == method]
        row: Record = {"method": method, "seeds": len(of)}
        others = [r["all"] for r in of if r.get("all") and r["seed"] not in CHOSEN_ON_SEEDS]
        if others:
            row["others"] = f"{np.mean(others):.3f}"
        for name in ("odd", "all", "ap", "pixel_auroc", "aupro", "leaky", *TYPES):
            values = [record[name] for record in of if record.get(name) is not None]
            if values:
                spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
                row[name] = f"{np.mean(values):.3f}"
                row[f"{name}_sd"] = f"{row[name]} ± {spread:.3f}"
        for name in ("fit_s", "images_per_s", "model_images_per_s", "peak_mb"):
            values = [record[name] for record in of if record.get(name) is not None]
            if values:
                row[name] = float(np.median(values))
        rows.append(row)
    columns = {
        "method": "{method}",
        "AUROC, odd half": "{odd_sd}",
        "AUROC, all": "{all_sd}",
        "... seeds 2 and up": "{others}",
        **{kind: f"{{{kind}}}" for kind in TYPES},
        "AP": "{ap}",
        "pixel AUROC": "{pixel_auroc}",
        "AUPRO": "{aupro}",
        "AUROC, leaky split": "{leaky}",
        "fit s": "{fit_s:.0f}",
        "images/s": "{images_per_s:.1f}",
        "model alone": "{model_images_per_s:.1f}",
        "MB": "{peak_mb:,.0f}",
    }
    return markdown(rows, columns)


def digits_table(records: Sequence[Record]) -> str:
    """Mean AUROC over seeds of each digit, by method."""
    rows = []
    for method in dict.fromkeys(record["method"] for record in records):
        of = [record for record in records if record["method"] == method]
        row: Record = {"method": method, "mean": np.mean([r["auroc"] for r in of])}
        for digit in range(DIGITS):
            row[f"d{digit}"] = np.mean([r["auroc"] for r in of if r["digit"] == digit])
        row["others"] = np.mean([r["auroc"] for r in of if r["digit"] not in CHOSEN_ON_DIGITS])
        row["fit_s"] = np.median([r["fit_s"] for r in of])
        rows.append(row)
    columns = {
        "method": "{method}",
        "mean AUROC": "{mean:.4f}",
        "six not chosen on": "{others:.4f}",
        **{str(digit): f"{{d{digit}:.3f}}" for digit in range(DIGITS)},
        "fit s": "{fit_s:.1f}",
    }
    return markdown(sorted(rows, key=lambda row: -row["mean"]), columns)


if __name__ == "__main__":
    main()
