"""Is the exchangeability alarm as rare as it promises, and how soon does it ring?

    python -m benchmarks.drift_alarm [--runs N] [--only NAME ...]

False alarms: streams of 100 rows for each calibration row, all from one population, many of them
tied. Negative control: the same streams ranked among the calibration rows alone, which must alarm.
Delay: held-out normal rows of real tables, then a share of anomalies among them, or one column
shifted; rows until the martingale alarms, beside rows until some column's PSI exceeds 0.25 in a
window of the last 1,000. An alarm before the change counts as false. Exit code 1 if the promise is
broken.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator

import numpy as np

from anomaly import VAEDetector
from anomaly.arrays import Float64
from anomaly.detector import Detector
from anomaly.martingale import Bag, Martingale
from anomaly.reference import Watched, score_edges
from benchmarks.labelled import adbench, read_adbench, skip_message
from benchmarks.record import Record, heading, markdown
from service.drift import Window
from service.seen import Seen

EDGES_FROM = 2_000
STREAM = 100
"""Rows of a stream for each calibration row."""

CALIBRATION_ROWS = (100, 1_000, 5_000)
THRESHOLDS = (20, 1_000)
AT_ONCE = 2_048
MOST_ROWS = 5 * 10**8
"""Of all runs of one kind together: with 5,000 calibration rows there are fewer runs."""

TABLES = ("32_shuttle", "22_magic.gamma", "28_pendigits")
FIT_ROWS = 3_000
HEALTHY, CHANGED, STEP = 1_000, 5_000, 20
PSI_ROWS, PSI_ALARM, FEWEST = 1_000, 0.25, 500
STREAMS = 9
SHARES = (0.05, 0.2)
SHIFTS = (0.5, 1.0, 2.0)

Ranks = Callable[[Float64], Float64]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--only", nargs="*", default=TABLES, metavar="NAME", help="of the tables")
    arguments = parser.parse_args()
    print(heading(), flush=True)
    found = []
    for n in CALIBRATION_ROWS:
        runs = max(1, min(arguments.runs, MOST_ROWS // (STREAM * n)))
        found.append(false_alarms(n, runs, "all rows before it", online))
        found.append(false_alarms(n, max(1, runs // 10), "calibration rows only", fixed))
    print(markdown(found, dict(of_alarms(THRESHOLDS))), flush=True)
    paths = adbench()
    if not paths:
        print(skip_message())
    for name in arguments.only if paths else ():
        records = list(delays(name))
        print("\n" + markdown(records, OF_DELAYS), flush=True)
    return int(any(record["broken"] for record in found))


def of_alarms(thresholds: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """Columns of the table of false alarms."""
    yield from {"calibration rows": "{n:,}", "ranked among": "{among}", "runs": "{runs:,}"}.items()
    yield "rows of a run", "{rows:,}"
    for threshold in thresholds:
        yield f"alarms at {threshold:,} (at most {1 / threshold:.1%})", f"{{at_{threshold}:.2%}}"


OF_DELAYS = {
    "table": "{table}",
    "change": "{change}",
    "martingale: rows until": "{martingale}",
    "false": "{martingale_false}",
    "PSI > 0.25: rows until": "{psi}",
    "false ": "{psi_false}",
}


def online(edges: Float64, calibration: Float64, seed: int) -> Ranks:
    """Ranks among all rows before."""
    return Bag(edges, calibration, seed).ranks


def fixed(edges: Float64, calibration: Float64, seed: int) -> Ranks:
    """Ranks among the calibration rows alone: what must not be bet on."""
    ordered, rng = np.sort(calibration), np.random.default_rng(seed)

    def ranks(scores: Float64) -> Float64:
        higher = len(ordered) - np.searchsorted(ordered, scores, side="right")
        equal = np.searchsorted(ordered, scores, side="right") - np.searchsorted(ordered, scores)
        found: Float64 = (higher + (1 - rng.random(len(scores))) * (1 + equal)) / (1 + len(ordered))
        return found

    return ranks


def false_alarms(n: int, runs: int, among: str, make: Callable[..., Ranks]) -> Record:
    """Shares of runs without any change that alarm, at each of `THRESHOLDS`."""
    highest = np.array([highest_of_run(n, seed, make) for seed in range(runs)])
    shares = {f"at_{t}": float(np.mean(highest >= np.log(t))) for t in THRESHOLDS}
    limits = {t: 1 / t + 3.29 * np.sqrt(1 / t * (1 - 1 / t) / runs) for t in THRESHOLDS}
    exceeded = any(shares[f"at_{t}"] > limits[t] for t in THRESHOLDS)
    is_control = make is fixed
    # Of many calibration rows 100 times as many hardly tell.
    is_silent = n == CALIBRATION_ROWS[0] and shares["at_20"] < 0.5
    broken = is_silent if is_control else exceeded
    return {"n": n, "runs": runs, "rows": STREAM * n, "among": among, "broken": broken, **shares}


def highest_of_run(n: int, seed: int, make: Callable[..., Ranks]) -> float:
    """The logarithm of the highest capital on a stream without any change."""
    rng = np.random.default_rng([n, seed])

    def scores(rows: int) -> Float64:
        return np.round(rng.exponential(size=rows), 2)

    edges = score_edges(scores(EDGES_FROM))
    ranks, martingale = make(edges, scores(n), seed), Martingale()
    for start in range(0, STREAM * n, AT_ONCE):
        martingale.bet(ranks(scores(min(AT_ONCE, STREAM * n - start))))
    return martingale.log_highest


def delays(name: str) -> Iterator[Record]:
    """For each change of one table the median delay of both alarms."""
    table = read_adbench(adbench()[name])
    normal = np.random.default_rng(0).permutation(table.normal.astype(np.float64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = VAEDetector(random_state=0).fit(normal[:FIT_ROWS]).detector_
    held_out, anomalies = normal[FIT_ROWS:], table.values[table.is_anomalous]
    sd = normal[:FIT_ROWS].std(axis=0)
    columns = np.flatnonzero(sd > 0)

    def mixed(share: float) -> Callable[[Float64, np.random.Generator], Float64]:
        def change(rows: Float64, rng: np.random.Generator) -> Float64:
            drawn = anomalies[rng.integers(len(anomalies), size=len(rows))]
            return np.where(rng.random((len(rows), 1)) < share, drawn, rows)

        return change

    def shifted(by: float) -> Callable[[Float64, np.random.Generator], Float64]:
        def change(rows: Float64, rng: np.random.Generator) -> Float64:
            moved, column = rows.copy(), rng.choice(columns)
            moved[:, column] += by * sd[column]
            return moved

        return change

    changes = {"none": lambda rows, rng: rows}
    changes |= {f"{share:.0%} anomalies": mixed(share) for share in SHARES}
    changes |= {f"one column + {by:g} sd": shifted(by) for by in SHIFTS}
    for what, change in changes.items():
        runs = [one_delay(detector, held_out, change, seed) for seed in range(STREAMS)]
        both = zip(*runs, strict=True)
        of_martingale, of_psi = (told(list(found)) for found in both)
        yield {
            "table": name,
            "change": what,
            "martingale": of_martingale[0],
            "martingale_false": of_martingale[1],
            "psi": of_psi[0],
            "psi_false": of_psi[1],
        }


def one_delay(
    detector: Detector,
    held_out: Float64,
    change: Callable[[Float64, np.random.Generator], Float64],
    seed: int,
) -> tuple[float, float]:
    """Rows from the change until each alarm: infinite for none, negative for one before it."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(held_out)[: HEALTHY + CHANGED]
    rows = np.concatenate([rows[:HEALTHY], change(rows[HEALTHY:], rng)])
    records = detector.records(rows)
    watched, scores = detector.watched(records), detector.detect(records).scores
    bag = Bag(np.array(detector.reference.score_edges), detector.calibration.scores, seed)
    martingale, window = Martingale(), Window(detector.reference, 0, PSI_ROWS, np.inf)
    at = {"martingale": np.inf, "psi": np.inf}
    for start in range(0, len(rows), STEP):
        some = slice(start, start + STEP)
        martingale.bet(bag.ranks(scores[some]))
        window.add(Seen.of(Watched(watched.numbers[some])), np.ones(STEP))
        tally = window.total().tally
        now = start + STEP - HEALTHY
        if martingale.has_reached(1_000):
            at["martingale"] = min(at["martingale"], now)
        if tally.rows >= FEWEST:
            largest = max(drift.psi for drift in detector.reference.drifts(tally))
            at["psi"] = min(at["psi"], now) if largest > PSI_ALARM else at["psi"]
        if max(at.values()) < np.inf:
            break
    return at["martingale"], at["psi"]


def told(found: list[float]) -> tuple[str, str]:
    """The median of those that are not before the change, and how many are."""
    after = [rows for rows in found if rows > 0]
    median = statistics.median(after) if after else np.inf
    text = f"more than {CHANGED:,}" if median == np.inf else f"{median:,.0f}"
    return text, f"{len(found) - len(after)} of {len(found)}"


if __name__ == "__main__":
    sys.exit(main())
