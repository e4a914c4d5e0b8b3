"""A score request: from bytes to records, with everything that is wrong in it named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from msgspec import Struct

from anomaly.arrays import Int64
from anomaly.data.records import Records
from anomaly.data.schema import Schema
from service.settings import Limits
from service.wire.numbers import NumberReader
from service.wire.refusals import (
    MESSAGES,
    MOST_LISTED,
    Code,
    InvalidRequest,
    RowError,
    TooLarge,
    shown,
)
from service.wire.text import decode
from service.wire.values import Faults, check_ids, convert_all

KEYS = ("columns", "rows", "records", "alpha", "mode")


class Mode(StrEnum):
    """What becomes of a request of which some rows are faulty.

    Attributes:
        STRICT: It is refused, and every faulty row is listed.
        PARTIAL: The sound rows are scored; the others get an error each.
    """

    STRICT = "strict"
    PARTIAL = "partial"


class ScoreRequest(Struct, frozen=True):
    """What was asked, its faulty rows set aside.

    Attributes:
        records: The sound rows, with the feature and context columns.
        rows: (len(records),) where they stood in the request.
        n_rows: How many rows were sent.
        ids: The id columns that were sent, (n_rows,) each, as they came.
        alpha: Another false-alarm rate for this request.
        errors: Of the faulty rows, ascending; empty unless `mode` is partial.
    """

    records: Records
    rows: Int64
    n_rows: int
    ids: dict[str, list[Any]]
    alpha: float | None
    mode: Mode
    errors: tuple[RowError, ...]


class Complaints:
    """What is wrong with which row; a row that is nothing but wrong costs little memory.

    Args:
        messages: What a code means where it says something else than of JSON.
    """

    def __init__(self, messages: Mapping[Code, str] = MESSAGES) -> None:
        self.by_row: dict[int, list[RowError]] = {}
        self._messages = messages

    def add(self, code: Code, row: int, column: str | None = None) -> None:
        """One more complaint; beyond what could be listed it is only counted."""
        of_row = self.by_row.setdefault(row, [])
        if len(of_row) < MOST_LISTED:
            message = self._messages.get(code, MESSAGES[code])
            of_row.append(RowError(row, None if column is None else shown(column), code, message))

    def add_all(self, faults: Faults, rows: Sequence[int], column: str) -> None:
        """The faults of one column; `rows` says where its positions stood in the request."""
        for position, code in faults.items():
            self.add(code, rows[position], column)

    @property
    def errors(self) -> tuple[RowError, ...]:
        """All of them, ordered by row."""
        return tuple(error for row in sorted(self.by_row) for error in self.by_row[row])


class Reader:
    """Reads the requests to one model."""

    def __init__(self, schema: Schema, limits: Limits) -> None:
        self._schema = schema
        self._limits = limits
        self._numbers = NumberReader(schema, limits)

    def usual(self, body: bytes) -> ScoreRequest | None:
        """The request, if it is rows of numbers, at the model's own alpha, with nothing wrong."""
        if (found := self._numbers.read(body)) is None:
            return None
        records, sent = found
        if sent.alpha is not None or sent.mode not in (None, Mode.STRICT):
            return None
        return _sound(records, None, Mode.STRICT)

    def read(self, body: bytes) -> ScoreRequest:
        """Read a request.

        Raises:
            NotJSON: the body is not JSON.
            TooLarge: more rows or columns than the limits allow.
            InvalidRequest: not a score request, a column is missing or unknown, or (mode strict) a
                row is faulty.
        """
        if (found := self._numbers.read(body)) is None:
            return parse(body, self._schema, self._limits)
        records, sent = found
        return _sound(records, _alpha(sent.alpha), _mode(sent.mode))


def _sound(records: Records, alpha: float | None, mode: Mode) -> ScoreRequest:
    """A request without any fault."""
    return ScoreRequest(records, np.arange(len(records)), len(records), {}, alpha, mode, ())


def parse(body: bytes, schema: Schema, limits: Limits) -> ScoreRequest:
    """Read a request value by value; see `Reader`."""
    plain = decode(body)
    if not isinstance(plain, dict) or not plain.keys() <= set(KEYS):
        raise _invalid(f"the body must be a JSON object with no other keys than {_list(KEYS)}")
    alpha, mode = _alpha(plain.get("alpha")), _mode(plain.get("mode"))
    complaints = Complaints()
    match plain:
        case {"columns": list(names), "rows": list(rows), **rest} if "records" not in rest:
            check_count(len(rows), limits)
            sound, columns = from_rows(names, rows, schema, limits, complaints)
        case {"records": list(rows), **rest} if not rest.keys() & {"columns", "rows"}:
            check_count(len(rows), limits)
            sound, columns = from_records(rows, schema, complaints)
        case _:
            raise _invalid(
                'send either {"columns": [names], "rows": [[values]]} or {"records": [{name: '
                "value}]}"
            )
    return from_columns(columns, sound, len(rows), schema, limits, alpha, mode, complaints)


def from_columns(
    columns: Mapping[str, Sequence[Any]],
    sound: Sequence[int],
    n_rows: int,
    schema: Schema,
    limits: Limits,
    alpha: float | None,
    mode: Mode,
    complaints: Complaints,
) -> ScoreRequest:
    """The request that values, as JSON has them, make.

    Args:
        columns: At least the needed ones, (len(sound),) each.
        sound: Where their rows stood among the `n_rows` that were sent.
        complaints: Of the other rows; those of these rows are added.

    Raises:
        InvalidRequest: (mode strict) a row is faulty.
    """
    ids = _ids(columns, sound, n_rows, schema, complaints)
    converted = convert_all(schema.required, columns)
    records = Records({name: values for name, (values, _) in converted.items()}, len(sound))
    faults = {name: found for name, (_, found) in converted.items() if found}
    records, rows = sound_records(records, faults, sound, schema, limits, complaints)
    return concluded(records, rows, n_rows, ids, alpha, mode, complaints)


def concluded(
    records: Records,
    rows: Int64,
    n_rows: int,
    ids: dict[str, list[Any]],
    alpha: float | None,
    mode: Mode,
    complaints: Complaints,
) -> ScoreRequest:
    """The request of these rows.

    Raises:
        InvalidRequest: (mode strict) there is a complaint.
    """
    request = ScoreRequest(records, rows, n_rows, ids, alpha, mode, complaints.errors)
    if request.errors and mode is Mode.STRICT:
        raise invalid_rows(request.errors, len(complaints.by_row), n_rows)
    return request


def invalid_rows(errors: Sequence[RowError], faulty: int, n_rows: int) -> InvalidRequest:
    """Why a strict request is refused."""
    return InvalidRequest(
        f"{faulty} of {n_rows} rows cannot be scored, so none was. Correct them, or ask for "
        "`mode` partial to have the other rows scored.",
        code="invalid_rows",
        errors=errors,
    )


def from_rows(
    names: list[Any],
    rows: list[Any],
    schema: Schema,
    limits: Limits,
    complaints: Complaints,
    *,
    others: bool = False,
) -> tuple[list[int], dict[str, Sequence[Any]]]:
    """Where the rows of the right shape stand, and their values by column.

    Args:
        others: Whether columns that the schema does not know are passed over.
    """
    check_names(names, schema, limits, others=others)
    width = len(names)
    if set(map(type, rows)) == {list} and set(map(len, rows)) == {width}:
        return list(range(len(rows))), dict(zip(names, zip(*rows, strict=True), strict=True))
    sound = []
    for i, row in enumerate(rows):
        if type(row) is not list:
            complaints.add(Code.NOT_AN_ARRAY, i)
        elif len(row) != width:
            complaints.add(Code.RAGGED_ROW, i)
        else:
            sound.append(i)
    return sound, {name: [rows[i][j] for i in sound] for j, name in enumerate(names)}


def from_records(
    rows: list[Any], schema: Schema, complaints: Complaints, *, others: bool = False
) -> tuple[list[int], dict[str, Sequence[Any]]]:
    """Where the objects stand that name only columns of the schema, and their values by column; a
    key that is absent is a missing value. Rows with a complaint are passed over."""
    known = set(schema.names)
    sound = []
    for i, row in enumerate(rows):
        if i in complaints.by_row:
            continue
        if type(row) is not dict:
            complaints.add(Code.NOT_AN_OBJECT, i)
        elif others or row.keys() <= known:
            sound.append(i)
        else:
            for name in row.keys() - known:
                complaints.add(Code.UNKNOWN_COLUMN, i, name)
    names = [column.name for column in (*schema.required, *schema.ids)]
    given = {name for i in sound for name in rows[i]} if schema.ids else known
    ids = {column.name for column in schema.ids}
    return sound, {
        name: [rows[i].get(name) for i in sound]
        for name in names
        if name not in ids or name in given
    }


def check_names(
    names: Sequence[Any], schema: Schema, limits: Limits, *, others: bool = False
) -> None:
    """Refuse names of columns of which no rows could be scored.

    Args:
        others: Whether columns that the schema does not know are passed over.

    Raises:
        TooLarge: more names than the limit.
        InvalidRequest: a name is no text, repeated, unknown, or a needed one is missing.
    """
    # What the model itself needs is never too much.
    if len(names) > (most := max(limits.columns, len(schema.columns))):
        raise TooLarge(
            f"{len(names)} columns; the service takes {most} in one request.",
            code="too_many_columns",
        )
    if set(map(type, names)) - {str}:
        raise _invalid("`columns` must hold strings")
    known = set(names) if others else set(schema.names)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    unknown = [name for name in names if name not in known]
    absent = [column.name for column in schema.required if column.name not in set(names)]
    for code, found, what in (
        ("duplicate_column", repeated, "is named more than once"),
        ("unknown_column", unknown, "is not a column of the schema; see /v1/model"),
        ("missing_column", absent, "is needed by the model and missing"),
    ):
        if found:
            raise InvalidRequest(
                f"{what}: {_list(shown(name) for name in found[:MOST_LISTED])}"
                + (f" and {len(found) - MOST_LISTED} more." if len(found) > MOST_LISTED else "."),
                code=code,
                errors=[RowError(None, shown(name), code, what) for name in found[:MOST_LISTED]],
            )


def sound_records(
    records: Records,
    faults: Mapping[str, Faults],
    sound: Sequence[int],
    schema: Schema,
    limits: Limits,
    complaints: Complaints,
) -> tuple[Records, Int64]:
    """The rows without any complaint, and where they stood in the request.

    Args:
        faults: By column, what is wrong with its values; they are missing among the records.
        sound: (len(records),) where the rows stood.
    """
    found = dict(faults)
    n_missing = np.zeros(len(sound), dtype=np.int64)
    for column, absent in records.gaps(schema.required):
        n_missing += absent
        if not column.nullable:
            missing = dict.fromkeys(_positions(absent), Code.MISSING_VALUE)
            found[column.name] = {**missing, **faults.get(column.name, {})}
    for column in schema.required:
        complaints.add_all(found.get(column.name, {}), sound, column.name)
    for position in _positions(n_missing > limits.missing_fraction * len(schema.required)):
        if sound[position] not in complaints.by_row:
            complaints.add(Code.TOO_MANY_MISSING, sound[position])
    rows = np.array(sound, dtype=np.int64)
    if not complaints.by_row:
        return records, rows
    kept = np.array([row not in complaints.by_row for row in sound], dtype=bool)
    return records.take(kept), rows[kept]


def _ids(
    columns: Mapping[str, Sequence[Any]],
    sound: Sequence[int],
    n_rows: int,
    schema: Schema,
    complaints: Complaints,
) -> dict[str, list[Any]]:
    """The id columns that were sent, (n_rows,) each."""
    ids: dict[str, list[Any]] = {}
    for column in schema.ids:
        if column.name in columns:
            checked, faults = check_ids(columns[column.name])
            complaints.add_all(faults, sound, column.name)
            by_row = dict(zip(sound, checked, strict=True))
            ids[column.name] = [by_row.get(row) for row in range(n_rows)]
    return ids


def check_count(n_rows: int, limits: Limits) -> None:
    """Refuse no rows, and more than the limit.

    Raises:
        InvalidRequest, TooLarge: accordingly.
    """
    if not n_rows:
        raise InvalidRequest("there are no rows. Send at least one.", code="no_rows")
    if n_rows > limits.rows:
        raise TooLarge(
            f"{n_rows} rows; the service takes {limits.rows} in one request. Send them in parts, "
            "or score a file with `anomaly score`.",
            code="too_many_rows",
        )


def _alpha(alpha: Any) -> float | None:
    if alpha is None:
        return None
    if type(alpha) not in (int, float) or not 0 < alpha < 1:
        raise _invalid("`alpha` must be a number between 0 and 1, or absent")
    return float(alpha)


def _mode(mode: Any) -> Mode:
    if mode is None:
        return Mode.STRICT
    if mode not in tuple(Mode):
        raise _invalid(f"`mode` must be one of {_list(Mode)}, or absent")
    return Mode(mode)


def _positions(where: Any) -> list[int]:
    return [int(i) for i in np.flatnonzero(where)]


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(f"{message}.", code="body_invalid")


def _list(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
