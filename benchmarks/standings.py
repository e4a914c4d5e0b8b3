"""From the results of single fits to the tables that compare methods.

A figure of a method on a table is its mean over seeds; methods are compared over tables, and two of
them only on the tables that both were measured on.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import wilcoxon

from anomaly.arrays import Float64
from benchmarks.record import Record

QUALITIES = {"AUROC": "auroc", "AP": "average_precision"}


@dataclass(frozen=True)
class Paired:
    """One method beside another, table by table.

    Attributes:
        difference: The mean of ours minus theirs.
        wins: On how many tables ours is strictly above.
        tables: On how many both were measured.
        p: Two-sided Wilcoxon signed-rank test; small if the difference is more than luck.
    """

    difference: float
    wins: int
    tables: int
    p: float

    @property
    def points(self) -> float:
        """The difference x 100."""
        return 100 * self.difference


def paired(ours: dict[str, float], theirs: dict[str, float]) -> Paired | None:
    """Compare a figure for each table; None where no table is common to both."""
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        return None
    differences = np.array([ours[table] - theirs[table] for table in common])
    return Paired(
        float(differences.mean()),
        int((differences > 0).sum()),
        len(common),
        signed_rank_p(differences),
    )


def signed_rank_p(differences: Float64) -> float:
    """Wilcoxon 1945; 1 where nothing differs, which leaves the test without a rank."""
    return float(wilcoxon(differences).pvalue) if differences.any() else 1.0


def by_table(records: Sequence[Record], figure: str) -> dict[str, float]:
    """The mean over seeds, for each table."""
    values: dict[str, list[float]] = {}
    for record in records:
        values.setdefault(record["table"], []).append(record[figure])
    return {table: statistics.mean(found) for table, found in values.items()}


def by_seed(records: Sequence[Record], figure: str) -> dict[int, float]:
    """The mean over tables, for each seed in order."""
    values: dict[int, list[float]] = {}
    for record in records:
        values.setdefault(record["seed"], []).append(record[figure])
    return {seed: statistics.mean(values[seed]) for seed in sorted(values)}


def summary(records: Sequence[Record], reference: Sequence[Record]) -> Record:
    """The line of one method.

    Qualities are x 100. `fit_s` is the mean over tables of the median over seeds, because the
    first fit of a process also imports; rows/s are all test rows over all seconds of scoring.

    Args:
        records: Of one method.
        reference: Of the method that it is compared with.
    """
    line: Record = {"method": records[0]["method"]}
    for title, figure in QUALITIES.items():
        seeds = [100 * mean for mean in by_seed(records, figure).values()]
        ours = by_table(records, figure)
        line |= {
            title: 100 * statistics.mean(ours.values()),
            f"{title} seeds": " / ".join(f"{mean:.2f}" for mean in seeds),
            f"{title} sd": statistics.stdev(seeds) if len(seeds) > 1 else None,
            f"{title} paired": paired(ours, by_table(reference, figure)),
        }
    fits: dict[str, list[float]] = {}
    for record in records:
        fits.setdefault(record["table"], []).append(record["fit_s"])
    line |= {
        "tables": len(fits),
        "fit_s": statistics.mean(statistics.median(seconds) for seconds in fits.values()),
        "rows_per_s": sum(r["test_rows"] for r in records) / sum(r["score_s"] for r in records),
    }
    if "alpha" in records[0]:
        rate, alpha = (
            statistics.mean(by_table(records, figure).values())
            for figure in ("false_alarm_rate", "alpha")
        )
        line["false_alarms"] = f"{rate:.4f} of {alpha:.4f}"
    return line


def duel(ours: Sequence[Record], theirs: Sequence[Record]) -> Record:
    """The line of one of our presets beside one peer."""
    names = {"method": ours[0]["method"], "peer": theirs[0]["method"]}
    return names | {
        title: paired(by_table(ours, figure), by_table(theirs, figure))
        for title, figure in QUALITIES.items()
    }


def per_table(by_method: dict[str, Sequence[Record]], figure: str) -> list[Record]:
    """A line for each table, in order of name, that holds every method's figure x 100."""
    lines: dict[str, Record] = {}
    for method, records in by_method.items():
        for table, mean in by_table(records, figure).items():
            lines.setdefault(table, {"table": table})[method] = 100 * mean
    return [lines[table] for table in sorted(lines)]
