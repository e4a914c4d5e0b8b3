"""What is wrong with a value, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

SPELLINGS_OF_MISSING = frozenset({"na", "n/a", "nan", "null", "nil", "none", "missing", "-", "?"})
"""Named in advice only: none of them is read as missing."""


@dataclass(frozen=True)
class Flaw:
    """A value that does not fit its column.

    Attributes:
        row: 0-based row of the table that was converted.
    """

    row: int
    column: str
    code: str
    message: str


def not_a_number(row: int, column: str, text: str) -> Flaw:
    if text.strip().lower() in SPELLINGS_OF_MISSING:
        advice = "If it means that the value is missing, leave the cell empty."
    elif re.fullmatch(r"[+-]?[\d.]*,[\d.,]*", text):
        advice = "Numbers have a decimal point and nothing between the thousands."
    elif text != text.strip():
        advice = "Remove the blanks around it."
    else:
        advice = "Correct it, or give the column `kind: categorical` in the schema."
    return Flaw(row, column, "not_a_number", f"{shown(text)} is not a number. {advice}")


def not_finite(row: int, column: str, value: str | float) -> Flaw:
    return Flaw(
        row,
        column,
        "not_finite",
        f"{shown(value)} is not a finite number. If the value is missing, leave the cell empty; "
        "if it is too large for a float64, change its unit.",
    )


def not_a_boolean(row: int, column: str, text: str) -> Flaw:
    return Flaw(
        row,
        column,
        "not_a_boolean",
        f"{shown(text)} is neither true, false, 1 nor 0. Correct it, or give the column "
        "`kind: categorical` in the schema.",
    )


def not_a_datetime(row: int, column: str, text: str) -> Flaw:
    return Flaw(
        row,
        column,
        "not_a_datetime",
        f"{shown(text)} is not a date of ISO 8601, such as 2024-01-31T13:45:00 or "
        "2024-01-31 13:45:00+02:00. Write it so, or give the column `kind: categorical`.",
    )


def shown(value: object, width: int = 40) -> str:
    """A value as it is quoted in a message, cut if it is long."""
    text = repr(value)
    return text if len(text) <= width else f"{text[:width]}..."
