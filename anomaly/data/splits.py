"""Which rows fit, which calibrate, which test, and which stop the fit if some are to.

The parts are disjoint: nothing that shapes a score may see a calibration row, or the false-alarm
rate is void. Equal rows may fall into several parts, as they will in production: keeping them
together measurably breaks the guarantee on tables with a common row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Bool, Int64, Values
from anomaly.data.records import Records, is_missing
from anomaly.data.schema import STRICT
from anomaly.errors import BadData, NotEnoughRows

SMALLEST = 10
"""Fewer rows than this leave no part that means anything."""

FOR_DEFAULT_ALPHA = 99
"""Calibration rows that a false-alarm rate of 0.01 = 1 / (99 + 1) needs."""

FOR_A_STEADY_RATE = 500
"""With so many calibration rows the realised rate varies by 0.0044 around 0.01."""

LARGEST_HELD_OUT = 10_000
"""More calibration or early-stop rows than this add nothing that fit rows would not add more."""

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveShare = Annotated[float, Field(gt=0.0, lt=1.0)]


@dataclass(frozen=True, config=STRICT)
class SplitConfig:
    """How rows are divided. The seed is an argument of the run.

    Attributes:
        by: "row": at random. "time": the earliest rows fit, the latest test; the false-alarm
            rate then assumes that nothing drifts. "group": whole groups at random (repeated
            measurements of one object); the false-alarm rate is then one of groups.
        group_column: The column that names the group; needed for "group" and only there.
        test_share: Share of the rows that measure the finished detector.
        calibration_share: Share of the rows left after the test; None is the rule of
            `split_sizes`.
        early_stop_share: The same, for early stopping; by default nothing is held out for it.
    """

    by: Literal["row", "time", "group"] = "row"
    group_column: str | None = None
    test_share: Share = 0.0
    calibration_share: PositiveShare | None = None
    early_stop_share: Share = 0.0

    def __post_init__(self) -> None:
        if (self.by == "group") != (self.group_column is not None):
            raise ValueError("`group_column` belongs to `by: group`: give both or neither")


@plain_dataclass(frozen=True)
class Sizes:
    """Numbers of rows (or groups) in each part."""

    fit: int
    early_stop: int
    calibration: int
    test: int


@plain_dataclass(frozen=True)
class Splits:
    """Ascending row numbers of each part: disjoint, and together all rows."""

    fit: Int64
    early_stop: Int64
    calibration: Int64
    test: Int64


def split_sizes(
    n: int,
    test_share: float = 0.0,
    calibration_share: float | None = None,
    early_stop_share: float = 0.0,
    needed: int = FOR_DEFAULT_ALPHA,
    unit: str = "row",
) -> Sizes:
    """The one rule of sizes. Of n rows, round(test_share n) test, as long as 10 are left (a table
    of 10 rows trains and has no test); of the m that are left

        calibration = ceil(m / 4)                                            if 99 > 0.35 m
                      max(99, min(10,000, max(min(500, ceil(m / 5)), ceil(m / 10))))   otherwise
        early stop  = min(10,000, ceil(early_stop_share m))

    and the rest fits. Few rows give a quarter; where 99 are at most 35 %, they are taken, because
    the default false-alarm rate of 0.01 needs them; then a fifth, until 500 hold the rate steady;
    large tables give a tenth. A calibration share that is given replaces the rule by
    ceil(share m).

    Args:
        needed: Calibration rows that the wanted false-alarm rate needs; in the place of 99, where
            they are more and still at most 35 % of m.
        unit: What is counted, for messages: `row`, `image` or `group`.

    Raises:
        NotEnoughRows: fewer than 10 rows, or none left to fit.
    """
    if n < SMALLEST:
        raise NotEnoughRows(
            f"there are {n} normal {unit}s, and {SMALLEST} are needed to fit and calibrate. Add "
            f"normal {unit}s."
        )
    test = min(round(test_share * n), n - SMALLEST)
    left = n - test
    calibration = (
        _calibration_rows(left, needed)
        if calibration_share is None
        else math.ceil(calibration_share * left)
    )
    early_stop = min(LARGEST_HELD_OUT, math.ceil(early_stop_share * left))
    fit = left - calibration - early_stop
    if fit < 1:
        raise NotEnoughRows(
            f"calibration takes {calibration}"
            + (f" and early stopping {early_stop}" if early_stop else "")
            + f" of {left} {unit}s, which leaves none to fit. Lower the share."
        )
    return Sizes(fit, early_stop, calibration, test)


def _calibration_rows(left: int, needed: int) -> int:
    # In integers: 0.35 * 20 is less than 7 in floating point.
    wanted = (max(needed, FOR_DEFAULT_ALPHA), FOR_DEFAULT_ALPHA)
    affordable = [rows for rows in wanted if 100 * rows <= 35 * left]
    if not affordable:
        return -(-left // 4)
    steady = min(FOR_A_STEADY_RATE, -(-left // 5))
    return max(*affordable, min(LARGEST_HELD_OUT, max(steady, -(-left // 10))))


def split_rows(
    n: int,
    *,
    seed: int,
    test_share: float = 0.0,
    calibration_share: float | None = None,
    early_stop_share: float = 0.0,
    needed: int = FOR_DEFAULT_ALPHA,
    unit: str = "row",
) -> Splits:
    """Divide n rows, or what else `unit` names, at random, in the sizes of `split_sizes`.

    Raises:
        NotEnoughRows: as `split_sizes`.
    """
    sizes = split_sizes(n, test_share, calibration_share, early_stop_share, needed, unit)
    return cut(np.random.default_rng(seed).permutation(n), sizes)


def split_times(
    times: Values,
    *,
    test_share: float = 0.0,
    calibration_share: float | None = None,
    early_stop_share: float = 0.0,
    needed: int = FOR_DEFAULT_ALPHA,
) -> Splits:
    """Divide rows by time: first fit, then early stop, then calibration, the latest test.

    Rows of the same time stay in the order in which they came, and may lie on both sides of a
    border: sizes are kept, because a table of three days would otherwise have no parts.

    Args:
        times: (N,) datetimes or numbers.

    Raises:
        BadData: a time is missing; names the row.
        NotEnoughRows: as `split_sizes`.
    """
    refuse_missing(is_missing(times), "time")
    sizes = split_sizes(len(times), test_share, calibration_share, early_stop_share, needed)
    return cut(np.argsort(times, kind="stable"), sizes)


def split_groups(
    groups: Values,
    *,
    seed: int,
    test_share: float = 0.0,
    calibration_share: float | None = None,
    early_stop_share: float = 0.0,
    needed: int = FOR_DEFAULT_ALPHA,
) -> Splits:
    """Divide whole groups at random; `split_sizes` counts groups, not rows.

    Args:
        groups: (N,) the name of each row's group: text, numbers or dates.

    Raises:
        BadData: a group is missing; names the row.
        NotEnoughRows: fewer than 10 groups, or as `split_sizes`.
    """
    refuse_missing(is_missing(groups), "group")
    members = codes(groups)
    n_groups = int(members.max(initial=-1)) + 1
    parts = split_rows(
        n_groups,
        seed=seed,
        test_share=test_share,
        calibration_share=calibration_share,
        early_stop_share=early_stop_share,
        needed=needed,
        unit="group",
    )
    rows = {
        name: np.flatnonzero(np.isin(members, getattr(parts, name)))
        for name in ("fit", "early_stop", "calibration", "test")
    }
    return Splits(**rows)


def cut(order: Int64, sizes: Sizes) -> Splits:
    """Parts of those sizes from the ordered rows, first fit, last test."""
    ends = np.cumsum([sizes.fit, sizes.early_stop, sizes.calibration])
    fit, early_stop, calibration, test = (np.sort(part) for part in np.split(order, ends))
    return Splits(fit, early_stop, calibration, test)


def refuse_missing(absent: Bool, what: str) -> None:
    if absent.any():
        raise BadData(
            f"has no {what}, by which the rows are to be divided. Fill it in or drop the row.",
            code="missing_value",
            row=int(np.argmax(absent)),
        )


def codes(values: Values) -> Int64:
    """(N,) the same small integer for equal values; missing values equal each other."""
    if values.dtype == object:
        known: dict[object, int] = {}
        return np.array([known.setdefault(value, len(known)) for value in values], dtype=np.int64)
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def duplicate_share(records: Records, names: Sequence[str], rows: Int64, among: Int64) -> float:
    """Share of `rows` that equal one of `among` in every named column.

    Between calibration and fit rows this says how much of the table is repeated; it is no
    fault by itself (see the top of this module).
    """
    if not len(rows):
        return 0.0
    keys = np.zeros(len(records), dtype=np.int64)
    for name in names:
        # Pairs of (key so far, code) numbered anew: exact, and never more numbers than rows.
        column = codes(records.columns[name])
        keys = codes(keys * (int(column.max(initial=0)) + 1) + column)
    return float(np.isin(keys[rows], keys[among]).mean())
