"""What metrics and drift cost, as a share of scoring.

    python -m benchmarks.monitoring_cost [--columns N]

Of every batch size: microseconds of `detector.detect`, and of all that is counted about a batch
(metrics, window, ranks and bets), whose larger part waits until 1,024 rows are there; both are
means over a run of batches, and medians over runs in alternation.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

from anomaly import VAEDetector
from anomaly.data.records import NumericColumns, Records
from anomaly.detector import Detector
from benchmarks.labelled import correlated
from benchmarks.record import Record, heading, markdown
from service.drift import DriftWatch
from service.ledger import ROWS_TOGETHER, Ledger, Scored, drawn
from service.metrics import Metrics
from service.seen import Seen, TableRows
from service.settings import DriftSettings

BATCHES = (1, 32, 100, 1024)
REPEATS = 9
COLUMNS = {
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        normal = correlated(np.random.default_rng(0), 4_000, columns)
        detector = VAEDetector(random_state=0).fit(normal).detector_
    print(markdown([cost(detector, rows, columns) for rows in BATCHES], COLUMNS))
    return 0


def cost(detector: Detector, rows: int, columns: int) -> Record:
    """Of batches of so many rows."""
    matrix = correlated(np.random.default_rng(1), rows, columns)
    records = Records(NumericColumns(detector.schema.names, matrix), rows)
    verdicts, calibration = detector.detect(records), detector.calibration
    metrics, ledger = Metrics().of("made"), Ledger()
    watch = DriftWatch(detector.reference, calibration, detector.explained, DriftSettings(), 0)
    rng, kept = np.random.default_rng(0), TableRows(records, detector.terms(records))

    def count(scored: Scored) -> None:
        metrics.rows_scored(scored, calibration, "1")
        some = drawn(len(scored), rng)
        seen = Seen.of_table(detector, scored.pick(some))
        watch.rows_seen(seen, scored.scores[some], scored.p_values[some])

    batches = max(4, 4 * ROWS_TOGETHER // rows)
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
