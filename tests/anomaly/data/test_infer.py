"""A first schema from awkward tables, and what the user is told of it."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.data.infer import infer_schema, with_roles
from anomaly.data.schema import Column, Cycle, Kind, Role, Schema
from anomaly.errors import BadData, ConfigInvalid, SchemaMismatch

N = 200
RNG = np.random.default_rng(0)
FEATURE = pa.array([f"{x:.3f}" for x in RNG.normal(size=N)])
SENTENCE = "the pump made a strange noise at night, number"


def inferred(array: pa.Array, name: str = "x") -> tuple[Column, str]:
    """What becomes of a column beside an ordinary feature."""
    beside = FEATURE[:1].take(pa.array([0] * len(array)))
    schema, proposals = infer_schema(pa.table({name: array, "other": beside}))
    messages = [proposal.message for proposal in proposals if proposal.column == name]
    return schema.column(name), " ".join(messages)


def text(values: object) -> pa.Array:
    return pa.array([str(value) for value in values], pa.string())  # type: ignore[attr-defined]


SHUFFLED = RNG.permutation(N)
FEW = RNG.integers(0, 3, N)
SPARSE = RNG.choice(10**6, N, replace=False)


@pytest.mark.parametrize(
    ("name", "array", "kind", "role"),
    [
        ("in order", text(range(0, 3 * N, 3)), Kind.NUMERIC, Role.ID),
        ("backwards", text(range(N, 0, -1)), Kind.NUMERIC, Role.ID),
        ("without a gap", text(SHUFFLED + 1000), Kind.NUMERIC, Role.ID),
        ("customer_id", text(SPARSE), Kind.NUMERIC, Role.ID),
        ("customerId", text(SPARSE), Kind.NUMERIC, Role.ID),
        ("Unnamed: 0", text(SPARSE), Kind.NUMERIC, Role.ID),
        ("long", text(10**20 + SPARSE.astype(object)), Kind.NUMERIC, Role.ID),
        ("paid", text(SPARSE), Kind.NUMERIC, Role.FEATURE),
        ("amount", text(SPARSE), Kind.NUMERIC, Role.FEATURE),
        ("id", text(FEW), Kind.NUMERIC, Role.FEATURE),
        ("few rows", text(range(9)), Kind.NUMERIC, Role.FEATURE),
        ("float in order", text(np.arange(N) + 0.5), Kind.NUMERIC, Role.FEATURE),
        ("0 and 1", text(FEW % 2), Kind.NUMERIC, Role.FEATURE),
        ("true and false", text(FEW > 1), Kind.BOOLEAN, Role.FEATURE),
        ("serial numbers", text(f"SN-{i}" for i in range(N)), Kind.CATEGORICAL, Role.ID),
        ("codes", text(f"{i:05d}" for i in FEW), Kind.CATEGORICAL, Role.FEATURE),
        ("code each", text(f"{i:05d}" for i in range(N)), Kind.CATEGORICAL, Role.ID),
        ("colours", text(np.array(["red", "green", "blue"])[FEW]), Kind.CATEGORICAL, Role.FEATURE),
        ("prose", text(f"{SENTENCE} {i}" for i in range(N)), Kind.CATEGORICAL, Role.IGNORE),
        ("names", text(f"n{i // 2 * 2 if i < 50 else i}" for i in range(N)), Kind.CATEGORICAL,
         Role.IGNORE),
        ("many", text(f"c{i % 1001}" for i in range(3000)), Kind.CATEGORICAL, Role.IGNORE),
        ("enough", text(f"c{i % 1000}" for i in range(3000)), Kind.CATEGORICAL, Role.FEATURE),
        ("dates", text(f"2024-01-01 {i % 24:02d}:00" for i in range(N)), Kind.DATETIME,
         Role.IGNORE),
        ("empty", pa.nulls(N, pa.string()), Kind.CATEGORICAL, Role.IGNORE),
        ("typed ids", pa.array(range(N)), Kind.NUMERIC, Role.ID),
        ("typed float", pa.array(np.arange(float(N))), Kind.NUMERIC, Role.FEATURE),
        ("typed bool", pa.array(FEW > 1), Kind.BOOLEAN, Role.FEATURE),
        ("typed date", pa.array([datetime(2024, 1, 1)] * N), Kind.DATETIME, Role.IGNORE),
        ("typed text", text(FEW).dictionary_encode(), Kind.CATEGORICAL, Role.FEATURE),
        ("typed list", pa.array([[1]] * N), Kind.CATEGORICAL, Role.IGNORE),
    ],
)  # fmt: skip
def test_kind_and_role_follow_the_rules(name: str, array: pa.Array, kind: Kind, role: Role) -> None:
    column, message = inferred(array, name)

    assert (column.kind, column.role) == (kind, role)
    assert column.nullable
    # Whatever is not modelled, or not as what it looks like, is told with the way to change it.
    is_told = role is not Role.FEATURE or name == "codes"
    assert ("--schema schema.yaml" in message) == is_told


def test_an_identifier_and_a_date_are_told_with_their_flags() -> None:
    _, of_id = inferred(text(range(N)), "order no")
    _, of_date = inferred(text(["2024-01-01"] * N), "when")

    assert "--drop 'order no'" in of_id
    assert "--time-column when" in of_date
    assert "cycles" in of_date


@pytest.mark.parametrize("odd", ["NA", "1,5", "nan", "?"])
def test_almost_only_numbers_are_told_with_the_text_that_is_none(odd: str) -> None:
    some = [str(x) for x in FEW] + [odd]
    column, message = inferred(pa.array(some))
    unique, told = inferred(pa.array([repr(float(x)) for x in RNG.normal(size=N)] + [odd]))

    assert (column.kind, column.role) == (Kind.CATEGORICAL, Role.FEATURE)
    assert (unique.kind, unique.role) == (Kind.CATEGORICAL, Role.IGNORE)
    assert repr(odd) in message
    assert repr(odd) in told


def test_half_numbers_are_no_reason_to_say_anything() -> None:
    _, message = inferred(pa.array(["1", "a"] * 50))

    assert message == ""


def test_a_column_called_like_a_label_is_asked_about() -> None:
    column, message = inferred(text(FEW % 2), "is_fraud")

    assert column.role is Role.FEATURE
    assert "--label-column is_fraud" in message


def test_missing_values_do_not_change_the_kind() -> None:
    assert inferred(pa.array(["1.5", None] * 20))[0].kind is Kind.NUMERIC
    assert inferred(pa.array(["true", None]))[0].kind is Kind.BOOLEAN


def test_a_table_without_a_feature_is_refused_with_the_reasons() -> None:
    with pytest.raises(BadData, match=r"'n'.*identifier") as refusal:
        infer_schema(pa.table({"n": text(range(N))}))
    assert refusal.value.code == "no_features"


def test_repeated_names_are_refused() -> None:
    table = pa.Table.from_arrays([FEATURE, FEATURE], names=["x", "x"])

    with pytest.raises(SchemaMismatch):
        infer_schema(table)


@given(
    st.lists(
        st.lists(st.none() | st.text(max_size=6), min_size=3, max_size=3), min_size=1, max_size=15
    )
)
def test_any_table_of_text_gets_a_schema_that_can_be_written(rows: list[list[str | None]]) -> None:
    columns = {f"c{i}": pa.array([row[i] for row in rows], pa.string()) for i in range(3)}

    table = pa.table({**columns, "feature": pa.array(["0.5"] * len(rows))})

    schema, proposals = infer_schema(table)

    assert schema.names == ("c0", "c1", "c2", "feature")
    assert {proposal.column for proposal in proposals} <= set(schema.names)
    assert Schema.from_yaml(schema.to_yaml()) == schema


BASE = Schema(
    (
        Column("n", Kind.NUMERIC),
        Column("site", Kind.CATEGORICAL),
        Column("when", Kind.DATETIME, Role.IGNORE),
        Column("x", Kind.NUMERIC),
        Column("y", Kind.NUMERIC),
    )
)


def test_named_columns_get_their_roles_and_others_keep_theirs() -> None:
    schema = with_roles(BASE, ids=["n"], time="when", label="y", context=["site"])

    assert [column.role for column in schema.columns] == [
        Role.ID,
        Role.CONTEXT,
        Role.TIME,
        Role.FEATURE,
        Role.LABEL,
    ]
    assert with_roles(BASE) == BASE
    assert with_roles(BASE, drop=["x"]).column("x").role is Role.IGNORE


def test_a_date_with_cycles_is_a_feature_or_context() -> None:
    cycles = {"when": [Cycle.HOUR_OF_DAY]}

    feature = with_roles(BASE, cycles=cycles).column("when")
    context = with_roles(BASE, cycles=cycles, context=["when"]).column("when")

    assert (feature.role, feature.cycles) == (Role.FEATURE, (Cycle.HOUR_OF_DAY,))
    assert (context.role, context.cycles) == (Role.CONTEXT, (Cycle.HOUR_OF_DAY,))


def test_roles_that_cannot_be_are_refused() -> None:
    with pytest.raises(SchemaMismatch, match="Did you mean 'site'"):
        with_roles(BASE, drop=["sites"])
    with pytest.raises(ConfigInvalid, match="both id and ignore"):
        with_roles(BASE, ids=["n"], drop=["n"])
    with pytest.raises(ConfigInvalid, match="cycles"):
        with_roles(BASE, context=["when"])
    with pytest.raises(ConfigInvalid, match="order the rows"):
        with_roles(BASE, time="site")
    with pytest.raises(ConfigInvalid, match="feature"):
        with_roles(BASE, drop=["n", "site", "x", "y"])
