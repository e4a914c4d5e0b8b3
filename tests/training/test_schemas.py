"""The schema of a run: given or inferred, with the roles that were asked for on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomaly.data.options import ReadOptions
from anomaly.data.schema import Cycle, Kind, Role, Schema
from anomaly.errors import ConfigInvalid, SchemaMismatch
from tests import machines
from training.schemas import parse_cycles, training_schema


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = machines.records(60)
    return machines.written(
        found,
        tmp_path_factory.mktemp("data") / "machines.csv",
        site=np.array([f"site {i // 6}" for i in range(60)], object),
        label=np.array(["0"] * 60, object),
    )


def schema_of(data: Path, schema: Path | None = None, **roles: Any) -> tuple[Schema, list[str]]:
    said: list[str] = []
    return training_schema(data, schema, ReadOptions(), say=said.append, **roles), said


def test_what_was_decided_without_asking_is_said(data: Path) -> None:
    schema, said = schema_of(data)

    assert schema.column("serial").role is Role.ID
    assert schema.column("taken").role is Role.IGNORE
    assert {text.split("'")[1] for text in said} == {"serial", "taken", "label"}


def test_what_was_decided_by_the_user_is_not_said_again(data: Path) -> None:
    schema, said = schema_of(data, ids=["serial"], label="label", cycles=["taken=hour_of_day"])

    assert said == []
    assert schema.label == schema.column("label")
    assert schema.column("taken").cycles == (Cycle.HOUR_OF_DAY,)


def test_roles_are_set_by_name(data: Path) -> None:
    schema, _ = schema_of(data, time="taken", context=["mode"], drop=["voltage", "label"])

    assert schema.time == schema.column("taken")
    assert [column.name for column in schema.context] == ["mode"]
    assert schema.column("voltage").role is Role.IGNORE


def test_the_group_is_copied_and_not_modelled(data: Path) -> None:
    schema, _ = schema_of(data, group="site")

    assert schema.column("site").role is Role.ID


def test_a_schema_file_decides_and_roles_go_on_top(data: Path, tmp_path: Path) -> None:
    inferred, _ = schema_of(data)
    path = tmp_path / "schema.yaml"
    path.write_text(inferred.with_column("voltage", role=Role.IGNORE).to_yaml())

    schema, said = schema_of(data, path, drop=["heat"])

    assert said == []
    assert schema.column("voltage").role is schema.column("heat").role is Role.IGNORE
    assert schema.column("load").kind is Kind.NUMERIC


@pytest.mark.parametrize("content", [b"columns: 5", b"\xff", b"a: [", b""])
def test_a_schema_file_that_is_none_is_refused_by_name(
    data: Path, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)

    with pytest.raises(ConfigInvalid, match=r"mine\.yaml"):
        schema_of(data, path)


def test_a_column_that_does_not_exist_is_refused_with_the_closest(data: Path) -> None:
    with pytest.raises(SchemaMismatch, match="Did you mean 'voltage'"):
        schema_of(data, drop=["volage"])


def test_cycles_are_a_column_and_its_parts() -> None:
    assert parse_cycles("when=hour_of_day,day_of_week") == (
        "when",
        (Cycle.HOUR_OF_DAY, Cycle.DAY_OF_WEEK),
    )
    for wrong in ("when", "when=", "when=minute"):
        with pytest.raises(ConfigInvalid, match="hour_of_day, day_of_week, day_of_year"):
            parse_cycles(wrong)
