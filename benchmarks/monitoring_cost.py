"""What metrics and drift cost, as a share of scoring.

    python -m benchmarks.monitoring_cost [--columns N]

Of every batch size: microseconds of `detector.detect`, and of all that is counted about a batch
(metrics, window, ranks and bets), whose larger part waits until there are more; both are means over
a run of batches, and medians over runs in alternation. Rows are numbers, and then mixed: a quarter
of the columns are categories, and one value in twenty is missing, which is remarked of each.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

from anomaly import VAEDetector
from anomaly.data.records import NumericColumns, Records
from anomaly.data.schema import Kind
from anomaly.detector import Detector
from benchmarks.labelled import correlated
from benchmarks.record import Record, heading, markdown
from service.drift import DriftWatch
from service.ledger import BATCHES_TOGETHER, ROWS_TOGETHER, Ledger, Scored, drawn
from service.metrics import Metrics
from service.seen import Seen, TableRows
from service.settings import DriftSettings

BATCHES = (1, 32, 100, 1024)
REPEATS = 9
MISSING = 0.05
STEPS = (-np.inf, -1.0, -0.5, 0.0, 0.5, 1.0, np.inf)
COLUMNS = {
    "rows": "{kind}",
    "rows of a batch": "{rows:,}",
    "detect, µs": "{detect:,.0f}",
    "metrics and drift, µs": "{counted:,.1f}",
    "share of detect": "{share:.1%}",
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--columns", type=int, default=32)
    columns = parser.parse_args().columns
    print(heading(), flush=True)
    found = []
    for kind, make in (("numbers", numbers), ("mixed", mixed)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit_rows = make(np.random.default_rng(0), 4_000, columns)
            detector = VAEDetector(random_state=0).fit(fit_rows).detector_
        for rows in BATCHES:
            records = detector.records(make(np.random.default_rng(1), rows, columns))
            found.append({"kind": kind, **cost(detector, records)})
    print(markdown(found, COLUMNS))
    return 0


def numbers(rng: np.random.Generator, rows: int, columns: int) -> pd.DataFrame:
    """Numbers without gaps."""
    names = [f"x{i}" for i in range(columns)]
    return pd.DataFrame(correlated(rng, rows, columns), columns=names)


def mixed(rng: np.random.Generator, rows: int, columns: int) -> pd.DataFrame:
    """Numbers, and a category for every three of them, with gaps."""
    frame = numbers(rng, rows, columns)
    for name in frame.columns[::4]:
        frame[name] = pd.cut(frame[name], STEPS, labels=list("abcdef")).astype(object)
    return frame.mask(rng.random(frame.shape) < MISSING)


def cost(detector: Detector, records: Records) -> Record:
    """Of batches of these rows."""
    rows = len(records)
    if all(column.kind is Kind.NUMERIC for column in detector.schema.columns):
        # As the service reads such rows.
        names = detector.schema.names
        records = Records(NumericColumns(names, records.numbers(names)), rows)
    verdicts, calibration = detector.detect(records), detector.calibration
    metrics, ledger = Metrics().of("made"), Ledger()
    watch = DriftWatch(detector.reference, calibration, detector.explained, DriftSettings(), 0)
    rng, kept = np.random.default_rng(0), TableRows(records, detector.terms(records))

    def count(scored: Scored) -> None:
        metrics.rows_scored(scored, calibration, "1")
        some = drawn(len(scored), rng)
        seen = Seen.of_table(detector, scored.pick(some))
        watch.rows_seen(seen, scored.scores[some], scored.p_values[some])

    batches = 4 * min(BATCHES_TOGETHER, ROWS_TOGETHER // rows)
    calls: dict[str, Callable[[], object]] = {
        "detect": lambda: detector.detect(records),
        "counted": lambda: ledger.add(count, verdicts, kept),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS):
        for name, call in calls.items():
            times[name].append(microseconds(call, batches))
    found = {name: statistics.median(some) for name, some in times.items()}
    return {"rows": rows, **found, "share": found["counted"] / found["detect"]}


def microseconds(call: Callable[[], object], times: int) -> float:
    """Of one call, the mean over a run of them, by the clock of this thread."""
    started = time.thread_time()
    for _ in range(times):
        call()
    return (time.thread_time() - started) / times * 1e6


if __name__ == "__main__":
    sys.exit(main())
