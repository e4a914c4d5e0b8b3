"""The alarm against exchangeability: how rare without a change, how soon after one.

    python -m benchmarks.drift_alarm [--runs 1000] [--repeats 10]

False alarms: streams of 100 times as many rows as there are calibration scores, all exchangeable.
The control makes the same bets on p-values against the calibration scores alone, which is the
mistake that the alarm avoids. Delays: a detector is fitted on half of a real table's normal rows;
the stream is rows of the other half, and from some row on a share of them are anomalies, or one
column is moved. Beside it the usual alarm: a population stability index above 0.25 of any column,
over a window of the last 1,000 rows that is looked at every 100 rows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from anomaly import VAEDetector
from anomaly.arrays import Float64, Values
from anomaly.exchangeability import ConformalMartingale, Start
from benchmarks.labelled import LabelledTable, adbench, read_adbench, skip_message
from benchmarks.record import Record, heading, markdown

SIZES = {100: 10, 1_000: 250, 5_000: 1_000}
"""Calibration scores, and rows between two looks at the capital."""

THRESHOLDS = (20, 100, 1_000)
CONTROL_RUNS = 100
TABLES = ("32_shuttle", "22_magic.gamma", "1_ALOI", "11_donors")
QUIET_ROWS = 2_000
CHANGED_ROWS = 2_000
LOOK = 10
ALARM_LOG10 = 3.0

WINDOW = 1_000
WINDOW_LOOK = 100
PSI_ALARM = 0.25

NULL = {
    "calibration scores": "{n}",
    "rows": "{rows:,}",
    "runs": "{runs}",
    **{f"ever {c}": f"{{at_{c}:.4f}}" for c in THRESHOLDS},
    "control: ever 20": "{control:.2f}",
}
DELAYS = {
    "table": "{table}",
    "change": "{change}",
    "calibration scores": "{n}",
    "before": "{early:.2f}",
    "found": "{found:.2f}",
    "rows until the alarm": "{delay}",
    "PSI found": "{psi_found:.2f}",
    "rows until PSI > 0.25": "{psi_delay}",
}

Change = Callable[[Values, Values, np.random.Generator], Values]


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=10)
    asked = parser.parse_args()
    print(heading(), flush=True)
    with ProcessPoolExecutor(2) as pool:
        for n, look in SIZES.items():
            runs = list(pool.map(partial(highest, n, look), range(asked.runs), chunksize=10))
            control = list(pool.map(partial(highest_of_control, n), range(CONTROL_RUNS)))
            print(markdown([null_line(n, runs, control)], NULL), flush=True)
    tables = adbench()
    if not tables:
        print(skip_message())
        return 0
    for name in TABLES:
        lines = list(delays(read_adbench(tables[name]), asked.repeats))
        print(markdown(lines, DELAYS), flush=True)
    return 0


def highest(n: int, look: int, seed: int) -> float:
    """Log10 of the largest capital on one exchangeable stream."""
    rng = np.random.default_rng((n, seed))
    martingale = ConformalMartingale(Start.of(rng.normal(size=n), rng), rng)
    for _ in range(100 * n // look):
        martingale.update(rng.normal(size=look))
    return martingale.highest_log10


def highest_of_control(n: int, seed: int) -> float:
    """The same where p-values rank each row among the calibration scores alone."""
    rng = np.random.default_rng((n, seed, 1))
    calibration = np.sort(rng.normal(size=n))
    martingale = ConformalMartingale(Start.of(calibration, rng), rng)
    for _ in range(100):
        below = np.searchsorted(calibration, rng.normal(size=n))
        martingale.bet((n - below + rng.random(n)) / (n + 1))
    return martingale.highest_log10


def null_line(n: int, runs: list[float], control: list[float]) -> Record:
    """How often each threshold was ever reached."""
    at = {f"at_{c}": float(np.mean(np.array(runs) >= np.log10(c))) for c in THRESHOLDS}
    worst = float(np.mean(np.array(control) >= np.log10(20)))
    return {"n": n, "rows": 100 * n, "runs": len(runs), "control": worst, **at}


def some_anomalies(share: float) -> Change:
    """That share of the rows are anomalies of the table."""

    def change(rows: Values, anomalies: Values, rng: np.random.Generator) -> Values:
        changed = rows.copy()
        where = rng.random(len(rows)) < share
        changed[where] = anomalies[rng.integers(len(anomalies), size=int(where.sum()))]
        return changed

    return change


def moved(deviations: float) -> Change:
    """The first column that varies is larger by so many standard deviations."""

    def change(rows: Values, _: Values, __: np.random.Generator) -> Values:
        changed = rows.copy()
        column = int(np.flatnonzero(rows.std(axis=0))[0])
        changed[:, column] += deviations * rows[:, column].std()
        return changed

    return change


CHANGES: dict[str, Change] = {
    "5 % anomalies": some_anomalies(0.05),
    "20 % anomalies": some_anomalies(0.2),
    "a column by 1 sd": moved(1.0),
    "a column by 2 sd": moved(2.0),
}


def delays(table: LabelledTable, repeats: int) -> Iterator[Record]:
    """One line for each change."""
    rng = np.random.default_rng(0)
    normal = rng.permutation(table.normal.astype(np.float64))
    half = min(len(normal) // 2, 10_000)
    detector = VAEDetector(random_state=0, device="cpu").fit(normal[:half]).detector_
    calibration = detector.calibration.scores
    edges = np.quantile(normal[:half], np.arange(0.1, 1, 0.1), axis=0)
    for name, change in CHANGES.items():
        found, seen = [], []
        for repeat in range(repeats):
            rng = np.random.default_rng((1, repeat))
            rows = rng.permutation(normal[half:])[: QUIET_ROWS + CHANGED_ROWS]
            quiet, then = rows[:QUIET_ROWS], rows[QUIET_ROWS:]
            stream = np.concatenate([quiet, change(then, table.values[table.is_anomalous], rng)])
            found.append(first_alarm(calibration, detector.anomaly_score(stream), repeat))
            seen.append(first_psi(edges, normal[:half], stream))
        late = [at - QUIET_ROWS for at in found if at is not None and at > QUIET_ROWS]
        psi = [at - QUIET_ROWS for at in seen if at is not None and at > QUIET_ROWS]
        yield {
            "table": table.name,
            "change": name,
            "n": len(calibration),
            "early": float(np.mean([at is not None and at <= QUIET_ROWS for at in found])),
            "found": len(late) / repeats,
            "delay": f"{np.median(late):.0f}" if late else "-",
            "psi_found": len(psi) / repeats,
            "psi_delay": f"{np.median(psi):.0f}" if psi else "-",
        }


def first_alarm(calibration: Float64, scores: Float64, seed: int) -> int | None:
    """After how many rows the capital reaches its threshold; None if it never does."""
    rng = np.random.default_rng(seed)
    martingale = ConformalMartingale(Start.of(calibration, rng), rng)
    for end in range(LOOK, len(scores) + 1, LOOK):
        martingale.update(scores[end - LOOK : end])
        if martingale.highest_log10 >= ALARM_LOG10:
            return end
    return None


def first_psi(edges: Values, reference: Values, stream: Values) -> int | None:
    """After how many rows a window's index exceeds its alarm for some column."""
    for end in range(WINDOW, len(stream) + 1, WINDOW_LOOK):
        window = stream[end - WINDOW : end]
        for column in range(stream.shape[1]):
            bins = np.unique(edges[:, column])
            index = psi(shares(bins, window[:, column]), shares(bins, reference[:, column]))
            if index > PSI_ALARM:
                return end
    return None


def shares(edges: Values, values: Values) -> Float64:
    """Of each bin, with half a row added to each so that none is empty."""
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1) + 0.5
    found: Float64 = counts / counts.sum()
    return found


def psi(now: Float64, before: Float64) -> float:
    """The population stability index."""
    return float(((now - before) * np.log(now / before)).sum())


if __name__ == "__main__":
    sys.exit(main())
