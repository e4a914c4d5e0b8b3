"""`anomaly score` where DATA is a table of rows."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import anomaly
from anomaly.backends.backend import device_named
from anomaly.batch.local import BatchReport, score_file
from anomaly.batch.sinks import check_suffix
from anomaly.cli.console import progress, result
from anomaly.data.options import ReadOptions
from anomaly.errors import ConfigInvalid


def score_table(
    data: Path,
    model: str,
    output: Path,
    *,
    alpha: float | None,
    keep_input: bool,
    bad_rows: str,
    rejects: Path | None,
    device: str,
    read: ReadOptions,
    as_json: bool,
) -> BatchReport:
    """Score the rows of DATA and say what was found."""
    if bad_rows not in ("fail", "quarantine"):
        raise ConfigInvalid(f"--bad-rows is `fail` or `quarantine`, not {bad_rows!r}.")
    if rejects is not None and bad_rows == "fail":
        raise ConfigInvalid("--rejects lists quarantined rows: add --bad-rows quarantine.")
    if bad_rows == "quarantine":
        rejects = rejects or output.with_name(f"{output.name}.rejects.csv")
    check_suffix(output.suffix)
    detector = anomaly.load(model, device_named(device))
    done = 0
    with progress("scoring") as update:

        def on_rows(rows: int) -> None:
            nonlocal done
            done += rows
            update(done, f"{done:,} rows")

        report = score_file(
            detector,
            data,
            output,
            alpha=alpha,
            keep_input=keep_input,
            rejects=rejects,
            options=read,
            on_rows=on_rows,
        )
    share = report.flagged / report.rows if report.rows else 0.0
    lines = [
        f"{report.rows:,} rows scored, {report.flagged:,} flagged ({share:.2%}; on normal "
        f"{detector.calibration.unit}s alpha = {report.alpha:g} promises at most "
        f"{report.alpha:.2%} on average): {output}"
    ]
    lines += [f"{count:,} values: {code}" for code, count in report.warnings.items()]
    if report.rejected:
        lines.append(f"{report.rejected:,} rows could not be read and are listed in {rejects}")
    result({**asdict(report), "output": output}, as_json=as_json, text="\n".join(lines))
    return report
