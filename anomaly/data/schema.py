"""The contract of a table: which columns, in which order, of what kind, used for what."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from anomaly.errors import ConfigInvalid, SchemaMismatch


class Kind(StrEnum):
    """How the values of a column are read."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"
    BOOLEAN = "boolean"
    DATETIME = "datetime"


class Role(StrEnum):
    """What a column is used for.

    Attributes:
        FEATURE: Explained by the model; an unusual value raises the score.
        CONTEXT: Told to the model, never scored: "normal *for this machine*".
        ID: Copied to the output so that rows can be found again.
        LABEL: Known truth; only ever used to measure, never to train.
        TIME: Orders the rows for a split by time.
        IGNORE: Not used.
    """

    FEATURE = "feature"
    CONTEXT = "context"
    ID = "id"
    LABEL = "label"
    TIME = "time"
    IGNORE = "ignore"


class Cycle(StrEnum):
    """A cyclic part of a date: encoded as the sine and cosine of its phase."""

    HOUR_OF_DAY = "hour_of_day"
    DAY_OF_WEEK = "day_of_week"
    DAY_OF_YEAR = "day_of_year"


STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
NonEmpty = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, config=STRICT)
class Column:
    """One column.

    Attributes:
        nullable: Whether a missing value is accepted (it is imputed and reported) or refused.
        cycles: For a datetime feature or context: which cyclic parts the model sees.
    """

    name: NonEmpty
    kind: Kind
    role: Role = Role.FEATURE
    nullable: bool = True
    cycles: tuple[Cycle, ...] = ()

    def __post_init__(self) -> None:
        is_modelled = self.role in (Role.FEATURE, Role.CONTEXT)
        if self.cycles and self.kind is not Kind.DATETIME:
            raise ValueError(f"column {self.name!r} is {self.kind}: only a datetime has `cycles`")
        if self.role is Role.TIME and self.kind not in (Kind.DATETIME, Kind.NUMERIC):
            raise ValueError(
                f"column {self.name!r} is {self.kind}: only a datetime or a number can "
                "order the rows. Write dates as ISO 8601, such as 2024-01-31T13:45:00"
            )
        if self.kind is Kind.DATETIME and is_modelled and not self.cycles:
            raise ValueError(
                f"column {self.name!r}: a datetime can be a {self.role} only through cyclic parts; "
                f"give it `cycles` (of {', '.join(Cycle)}), or the role `time` or `ignore`"
            )


@dataclass(frozen=True, config=STRICT)
class Schema:
    """Ordered columns with unique names and at least one feature."""

    columns: Annotated[tuple[Column, ...], Field(min_length=1)]

    def __post_init__(self) -> None:
        repeated = [name for name, count in Counter(self.names).items() if count > 1]
        if repeated:
            raise ValueError(f"column names must be unique; repeated: {', '.join(repeated)}")
        for role in (Role.LABEL, Role.TIME):
            if len(several := self.with_role(role)) > 1:
                names = ", ".join(column.name for column in several)
                raise ValueError(f"at most one column can have the role `{role}`, found {names}")
        if not self.features:
            raise ValueError(
                "no column has the role `feature`, so there is nothing to model; "
                "give at least one column the role `feature`"
            )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def features(self) -> tuple[Column, ...]:
        return self.with_role(Role.FEATURE)

    @property
    def context(self) -> tuple[Column, ...]:
        return self.with_role(Role.CONTEXT)

    @property
    def ids(self) -> tuple[Column, ...]:
        return self.with_role(Role.ID)

    @property
    def label(self) -> Column | None:
        return next(iter(self.with_role(Role.LABEL)), None)

    @property
    def time(self) -> Column | None:
        return next(iter(self.with_role(Role.TIME)), None)

    @cached_property
    def required(self) -> tuple[Column, ...]:
        """The columns without which a row cannot be scored."""
        return tuple(c for c in self.columns if c.role in (Role.FEATURE, Role.CONTEXT))

    @cached_property
    def _required_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.required)

    def with_role(self, role: Role) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.role is role)

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises:
            SchemaMismatch: there is none; the message names the closest ones.
        """
        for column in self.columns:
            if column.name == name:
                return column
        close = difflib.get_close_matches(name, self.names, n=3)
        hint = f" Did you mean {', '.join(map(repr, close))}?" if close else ""
        raise SchemaMismatch(f"no column is named {name!r}.{hint}", code="missing_column")

    def with_column(self, name: str, **changes: Any) -> Schema:
        """The same schema with some attributes of one column changed."""
        try:
            changed = replace(self.column(name), **changes)
            return Schema(tuple(changed if c.name == name else c for c in self.columns))
        except ValidationError as error:
            raise ConfigInvalid(f"column {name!r}: {first_reason(error)}") from error

    def check_names(
        self, found: Sequence[str], *, required: Iterable[Column] | None = None
    ) -> None:
        """Refuse repeated names and missing columns; order and further columns are free.

        Raises:
            SchemaMismatch: says which columns, and hints at a wrong delimiter.
        """
        if required is None and tuple(found) == self._required_names:
            return
        refuse_repeated(found)
        wanted = self.required if required is None else tuple(required)
        there = set(found)
        missing = [column.name for column in wanted if column.name not in there]
        if missing:
            raise SchemaMismatch(
                f"missing columns: {', '.join(map(repr, missing))} (found "
                f"{', '.join(map(repr, found[:20]))}).{delimiter_hint(found)}",
                code="missing_column",
            )

    def to_yaml(self) -> str:
        """The schema as YAML, one column an entry, meant to be edited."""
        plain = _ADAPTER.dump_python(self, mode="json")
        for column in plain["columns"]:
            if not column["cycles"]:
                del column["cycles"]
        header = (
            "# kind: numeric | categorical | boolean | datetime\n"
            "# role: feature | context | id | label | time | ignore\n"
            "# nullable: false refuses rows in which this column is empty\n"
            f"# cycles (datetime features only): {' | '.join(Cycle)}\n"
        )
        # YAML takes some characters that are not printable, such as U+0085, for line ends.
        is_plain = all(name.isprintable() for name in self.names)
        return header + yaml.safe_dump(plain, sort_keys=False, allow_unicode=is_plain)

    @staticmethod
    def from_yaml(text: str) -> Schema:
        """Read what `to_yaml` wrote.

        Raises:
            ConfigInvalid: not YAML, an unknown key, or a contradiction between columns.
        """
        try:
            return Schema.from_plain(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise ConfigInvalid(f"the schema is not YAML: {error}") from error

    def to_plain(self) -> Any:
        """The schema as dictionaries and lists, as JSON has them."""
        return _ADAPTER.dump_python(self, mode="json")

    @staticmethod
    def from_plain(plain: Any) -> Schema:
        """Read what `to_plain` wrote.

        Raises:
            ConfigInvalid: an unknown key, or a contradiction between columns.
        """
        try:
            return _ADAPTER.validate_python(plain)
        except ValidationError as error:
            raise ConfigInvalid(
                f"the schema does not hold together: {first_reason(error)}"
            ) from error


def first_reason(error: ValidationError) -> str:
    """The first complaint of pydantic, with its place, in one line."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def refuse_repeated(found: Sequence[str]) -> None:
    """Refuse a table in which two columns have the same name.

    Raises:
        SchemaMismatch: names them.
    """
    repeated = [name for name, count in Counter(found).items() if count > 1]
    if repeated:
        raise SchemaMismatch(
            f"column names must be unique; repeated: {', '.join(map(repr, repeated))}. "
            "Rename or remove the copies.",
            code="duplicate_column",
        )


def delimiter_hint(found: Sequence[str]) -> str:
    """Advice for a header that was read as one column because the delimiter is another."""
    if len(found) != 1:
        return ""
    for delimiter, name in ((";", "';'"), ("\t", "'\\t'"), ("|", "'|'")):
        if delimiter in found[0]:
            return (
                f" The only column contains {name}: is that the delimiter? Try --delimiter {name}."
            )
    return ""


_ADAPTER = TypeAdapter(Schema)
