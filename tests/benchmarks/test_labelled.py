from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyarrow import csv

from benchmarks.labelled import (
    LabelledTable,
    adbench,
    correlated,
    extremes,
    read_adbench,
    with_anomalies,
)


def test_a_csv_holds_every_digit_and_the_truth(tmp_path: Path) -> None:
    values = np.array([[0.1, 1e300], [1 / 3, -0.0]])
    table = LabelledTable("t", values, np.array([False, True]))

    table.write_csv(tmp_path / "t.csv")

    read = csv.read_csv(tmp_path / "t.csv")
    assert read.column_names == ["x0", "x1", "label"]
    assert (np.column_stack([read["x0"], read["x1"]]) == values).all()
    assert read["label"].to_pylist() == [0, 1]


def test_real_tables_are_found_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALY_DATA", str(tmp_path))
    assert adbench() == {}

    (tmp_path / "adbench").mkdir()
    np.savez(tmp_path / "adbench" / "45_wine.npz", X=np.eye(3), y=np.array([0, 1, 0]))

    table = read_adbench(adbench()["45_wine"])
    assert table.is_anomalous.tolist() == [False, True, False]
    assert table.normal.tolist() == [[1, 0, 0], [0, 0, 1]]


def test_no_column_of_an_anomaly_alone_gives_it_away() -> None:
    rng = np.random.default_rng(0)
    normal = correlated(rng, 200, 5)

    broken = with_anomalies(rng, "t", normal)

    for column, usual in zip(broken.values[broken.is_anomalous].T, normal.T, strict=True):
        assert set(column) <= set(usual)


def test_extremes_are_what_their_names_say() -> None:
    made = {name: make() for name, make in extremes()}

    assert len(made["made: 10 rows"].normal) == 10
    assert len(made["made: 80 rows"].normal) == 80
    assert made["made: 1,555 columns"].values.shape[1] == 1_555
    assert (np.ptp(made["made: constant columns"].values, axis=0) == 0).sum() == 2
    assert made["made: integers"].values.dtype.kind == "i"
    assert len(np.unique(made["made: duplicated rows"].normal, axis=0)) <= 20
