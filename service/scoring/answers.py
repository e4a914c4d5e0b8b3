"""A result, laid out as the answer to its request: one entry for each row that was sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anomaly.arrays import Int64
from anomaly.calibration import Calibration, threshold
from anomaly.preprocessing.preprocessor import ColumnWarning
from service.scoring.compute import Result
from service.wire.answer import MOST_WARNINGS, Answer, Contribution, ModelName, Warned
from service.wire.request import Mode, ScoreRequest

TOP_COLUMNS = 5
"""Contributions that are listed for a flagged row."""


def to_answer(
    request: ScoreRequest,
    result: Result,
    warnings: Sequence[ColumnWarning],
    *,
    model: ModelName,
    calibration: Calibration,
    request_id: str,
    explain: bool,
) -> Answer:
    """The answer.

    Args:
        result: Of the sound rows of the request.
        warnings: Those that the caller is to see.
    """
    verdicts = result.verdicts
    listed, omitted = _listed(warnings, request)
    return Answer(
        model=model,
        alpha=verdicts.alpha,
        threshold=threshold_at(request.alpha, calibration),
        scores=spread(verdicts.scores.tolist(), request.rows, request.n_rows),
        p_values=spread(verdicts.p_values.tolist(), request.rows, request.n_rows),
        is_anomaly=spread(verdicts.is_anomaly.tolist(), request.rows, request.n_rows),
        warnings=listed,
        request_id=request_id,
        warnings_omitted=omitted,
        ids=request.ids,
        contributions=spread(_contributions(result), request.rows, request.n_rows)
        if explain
        else None,
        errors=list(request.errors) if request.mode is Mode.PARTIAL else None,
    )


def threshold_at(alpha: float | None, calibration: Calibration) -> float:
    """Of the score, at that false-alarm rate or at the model's own."""
    if alpha is None:
        return calibration.threshold
    return threshold(calibration.scores, alpha, calibration.rule)


def spread(values: list[Any], rows: Int64, n_rows: int) -> list[Any]:
    """Values of the sound rows, back where the rows stood; None for the others."""
    if len(values) == n_rows:
        return values
    found: list[Any] = [None] * n_rows
    for row, value in zip(rows.tolist(), values, strict=True):
        found[row] = value
    return found


def _listed(warnings: Sequence[ColumnWarning], request: ScoreRequest) -> tuple[list[Warned], int]:
    """At most `MOST_WARNINGS`, by row, and how many more there are."""
    if not warnings:
        return [], 0
    total = sum(len(warning.rows) for warning in warnings)
    listed = [
        Warned(row, warning.column, warning.code)
        for warning in warnings
        for row in request.rows[warning.rows[:MOST_WARNINGS]].tolist()
    ][:MOST_WARNINGS]
    return sorted(listed, key=lambda warned: warned.row), total - len(listed)


def _contributions(result: Result) -> list[list[Contribution] | None]:
    """For each row the columns with the largest share, or None if it is not flagged."""
    listed: list[list[Contribution] | None] = [None] * len(result.verdicts)
    if result.attributions is not None:
        for position, row in enumerate(np.flatnonzero(result.verdicts.is_anomaly).tolist()):
            listed[row] = [
                Contribution(reason.column, reason.share, reason.expected, reason.observed)
                for reason in result.attributions.top(position, TOP_COLUMNS)
            ]
    return listed
