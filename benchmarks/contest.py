"""How a method is measured on a split, alike in every virtual environment.

Needs NumPy and scikit-learn, so that all sides can import it.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

from sklearn.metrics import average_precision_score, roc_auc_score

from anomaly.arrays import Bool, Float64
from benchmarks.protocol import Split
from benchmarks.record import Record, versions


@dataclass(frozen=True)
class Fitted:
    """A fitted method.

    Attributes:
        score: (M, D) -> (M,), higher is more anomalous.
        is_anomaly: Scores (M,) -> verdicts (M,) at the rate alpha, of methods that promise one.
    """

    score: Callable[[Float64], Float64]
    is_anomaly: Callable[[Float64], Bool] | None = None
    alpha: float | None = None


Fit = Callable[[Float64, int], Fitted]
"""Training rows (N, D), seed -> fitted."""


@dataclass(frozen=True)
class Work:
    """What one process is told to measure.

    Attributes:
        splits: .npz of the `Split`, in the table's own units, by seed.
        items: Methods and seeds, in order.
    """

    splits: dict[str, str]
    items: list[tuple[str, int]]

    def save(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @staticmethod
    def load(path: Path) -> Work:
        """What `save` wrote."""
        work = json.loads(path.read_text(encoding="utf-8"))
        return Work(work["splits"], [(method, seed) for method, seed in work["items"]])


def answer(measure: Callable[[str, Split, int], Record]) -> None:
    """Measure the work named on the command line; print one JSON line for each item as it ends.

    Args:
        measure: Method, split in the table's own units, seed -> figures.
    """
    work = Work.load(Path(sys.argv[1]))
    of_libraries = versions("numpy", "scikit-learn", "torch", "pyod")
    for method, seed in work.items:
        # What a library says (progress, few rows, equal rows) is not at issue, nor an answer.
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            figures = measure(method, Split.load(Path(work.splits[str(seed)])), seed)
        record = {"method": method, "seed": seed, **figures, "versions": of_libraries}
        print(json.dumps(record), flush=True)


def measured(fit: Fit, given: Split, seed: int) -> Record:
    """Quality and seconds of one fit.

    AUROC and average precision are shares of 1. Seconds are wall clock: of the fit, and of scoring
    all test rows at once.
    """
    started = time.perf_counter()
    fitted = fit(given.train, seed)
    fit_s = time.perf_counter() - started
    started = time.perf_counter()
    scores = fitted.score(given.test)
    score_s = time.perf_counter() - started
    record: Record = {
        "auroc": float(roc_auc_score(given.is_anomalous, scores)),
        "average_precision": float(average_precision_score(given.is_anomalous, scores)),
        "fit_s": fit_s,
        "score_s": score_s,
        "train_rows": len(given.train),
        "test_rows": len(given.test),
        "anomalies": int(given.is_anomalous.sum()),
        "columns": given.train.shape[1],
    }
    if fitted.is_anomaly is not None:
        of_normal = fitted.is_anomaly(scores)[~given.is_anomalous]
        record |= {"alpha": fitted.alpha, "false_alarm_rate": float(of_normal.mean())}
    return record
