"""An answer as a table: one row for each row that was sent. Headers tell what is said once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.wire.answer import JSON, Answer, Contribution
from service.wire.refusals import InvalidRequest, RowError

OWN = ("score", "p_value", "is_anomaly", "top_features", "errors")


def columns_of(answer: Answer) -> dict[str, list[Any]]:
    """The columns, (N,) each: the ids that were sent, `score`, `p_value` and `is_anomaly`; with
    `explain` also `top_features`, and with mode partial `errors`, both as text.

    Raises:
        InvalidRequest: an id column has the name of one of these.
    """
    if taken := answer.ids.keys() & set(OWN):
        raise InvalidRequest(
            f"an id column is called {' and '.join(sorted(taken))}, as a column of the answer is. "
            "Ask for JSON, which keeps them apart.",
            code="duplicate_column",
        )
    columns = {
        **answer.ids,
        "score": answer.scores,
        "p_value": answer.p_values,
        "is_anomaly": answer.is_anomaly,
    }
    if answer.contributions is not None:
        columns["top_features"] = [_reasons(of_row) for of_row in answer.contributions]
    if answer.errors is not None:
        columns["errors"] = _by_row(answer.errors, len(answer.scores))
    return columns


def to_lines(answer: Answer) -> bytes:
    """One JSON object in each line."""
    columns = columns_of(answer)
    rows = zip(*columns.values(), strict=True)
    return JSON.encode_lines([dict(zip(columns, row, strict=True)) for row in rows])


def _reasons(listed: Sequence[Contribution] | None) -> str | None:
    """Such as `flow 62%; pressure 21%`, as `anomaly score` writes it; None for a usual row."""
    if listed is None:
        return None
    return "; ".join(f"{reason.column} {reason.share:.0%}" for reason in listed)


def _by_row(errors: Sequence[RowError], n_rows: int) -> list[str | None]:
    """Such as `flow: not_a_number; ragged_row`; None for a row that was scored."""
    found: list[str | None] = [None] * n_rows
    for error in errors:
        if error.row is not None:
            text = error.code if error.column is None else f"{error.column}: {error.code}"
            before = found[error.row]
            found[error.row] = text if before is None else f"{before}; {text}"
    return found
