"""Jobs of several callers, scored together and taken apart again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np
from msgspec import Struct

from anomaly.calibration import Calibration
from anomaly.data.records import Records
from anomaly.detector import Detector, Verdicts
from anomaly.explain import Attributions
from anomaly.preprocessing.preprocessor import ColumnWarning
from anomaly.scores import ScoreTerms


class Job(Struct, frozen=True):
    """Rows to be scored, and what is wanted besides.

    Attributes:
        alpha: Another false-alarm rate for these rows.
        explain: Whether the flagged rows are to be explained.
        every: Whether the others are, too.
    """

    records: Records
    alpha: float | None = None
    explain: bool = False
    every: bool = False


class Result(Struct, frozen=True):
    """What the detector says of one job's rows.

    Attributes:
        attributions: Of the flagged rows only, or of every row, in their order; None if there is
            none, or unless asked for.
    """

    verdicts: Verdicts
    attributions: Attributions | None


def compute(
    detector: Detector,
    jobs: Sequence[Job],
    on_scored: Callable[[Records, Verdicts, ScoreTerms], None],
) -> list[Result]:
    """Score the rows of all jobs in one go.

    Rows do not see each other (`anomaly.backends.blocks`), so each job gets what it would get
    alone, to the bit.

    Args:
        on_scored: Told of all of them, with their verdicts at the model's own alpha, and the terms
            of their scores.
    """
    records = Records.concatenate(job.records for job in jobs)
    terms = detector.terms(records)
    verdicts = detector.verdicts(records, terms)
    ends = list(accumulate(len(job.records) for job in jobs))
    warnings = divided(verdicts.warnings, ends)
    results = [
        _result(detector, job, part(verdicts, end - len(job.records), end, tuple(own)))
        for job, end, own in zip(jobs, ends, warnings, strict=True)
    ]
    # Last: if a job fails, all are computed again.
    on_scored(records, verdicts, terms)
    return results


def divided(warnings: Sequence[ColumnWarning], ends: Sequence[int]) -> list[list[ColumnWarning]]:
    """For each job its own, with rows counted from its first; `ends` says where jobs end."""
    found: list[list[ColumnWarning]] = [[] for _ in ends]
    if not warnings:
        return found
    # All remarks at once: on rows of another kind than the usual, there is one for each column.
    rows = np.concatenate([warning.rows for warning in warnings])
    numbers = np.repeat(np.arange(len(warnings)), [len(warning.rows) for warning in warnings])
    owners = np.searchsorted(ends, rows, side="right")
    within = rows - np.array([0, *ends])[owners]
    begins = np.flatnonzero(np.diff(numbers * len(ends) + owners, prepend=-1)).tolist()
    for begin, end in zip(begins, [*begins[1:], len(rows)], strict=True):
        warning = warnings[numbers[begin]]
        own = ColumnWarning(warning.code, warning.column, within[begin:end])
        found[owners[begin]].append(own)
    return found


def no_verdicts(calibration: Calibration, alpha: float | None) -> Verdicts:
    """The verdicts on no rows at all."""
    none = np.zeros(0)
    return Verdicts(
        none, none, none.astype(bool), calibration.alpha if alpha is None else alpha, ()
    )


def part(
    verdicts: Verdicts, start: int, stop: int, warnings: tuple[ColumnWarning, ...]
) -> Verdicts:
    """The verdicts on the rows from `start` to `stop`, with their own warnings."""
    return Verdicts(
        verdicts.scores[start:stop],
        verdicts.p_values[start:stop],
        verdicts.is_anomaly[start:stop],
        verdicts.alpha,
        warnings,
    )


def _result(detector: Detector, job: Job, verdicts: Verdicts) -> Result:
    if job.alpha is not None:
        flagged = detector.calibration.is_anomaly(verdicts.p_values, job.alpha)
        verdicts = replace(verdicts, is_anomaly=flagged, alpha=job.alpha)
    if not job.explain or not (job.every or verdicts.is_anomaly.any()):
        return Result(verdicts, None)
    wanted = job.records if job.every else job.records.take(verdicts.is_anomaly)
    return Result(verdicts, detector.explain(wanted))
