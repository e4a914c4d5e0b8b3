"""A first schema from a table, and what was decided without asking.

The rules, in this order; the first that applies decides. A column of text comes from CSV, where
nothing has a type; typed columns (Parquet, DataFrames) keep the kind of their type.

1. no value at all, or a type that is not supported -> ignore
2. true and false in any case -> boolean
3. numbers -> numeric, 0 and 1 included. Text in which a value begins with a superfluous zero
   (00123) is a code, not a number. Whole numbers that are all different (10 rows or more) and
   come in order, fill a range, or have a name like an identifier's -> id
4. dates of ISO 8601 -> datetime, ignore
5. text of many words (5 or more on average), mostly different -> ignore
6. text that is different in each of 10 rows or more -> id
7. text with more than 1,000 categories, or with more categories than half the rows (and more
   than 20) -> ignore
8. other text -> categorical

Every column may have missing values. What was proposed is told with the way to change it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc
from pydantic import ValidationError

from anomaly.arrays import Int64
from anomaly.data.convert import (
    NUMBER,
    is_moment,
    is_supported,
    is_text,
    parse_datetimes,
    plain,
    whole,
)
from anomaly.data.flaws import shown
from anomaly.data.schema import Column, Cycle, Kind, Role, Schema, first_reason, refuse_repeated
from anomaly.errors import BadData, ConfigInvalid

FEWEST_IDS = 10
MOST_CATEGORIES = 1_000
FEW_CATEGORIES = 20
WORDS_OF_PROSE = 5
ALMOST_ALL = 0.9

_ID_NAME = re.compile(
    r"(?:^|[^a-z])(?:id|ids|uuid|guid|key|index|idx|rowid|serial)(?:$|[^a-z])|[a-z](?:Id|ID)$|"
    r"^Unnamed: \d+$"
)
_CODE = r"\A[+-]?0\d"
_LABEL_NAME = re.compile(
    r"(?i)^(?:label|class|target|y|outcome|anomaly|is_anomaly|outlier|is_outlier|fraud|is_fraud)$"
)
_BY_SCHEMA = (
    "write the schema with `anomaly schema DATA -o schema.yaml`, edit it, and pass "
    "--schema schema.yaml"
)


@dataclass(frozen=True)
class Proposal:
    """Something that was decided for a column without asking, and how to change it."""

    column: str
    message: str


def infer_schema(sample: pa.Table) -> tuple[Schema, tuple[Proposal, ...]]:
    """Propose kinds and roles by the rules at the top of this module.

    Args:
        sample: Rows of the table, all or the first; text columns are those of CSV, dictionaries
            of text are text by type.

    Raises:
        BadData: no column can be a feature, or there is no column at all.
    """
    refuse_repeated(sample.column_names)
    guesses = [guess(name, whole(sample[name])) for name in sample.column_names]
    try:
        schema = Schema(tuple(column for column, _ in guesses))
    except ValidationError as error:
        reasons = " ".join(f"{column.name!r}: {message}" for column, message in guesses[:5])
        raise BadData(
            f"no column can be modelled as a feature. {reasons} To choose otherwise, {_BY_SCHEMA}.",
            code="no_features",
        ) from error
    return schema, tuple(Proposal(column.name, message) for column, message in guesses if message)


def guess(name: str, array: pa.Array) -> tuple[Column, str]:
    """One column, and what to tell of it (or nothing)."""
    if not is_supported(array.type):
        return ignored(name, f"is of type {array.type}, which is not supported")
    from_csv = is_text(array.type)
    values = plain(name, array).drop_null()
    if not len(values):
        return ignored(name, "is empty")
    if pa.types.is_boolean(values.type) or (from_csv and is_true_or_false(values)):
        return modelled(name, Kind.BOOLEAN)
    if not (is_text(values.type) or is_moment(values.type)) or (from_csv and is_numeric(values)):
        return a_number(name, values)
    if is_moment(values.type) or (from_csv and is_dates(values)):
        return a_date(name)
    return a_text(name, values, from_csv)


def ignored(name: str, why: str, kind: Kind = Kind.CATEGORICAL) -> tuple[Column, str]:
    return Column(
        name, kind, Role.IGNORE
    ), f"{why}, so it is ignored. To change that, {_BY_SCHEMA}."


def identifier(name: str, kind: Kind, why: str) -> tuple[Column, str]:
    return Column(name, kind, Role.ID), (
        f"{why}, so it is taken as an identifier: copied to the output, not modelled. To leave it "
        f"out, say --drop {shlex.quote(name)}; to model it, {_BY_SCHEMA}."
    )


def modelled(name: str, kind: Kind, remark: str = "") -> tuple[Column, str]:
    if not remark and _LABEL_NAME.match(name):
        remark = (
            "is modelled as a feature. If it says which rows are anomalies, say "
            f"--label-column {shlex.quote(name)}, or the model learns it."
        )
    return Column(name, kind), remark


def a_date(name: str) -> tuple[Column, str]:
    return Column(name, Kind.DATETIME, Role.IGNORE), (
        "holds dates, so it is ignored. To order the rows by it, say "
        f"--time-column {shlex.quote(name)}; to model the hour, weekday or season, give it "
        f"`role: feature` and `cycles`: {_BY_SCHEMA}."
    )


def a_number(name: str, values: pa.Array) -> tuple[Column, str]:
    if why := why_an_id(name, values):
        return identifier(name, Kind.NUMERIC, why)
    return modelled(name, Kind.NUMERIC)


def a_text(name: str, values: pa.Array, from_csv: bool) -> tuple[Column, str]:
    n = len(values)
    n_different = pc.count_distinct(values).as_py()
    words = pc.mean(pc.count_substring_regex(values, r"\s+")).as_py() + 1
    odd = odd_text(values) if from_csv else ""
    if words >= WORDS_OF_PROSE and n_different > n / 2:
        return ignored(name, "is free text")
    if n_different == n and n >= FEWEST_IDS and not odd:
        return identifier(name, Kind.CATEGORICAL, "is text that is different in every row")
    if n_different > MOST_CATEGORIES:
        return ignored(name, f"has more than {MOST_CATEGORIES:,} categories{odd}")
    if n_different > max(FEW_CATEGORIES, n / 2):
        return ignored(name, f"is text that is mostly different, {n_different} values in {n}{odd}")
    if from_csv and not odd:
        odd = zeros_in_front(values)
    if odd:
        remark = f"is categorical{odd}. To change that, {_BY_SCHEMA}."
        return modelled(name, Kind.CATEGORICAL, remark)
    return modelled(name, Kind.CATEGORICAL)


def odd_text(values: pa.Array) -> str:
    """What to say of text that is almost all numbers; nothing of other text."""
    is_number = pc.match_substring_regex(values, NUMBER)
    if pc.mean(is_number).as_py() < ALMOST_ALL:
        return ""
    odd = values.filter(pc.invert(is_number))
    if not len(odd):
        return ""
    return (
        f" (almost all of it is numbers, but not {shown(odd[0].as_py())}: correct or empty such "
        "cells, and it will be numeric)"
    )


def zeros_in_front(values: pa.Array) -> str:
    """What to say of numbers that are taken as codes; nothing of other text."""
    codes = values.filter(pc.match_substring_regex(values, _CODE))
    if not len(codes) or not pc.all(pc.match_substring_regex(values, NUMBER)).as_py():
        return ""
    return f" (numbers with zeros in front, such as {shown(codes[0].as_py())}, are codes)"


def why_an_id(name: str, values: pa.Array) -> str:
    """Why numbers are an identifier; nothing if they are none."""
    if is_text(values.type):
        if not pc.all(pc.match_substring_regex(values, r"\A[+-]?\d+\z")).as_py():
            return ""
    elif not pa.types.is_integer(values.type):
        return ""
    n = len(values)
    if n < FEWEST_IDS or pc.count_distinct(values).as_py() < n:
        return ""
    if _ID_NAME.search(name) or _ID_NAME.search(name.lower()):
        return "holds different whole numbers and has the name of an identifier"
    try:
        numbers: Int64 = values.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        return "holds different whole numbers that are too long to be measured"
    steps = np.diff(numbers)
    if (steps > 0).all() or (steps < 0).all():
        return "counts the rows: whole numbers in order, no two the same"
    if int(numbers.max()) - int(numbers.min()) == n - 1:
        return "numbers the rows: whole numbers without a gap, no two the same"
    return ""


def is_true_or_false(values: pa.Array) -> bool:
    found: bool = pc.all(pc.is_in(pc.utf8_lower(values), pa.array(["true", "false"]))).as_py()
    return found


def is_numeric(values: pa.Array) -> bool:
    """Whether all texts are numbers, and none begins with a zero that a number would not have."""
    if not pc.all(pc.match_substring_regex(values, NUMBER)).as_py():
        return False
    return not pc.any(pc.match_substring_regex(values, _CODE)).as_py()


def is_dates(values: pa.Array) -> bool:
    try:
        parse_datetimes(values)
    except pa.ArrowInvalid:
        return False
    return True


def with_roles(
    schema: Schema,
    *,
    ids: Iterable[str] = (),
    time: str | None = None,
    label: str | None = None,
    context: Iterable[str] = (),
    drop: Iterable[str] = (),
    cycles: Mapping[str, Sequence[Cycle]] | None = None,
) -> Schema:
    """The same schema with the roles that the user names; other columns keep theirs.

    Args:
        drop: Columns that get the role `ignore`.
        cycles: Cyclic parts for datetime columns, which become features unless they are named
            as context.

    Raises:
        SchemaMismatch: there is no column of that name.
        ConfigInvalid: a column is named for two roles, cannot have the role, or no feature is
            left.
    """
    cycles = cycles or {}
    changes: dict[str, Role] = {}
    named = [
        *((name, Role.ID) for name in ids),
        *((name, Role.TIME) for name in (time,) if name is not None),
        *((name, Role.LABEL) for name in (label,) if name is not None),
        *((name, Role.CONTEXT) for name in context),
        *((name, Role.IGNORE) for name in drop),
    ]
    for name, role in named:
        if changes.setdefault(schema.column(name).name, role) is not role:
            raise ConfigInvalid(f"column {name!r} cannot be both {changes[name]} and {role}")
    for name in cycles:
        changes.setdefault(schema.column(name).name, Role.FEATURE)
    try:
        columns = [
            replace(
                column,
                role=changes[column.name],
                cycles=tuple(cycles.get(column.name, ())),
            )
            if column.name in changes
            else column
            for column in schema.columns
        ]
        return Schema(tuple(columns))
    except ValidationError as error:
        raise ConfigInvalid(first_reason(error)) from error
