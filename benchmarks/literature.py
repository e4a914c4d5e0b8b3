"""What the literature says of autoencoders, measured and drawn for docs/models.md.

    python -m benchmarks.literature [--fresh] [--only CLAIM ...]

Work that was done for the same code is kept, so that a run that was stopped goes on where it was;
figures are drawn from the results, in docs/figures. `latent_size` needs real tables and is skipped
where they are missing.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from benchmarks import literature_claims as claims
from benchmarks import literature_figures as figures
from benchmarks.labelled import skip_message
from benchmarks.record import RESULTS, ROOT, Record, Results, heading, markdown

FIGURES = ROOT / "docs" / "figures"
BY_BETA = {"active units": "{active_units:.1f}", "gap": "{factor_gap:.2f}"}
IN_NATS = {"reconstruction": "{reconstruction:.2f}", "KL": "{kl_nats:.2f}"}


@dataclass(frozen=True)
class Claim:
    """What is measured, and how it is shown.

    Attributes:
        over: The key whose records are averaged in the table, if any.
        columns: Titles and formats of the table.
    """

    items: Callable[[], Iterator[claims.Item]]
    draw: Callable[[Sequence[Record]], Figure]
    columns: dict[str, str]
    over: str | None = "seed"


CLAIMS = {
    "holes": Claim(
        claims.holes,
        figures.holes,
        {
            "samples": "{samples}",
            "distance to the nearest real row": "{relative_distance:.2f}",
            "told apart from decoded real rows (AUROC)": "{told_apart:.2f}",
        },
    ),
    "beta": Claim(
        claims.beta,
        figures.beta,
        {"beta": "{beta:g}", "capacity": "{capacity:g}", **BY_BETA, **IN_NATS},
    ),
    "quantisation": Claim(
        claims.quantisation,
        figures.quantisation,
        {
            "model": "{model}",
            "codes": "{codes}",
            "words": "{groups}",
            "latents": "{latents}",
            "bits a row": "{bits:.0f}",
            "codes in use": "{used_codes}",
            "unexplained": "{unexplained:.3f}",
        },
        over=None,
    ),
    "latent_size": Claim(
        claims.latent_size,
        figures.latent_size,
        {
            "table": "{table}",
            "columns": "{columns}",
            "beta": "{beta:g}",
            "latents": "{latents}",
            "active units": "{active_units}",
            **IN_NATS,
            "AUROC": "{auroc:.3f}",
        },
        over=None,
    ),
    "context": Claim(
        claims.context,
        figures.context,
        {"preset": "{preset}", "the machine is": "{told}", "AUROC": "{auroc:.3f}"},
    ),
    "clusters": Claim(
        claims.clustered,
        figures.clustered,
        {"prior": "{prior}", "between the clusters": "{between:.1%}", **IN_NATS},
    ),
}


def main() -> None:
    """Measure what is not measured yet, print the tables, draw the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured")
    parser.add_argument("--only", nargs="+", default=tuple(CLAIMS), choices=tuple(CLAIMS))
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    results = Results.open(RESULTS / "literature.jsonl", fresh=arguments.fresh)
    print(heading(), flush=True)
    FIGURES.mkdir(exist_ok=True)
    for name in arguments.only:
        found = measured(name, CLAIMS[name], results)
        print(f"{name}\n\n{table(CLAIMS[name], found) if found else skip_message()}\n", flush=True)
        if found:
            CLAIMS[name].draw(found).savefig(FIGURES / f"{name}.png")


def measured(name: str, claim: Claim, results: Results) -> list[Record]:
    """The records of a claim in its own order, those that were missing measured now."""
    found = []
    for key, measure in claim.items():
        if not results.matching(claim=name, **key):
            results.add({"claim": name, **key, **measure()})
        found += results.matching(claim=name, **key)
    return found


def table(claim: Claim, records: Sequence[Record]) -> str:
    """The records as Markdown, means over seeds."""
    lines: dict[tuple[object, ...], list[Record]] = {}
    names = [name for key, _ in claim.items() for name in key if name != claim.over]
    for record in records:
        lines.setdefault(tuple(record.get(name) for name in dict.fromkeys(names)), []).append(
            record
        )
    return markdown([mean(alike) for alike in lines.values()], claim.columns)


def mean(records: Sequence[Record]) -> Record:
    """One record, numbers averaged."""
    first = records[0]
    return {
        name: sum(r[name] for r in records) / len(records)
        if len(records) > 1 and isinstance(value, (int, float))
        else value
        for name, value in first.items()
    }


if __name__ == "__main__":
    main()
