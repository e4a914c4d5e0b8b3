"""`anomaly train` and `anomaly score` with defaults on every table, through the command line.

    python -m benchmarks.tables [--fresh] [--only NAME ...]

Every table of ADBench at full size, and made tables at the extremes. A table is at fault if a
command fails, a score or p-value is impossible, the false-alarm rate on the test rows is higher
than chance explains, or a command needs more than 6 GB; any fault makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet
from scipy.stats import betabinom

from benchmarks.labelled import (
    LABEL,
    LabelledTable,
    adbench,
    extremes,
    read_adbench,
    skip_message,
)
from benchmarks.record import RESULTS, ROOT, Record, Results, heading, markdown

MOST_MB = 6_000
ENOUGH_FOR_SPEED = 10_000
"""Below so many rows the time of `anomaly score` is that of its start."""

CHANCE = 1e-4
"""A false-alarm rate that a correct detector exceeds less often than this is a fault."""

COLUMNS = {
    "table": "{table}",
    "rows": "{rows:,}",
    "columns": "{columns:,}",
    "train s": "{train_s:.1f}",
    "train MB": "{train_mb:,.0f}",
    "score s": "{score_s:.1f}",
    "rows/s": "{score_rows_per_s:,.0f}",
    "score MB": "{score_mb:,.0f}",
    "AUROC": "{auroc:.3f}",
    "AP": "{average_precision:.3f}",
    "alpha": "{alpha:.3g}",
    "false alarms": "{false_alarms} of {test_rows:,} ({false_alarm_rate:.4f})",
    "remarks": "{remarks}",
}


@dataclass(frozen=True)
class Ran:
    """A command that ended.

    Attributes:
        seconds: Wall clock, the start of Python included.
        peak_mb: The most memory that it held.
    """

    code: int
    stdout: str
    stderr: str
    seconds: float
    peak_mb: float


def main() -> int:
    """Measure what is not measured yet, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="tables whose name contains this")
    arguments = parser.parse_args()
    results = Results.open(RESULTS / "tables.jsonl", fresh=arguments.fresh)
    print(heading(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, read in every_table():
            if arguments.only and not any(part in name for part in arguments.only):
                continue
            if not results.matching(table=name):
                results.add(measure(read(), Path(folder)))
                print(name, results.records[-1]["faults"] or "ok", flush=True)
    print("\n" + markdown(results.records, COLUMNS))
    if not adbench():
        print(skip_message())
    return report_faults(results.records)


def every_table() -> list[tuple[str, Callable[[], LabelledTable]]]:
    """Names, and how to read or make the table."""
    real = [(name, lambda path=path: read_adbench(path)) for name, path in adbench().items()]
    return [*extremes(), *real]


def measure(table: LabelledTable, folder: Path) -> Record:
    """Train and score with defaults; `faults` says what went wrong, if anything.

    Args:
        folder: Where the files and the registry of this benchmark lie.
    """
    model = "".join(c if c.isalnum() else "-" for c in table.name)
    data, scored = folder / f"{model}.csv", folder / f"{model}.parquet"
    table.write_csv(data)
    rows, columns = table.values.shape
    record: Record = {"table": table.name, "rows": rows, "columns": columns, "faults": []}
    trained = anomaly(folder, "train", data, "--name", model, "--label-column", LABEL)
    record |= {"train_s": trained.seconds, "train_mb": trained.peak_mb}
    if trained.code:
        return with_fault(record, f"train ended with {trained.code}: {last_line(trained)}")
    answer = json.loads(trained.stdout)
    record |= of_training(answer, trained.stderr)
    uri = f"models:/{model}/{answer['version']}"
    ran = anomaly(folder, "score", data, "--model", uri, "--output", scored)
    record |= {"score_s": ran.seconds, "score_mb": ran.peak_mb}
    if rows >= ENOUGH_FOR_SPEED:
        record["score_rows_per_s"] = rows / ran.seconds
    if ran.code:
        return with_fault(record, f"score ended with {ran.code}: {last_line(ran)}")
    record["faults"] = [*faults_of_scores(scored, rows), *faults_of(record)]
    data.unlink()
    scored.unlink()
    return record


def of_training(answer: dict[str, Any], stderr: str) -> Record:
    """What `anomaly train --json` answered, as figures."""
    metrics = answer["metrics"]
    notes = [line for line in stderr.splitlines() if line.startswith("note: ")]
    test_rows = int(metrics.get("test/normal_rows", 0))
    return {
        "auroc": metrics.get("test/auroc"),
        "average_precision": metrics.get("test/average_precision"),
        "alpha": answer["alpha"],
        "calibration_rows": answer["calibration_scores"],
        "test_rows": test_rows,
        "false_alarm_rate": metrics.get("test/false_alarm_rate"),
        "false_alarms": round(metrics.get("test/false_alarm_rate", 0) * test_rows),
        "notes": notes,
        "remarks": "; ".join(short(note) for note in notes),
    }


def short(note: str) -> str:
    """The first words of a note; the whole is in the JSON lines."""
    text = note.removeprefix("note: ")
    return text if len(text) <= 60 else text[:57].rsplit(" ", 1)[0] + " ..."


def anomaly(folder: Path, *arguments: object) -> Ran:
    """Run the command line of this checkout in a folder, as a user would, and watch its memory."""
    command = [sys.executable, "-m", "anomaly", *map(str, arguments), "--json"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    started = time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        subprocess.Popen(
            command,
            cwd=folder,
            stdout=out,
            stderr=err,
            env={**environment, "PYTHONPATH": str(ROOT)},
        ) as process,
    ):
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, high_water_mb(process.pid))
            time.sleep(0.02)
        seconds = time.monotonic() - started
        out.seek(0)
        err.seek(0)
        return Ran(process.returncode, out.read(), err.read(), seconds, peak)


def high_water_mb(pid: int) -> float:
    """The most memory that a process held so far; 0 once it has ended.

    Read while it runs, because what `wait4` tells starts from the memory of the parent.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return sum(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def last_line(ran: Ran) -> str:
    """What a failed command said at last."""
    said = (ran.stderr.strip() or ran.stdout.strip() or "nothing").splitlines()
    return said[-1]


def with_fault(record: Record, fault: str) -> Record:
    return {**record, "faults": [*record["faults"], fault], "remarks": fault}


def faults_of_scores(scored: Path, rows: int) -> list[str]:
    """What is impossible in the output of `anomaly score`."""
    output = parquet.read_table(scored, columns=["score", "p_value"])
    scores, p_values = (output[name].to_numpy() for name in ("score", "p_value"))
    found = []
    if len(scores) != rows:
        found.append(f"{len(scores)} rows of {rows} were scored")
    if not np.isfinite(scores).all():
        found.append(f"{(~np.isfinite(scores)).sum()} scores are not finite")
    if not ((p_values > 0) & (p_values <= 1)).all():
        found.append("p-values outside (0, 1]")
    return found


def faults_of(record: Record) -> list[str]:
    """What is wrong with the figures."""
    found = []
    if record["test_rows"]:
        chance = chance_of(
            record["false_alarms"],
            record["test_rows"],
            record["calibration_rows"],
            record["alpha"],
        )
        if chance < CHANCE:
            found.append(f"so many false alarms have a chance of {chance:.1g}")
    found += [
        f"{record[key]:,.0f} MB of memory"
        for key in ("train_mb", "score_mb")
        if record[key] > MOST_MB
    ]
    return found


def chance_of(false_alarms: int, test_rows: int, calibration_rows: int, alpha: float) -> float:
    """The probability of at least so many false alarms, if the rate holds.

    Without ties the rate of one calibration is Beta(k, n + 1 - k), k = floor(alpha (n + 1))
    (Vovk 2012, Conditional validity of inductive conformal predictors), so the count is
    beta-binomial; ties only make it smaller.
    """
    # A little above, so that 0.01 * 100 is 1 and not the floor of 0.999...
    k = int(alpha * (calibration_rows + 1) + 1e-9)
    return float(betabinom.sf(false_alarms - 1, test_rows, k, calibration_rows + 1 - k))


def report_faults(records: list[Record]) -> int:
    """Print every fault; the exit code."""
    faults = [(r["table"], fault) for r in records for fault in r["faults"]]
    for table, fault in faults:
        print(f"FAULT: {table}: {fault}")
    print(f"{len(records)} tables, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
