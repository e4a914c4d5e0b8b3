"""The contract of a table holds together, survives YAML, and refuses what contradicts it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from anomaly.data.schema import Column, Cycle, Kind, Role, Schema, delimiter_hint
from anomaly.errors import ConfigInvalid, SchemaMismatch

X = Column("x", Kind.NUMERIC)

COLUMNS = st.builds(
    Column,
    name=st.text(min_size=1, max_size=8),
    kind=st.sampled_from([Kind.NUMERIC, Kind.CATEGORICAL, Kind.BOOLEAN]),
    role=st.sampled_from([Role.FEATURE, Role.CONTEXT, Role.ID, Role.IGNORE]),
    nullable=st.booleans(),
)


@given(st.lists(COLUMNS, max_size=5, unique_by=lambda column: column.name))
def test_a_schema_survives_yaml_and_json(columns: list[Column]) -> None:
    rest = [column for column in columns if column.name != "x"]
    schema = Schema((X, *rest, Column("\u0000when", Kind.DATETIME, cycles=(Cycle.HOUR_OF_DAY,))))

    assert Schema.from_yaml(schema.to_yaml()) == schema
    assert Schema.from_plain(schema.to_plain()) == schema


@pytest.mark.parametrize(
    "columns",
    [
        (),
        (X, X),
        (Column("x", Kind.NUMERIC, Role.ID),),
        (X, Column("a", Kind.BOOLEAN, Role.LABEL), Column("b", Kind.BOOLEAN, Role.LABEL)),
        (X, Column("a", Kind.NUMERIC, Role.TIME), Column("b", Kind.NUMERIC, Role.TIME)),
    ],
)
def test_columns_that_do_not_hold_together_are_refused(columns: tuple[Column, ...]) -> None:
    with pytest.raises(ValidationError):
        Schema(columns)


def test_a_date_is_modelled_through_cycles_only() -> None:
    with pytest.raises(ValidationError, match="cyclic parts"):
        Column("when", Kind.DATETIME)
    with pytest.raises(ValidationError, match="only a datetime"):
        Column("x", Kind.NUMERIC, cycles=(Cycle.HOUR_OF_DAY,))
    assert Column("when", Kind.DATETIME, Role.TIME).cycles == ()


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "columns: []",
        "columns:\n- {name: x, kind: number}",
        "columns:\n- {name: x, kind: numeric, color: red}",
        "columns:\n- {name: x, kind: numeric}\nrows: 3",
    ],
)
def test_yaml_that_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid):
        Schema.from_yaml(text)


def test_an_unknown_column_is_refused_with_the_closest_names() -> None:
    with pytest.raises(SchemaMismatch, match="Did you mean 'pressure'") as refusal:
        Schema((Column("pressure", Kind.NUMERIC), X)).column("presure")
    assert refusal.value.code == "missing_column"


def test_columns_are_found_by_their_role() -> None:
    roles = Schema((X, *(Column(role, Kind.NUMERIC, role) for role in Role if role != "feature")))

    assert (roles.label, roles.time) == (roles.column("label"), roles.column("time"))
    assert [column.name for column in roles.required] == ["x", "context"]
    assert roles.ids == (roles.column("id"),)
    assert (Schema((X,)).label, Schema((X,)).time) == (None, None)


def test_with_column_changes_one_column_and_nothing_else() -> None:
    schema = Schema((X, Column("y", Kind.NUMERIC)))

    assert schema.with_column("y", role=Role.ID).columns == (X, Column("y", Kind.NUMERIC, Role.ID))
    with pytest.raises(ConfigInvalid, match="'y'"):
        schema.with_column("y", kind="colour")


def test_names_may_come_in_any_order_with_others_between() -> None:
    schema = Schema((X, Column("y", Kind.NUMERIC), Column("note", Kind.CATEGORICAL, Role.IGNORE)))

    schema.check_names(["more", "y", "x"])
    with pytest.raises(SchemaMismatch, match="missing columns: 'x'") as missing:
        schema.check_names(["y"])
    with pytest.raises(SchemaMismatch, match="repeated: 'x'") as repeated:
        schema.check_names(["x", "y", "x"])
    assert (missing.value.code, repeated.value.code) == ("missing_column", "duplicate_column")


@pytest.mark.parametrize(
    ("found", "hint"), [(["a;b"], "';'"), (["a\tb"], r"'\t'"), (["a"], ""), (["a;b", "c"], "")]
)
def test_a_delimiter_is_hinted_at_only_if_there_is_one_column(found: list[str], hint: str) -> None:
    advice = delimiter_hint(found)

    assert hint in advice
    assert bool(advice) == bool(hint)
