"""Detection quality when anomalies hide among the training rows, and whether a user is warned.

    python -m benchmarks.contamination [--only TABLE ...] [--methods NAME ...] [--seeds N ...]
        [--again]

Protocol R (`benchmarks.protocol`) on the tables of ADBench, with 0, 1, 5 or 10 % of the training
rows replaced by anomalies. As many anomalies as the highest level needs are taken out of the test
set at every level, so that all levels are judged on the same rows; a table that is then left with
fewer than ten is out of the comparison, and only shows whether clean rows are warned of. Work that
was done is kept.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import mean

import numpy as np

from anomaly.arrays import Bool, Values
from anomaly.contamination import ContaminationWarning
from anomaly.presets import PRESETS
from benchmarks.accuracy_ours import as_shipped
from benchmarks.classical import CLASSICAL, NEAREST
from benchmarks.contest import measured
from benchmarks.labelled import adbench, read_adbench, skip_message
from benchmarks.protocol import Split, divided, standardised
from benchmarks.record import RESULTS, Record, Results, heading, markdown

SHARES = (0.0, 0.01, 0.05, 0.1)
FEWEST_LEFT = 10
"""Fewer anomalies in the test set than this measure nothing."""

OURS = {f"ours/{preset}": preset for preset in PRESETS}
METHODS = ("ours/default", "ours/robust", NEAREST, "sklearn/isolation-forest")


def main() -> int:
    """Measure what is not measured yet, print the table."""
    arguments = parsed()
    tables = {
        name: path
        for name, path in adbench().items()
        if not arguments.only or any(part in name for part in arguments.only)
    }
    if not tables:
        print(skip_message())
        return 0
    print(heading(), flush=True)
    results = Results.open(
        arguments.results, fresh=arguments.again, of_any_code=lambda r: r["method"] in CLASSICAL
    )
    for name, path in tables.items():
        measure(results, name, path, list(product(arguments.methods, arguments.seeds)))
    wanted = [r for r in results.records if r["table"] in tables]
    print("\n" + report(wanted, arguments.methods))
    return 0


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="TABLE", help="whose name contains this")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=METHODS,
        choices=(*OURS, *CLASSICAL),
        metavar="NAME",
        help=", ".join((*OURS, *CLASSICAL)),
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=(0,), metavar="N")
    parser.add_argument("--again", action="store_true", help="measure again what was measured")
    parser.add_argument(
        "--results", type=Path, default=RESULTS / "contamination.jsonl", metavar="PATH"
    )
    return parser.parse_args()


def measure(results: Results, table: str, path: Path, items: Sequence[tuple[str, int]]) -> None:
    """Add what is missing of one table."""
    labelled = read_adbench(path)
    for (method, seed), share in product(items, SHARES):
        key = {"table": table, "method": method, "seed": seed, "share": share}
        if results.matching(**key):
            continue
        given = contaminated(labelled.values, labelled.is_anomalous, seed, share)
        if given is not None:
            results.add({**key, "compared": True, **figures_of(method, given, seed)})
        elif share == 0.0 and method in OURS:
            train, test = divided(labelled.is_anomalous, seed)
            rows = labelled.values.astype(np.float64)
            clean = Split(rows[train], rows[test], labelled.is_anomalous[test])
            results.add({**key, "compared": False, **figures_of(method, clean, seed)})
        else:
            continue
        print(f"{table} {method} {seed} {share:.0%}: done", flush=True)


def contaminated(values: Values, is_anomalous: Bool, seed: int, share: float) -> Split | None:
    """Protocol R with anomalies in place of that share of the training rows.

    A higher share hides the rows of a lower one and more, in the same places.

    Returns:
        None if the table has too few anomalies for the highest share.
    """
    train, test = divided(is_anomalous, seed)
    anomalies = test[is_anomalous[test]]
    reserved = round(max(SHARES) * len(train))
    if len(anomalies) < reserved + FEWEST_LEFT:
        return None
    hidden = anomalies[: round(share * len(train))]
    places = np.random.default_rng([seed, 1]).permutation(len(train))[: len(hidden)]
    mixed = train.copy()
    mixed[places] = hidden
    judged = np.concatenate([test[~is_anomalous[test]], anomalies[reserved:]])
    rows = values.astype(np.float64)
    return Split(rows[mixed], rows[judged], is_anomalous[judged])


def figures_of(method: str, given: Split, seed: int) -> Record:
    """Quality, and whether our detector warned of the training rows."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if method in CLASSICAL:
            return measured(CLASSICAL[method], standardised(given), seed)
        figures = measured(as_shipped(OURS[method]), given, seed)
    return {**figures, "warned": any(w.category is ContaminationWarning for w in caught)}


def report(records: Sequence[Record], methods: Sequence[str]) -> str:
    """What was measured, as Markdown: means over the tables that all methods share."""
    compared = [r for r in records if r["compared"]]
    done = [
        {r["table"] for r in compared if (r["method"], r["share"]) == key}
        for key in product(methods, SHARES)
    ]
    tables = set.intersection(*done)
    if not tables:
        return "no table has every method at every level"
    lines = [line_of(m, [r for r in compared if r["table"] in tables], records) for m in methods]
    left_out = sorted({r["table"] for r in records if not r["compared"]})
    columns = {"method": "{method}"}
    columns |= {f"{share:.0%}": f"{{auroc[{share:.2f}]}}" for share in SHARES}
    columns |= {f"loss at {share:.0%}": f"{{loss[{share:.2f}]}}" for share in SHARES[1:]}
    columns |= {f"warned at {share:.0%}": f"{{warned[{share:.2f}]}}" for share in SHARES}
    return "\n\n".join(
        [
            f"AUROC x 100, means over {len(tables)} tables ({', '.join(sorted(tables))}).",
            markdown(lines, columns),
            "Too few anomalies to hide, clean rows only: " + (", ".join(left_out) or "none") + ".",
        ]
    )


def line_of(method: str, compared: Sequence[Record], all_records: Sequence[Record]) -> Record:
    """The figures of one method by level; warnings are counted on every table there is."""
    of_level = {
        share: [r for r in compared if (r["method"], r["share"]) == (method, share)]
        for share in SHARES
    }
    auroc = {share: 100 * mean(r["auroc"] for r in found) for share, found in of_level.items()}
    line: Record = {
        "method": method,
        "auroc": {f"{share:.2f}": f"{value:.2f}" for share, value in auroc.items()},
        "loss": {f"{share:.2f}": f"{auroc[0.0] - value:.2f}" for share, value in auroc.items()},
    }
    if method in OURS:
        line["warned"] = {f"{share:.2f}": warned(all_records, method, share) for share in SHARES}
    return line


def warned(records: Sequence[Record], method: str, share: float) -> str:
    """`x of n` fits."""
    fits = [r["warned"] for r in records if (r["method"], r["share"]) == (method, share)]
    return f"{sum(fits)} of {len(fits)}"


if __name__ == "__main__":
    sys.exit(main())
