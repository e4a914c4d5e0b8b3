"""From a file to a registered detector: what goes where, and what never does."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from anomaly.arrays import Int64, Objects
from anomaly.assembly import assemble
from anomaly.data.options import ReadOptions
from anomaly.data.records import Records
from anomaly.data.schema import Column, Kind, Role, Schema
from anomaly.detector import Detector
from anomaly.errors import AlphaNotSupported, BadData, ConfigInvalid, NotEnoughRows
from anomaly.fitting import FitConfig
from tests import machines
from training.config import RunConfig, load_config
from training.pipeline import measured
from training.remeasure import evaluate_file, recalibrated
from training.table import (
    Labels,
    Table,
    divide,
    exchangeability,
    file_digest,
    read_table,
    same_label,
)

N, ODD = 300, 40
LABELS = Labels("fault", "0")
SCHEMA = Schema(
    (
        *machines.SCHEMA.columns,
        Column("fault", Kind.CATEGORICAL, Role.LABEL),
        Column("site", Kind.CATEGORICAL, Role.ID),
    )
)


def sites(n: int) -> Objects:
    """Groups of five rows."""
    return np.array([f"site {i // 5}" for i in range(n)], object)


def written(path: Path, labels: list[str], factor: float = 1.0) -> Path:
    """300 normal rows and 40 anomalies that lie `factor` times as far out."""
    found = machines.both(N, ODD)
    load = found.columns["load"].copy()
    load[N:] *= factor
    further = {"fault": np.array(labels, object), "site": sites(N + ODD)}
    return machines.written(Records({**found.columns, "load": load}, N + ODD), path, **further)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("data") / "rows.csv", ["0"] * N + ["1"] * ODD)


def table_of(data: Path, *settings: str, labels: Labels | None = LABELS) -> Table:
    return read_table(data, SCHEMA, load_config(None, settings), labels, ReadOptions())


def all_parts(table: Table, *settings: str) -> dict[str, Int64]:
    splits = divide(table, SCHEMA, load_config(None, settings))
    return {
        "fit": splits.fit,
        "early_stop": splits.early_stop,
        "calibration": splits.calibration,
        "test": splits.test,
    }


def test_labels_tell_normal_rows_from_anomalies_and_are_no_column_of_the_model(data: Path) -> None:
    table = table_of(data)

    np.testing.assert_array_equal(table.normal, np.arange(N))
    np.testing.assert_array_equal(table.anomalous, np.arange(N, N + ODD))
    assert "fault" not in {column.name for column in SCHEMA.required}


def test_a_row_without_a_label_is_in_neither(tmp_path: Path) -> None:
    data = written(tmp_path / "rows.csv", [""] * 50 + ["0"] * (N - 50) + ["1"] * ODD)

    table = table_of(data)

    np.testing.assert_array_equal(table.normal, np.arange(50, N))
    assert len(table.anomalous) == ODD


def test_without_labels_every_row_is_taken_for_normal(data: Path) -> None:
    assert len(table_of(data, labels=None).normal) == N + ODD


def test_a_normal_label_that_no_row_has_is_refused_with_those_there_are(data: Path) -> None:
    with pytest.raises(BadData, match=r"the labels are '0', '1'.*--normal-label"):
        table_of(data, labels=Labels("fault", "benign"))


def test_labels_that_are_the_same_number_are_the_same_label() -> None:
    found = np.array(["0", "0.0", "00", "1", "x", "-0"], object)

    assert same_label(found, "0").tolist() == [True, True, True, False, False, True]
    assert same_label(found, "x").tolist() == [False] * 4 + [True, False]


def weights(data: Path) -> str:
    """The digest of everything that shapes a score."""
    config = replace(load_config(None).detector, fit=FitConfig(steps=20, check_every=10), alpha=0.1)
    table = table_of(data)
    detector = assemble(
        SCHEMA,
        table.records.take(table.normal),
        divide(table, SCHEMA, RunConfig()),
        config,
        seed=0,
    ).detector
    found = [*detector.model.first.values(), detector.calibration.scores]
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in found)).hexdigest()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_neither_labels_nor_anomalies_ever_reach_the_fit(data: Path, tmp_path: Path) -> None:
    """Other anomalies, under other names: not one bit of the detector changes."""
    wild = written(tmp_path / "wild.csv", ["0"] * N + ["broken", "burnt"] * (ODD // 2), factor=1e6)

    assert weights(wild) == weights(data)


def test_rows_are_divided_at_random_without_overlap(data: Path) -> None:
    parts = all_parts(table_of(data))

    together = np.concatenate([*parts.values()])
    np.testing.assert_array_equal(np.sort(together), np.arange(N))
    assert len(parts["test"]) == 60  # a fifth
    other = all_parts(table_of(data), "seed=1")
    assert parts["fit"].tolist() != other["fit"].tolist()


def test_groups_are_never_divided(data: Path) -> None:
    by_group = ("split.by=group", "split.group_column=site")
    table = table_of(data, *by_group)

    parts = all_parts(table, *by_group)

    assert table.groups is not None
    members = [set(table.groups[table.normal][rows]) for rows in parts.values()]
    assert sum(map(len, members)) == len(set.union(*members)) == N // 5


def test_the_earliest_rows_fit_and_the_latest_test(data: Path) -> None:
    taken = next(c for c in SCHEMA.columns if c.name == "taken")
    in_time = SCHEMA.with_column("taken", role=Role.TIME, cycles=())
    config = load_config(None, ["split.by=time"])
    table = read_table(data, in_time, config, LABELS, ReadOptions())

    splits = divide(table, in_time, config)

    times = table.records.columns[taken.name]
    parts = [times[splits.fit], times[splits.calibration], times[splits.test]]
    for earlier, later in pairwise(parts):
        assert earlier.max() <= later.min()
    with pytest.raises(ConfigInvalid, match="--time-column"):
        divide(table, SCHEMA, config)


def test_too_few_normal_rows_are_refused_with_advice(tmp_path: Path) -> None:
    data = written(tmp_path / "rows.csv", ["0"] * 8 + ["1"] * (N + ODD - 8))

    with pytest.raises(NotEnoughRows, match="Add normal rows"):
        divide(table_of(data), SCHEMA, RunConfig())


def test_what_the_rate_assumes_depends_on_the_split() -> None:
    assumed = {
        by: exchangeability(load_config(None, settings))
        for by, settings in {
            "row": ["split.by=row"],
            "group": ["split.by=group", "split.group_column=x"],
            "time": ["split.by=time"],
        }.items()
    }

    assert "same population as the calibration rows" in assumed["row"]
    assert "groups" in assumed["group"]
    assert "drifts" in assumed["time"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_repeated_rows_are_noted_in_the_card(tmp_path: Path) -> None:
    found = machines.records(100)
    twice = Records.concatenate([found, found, found])
    path = machines.written(
        twice, tmp_path / "rows.csv", fault=np.full(300, "0", object), site=sites(300)
    )
    table, config = table_of(path), load_config(None, ["detector.alpha=0.1"]).detector
    splits = divide(table, SCHEMA, RunConfig())
    quick = replace(config, fit=FitConfig(steps=5))
    assembled = assemble(SCHEMA, table.records.take(table.normal), splits, quick, seed=0)

    detector, evaluation = measured(assembled, table, splits)

    assert any("equal a fit row in every feature" in note for note in detector.card.notes)
    assert detector.card.metrics == evaluation.metrics


# After training


def test_another_alpha_is_the_same_model_at_another_threshold(detector: Detector) -> None:
    found = machines.both(50, 5, seed=9)

    other = recalibrated(detector, 0.2)

    assert other.calibration.alpha == 0.2
    np.testing.assert_array_equal(other.anomaly_score(found), detector.anomaly_score(found))
    np.testing.assert_array_equal(other.calibration.scores, detector.calibration.scores)


def test_new_normal_rows_replace_the_calibration_and_nothing_else(
    detector: Detector, tmp_path: Path
) -> None:
    new = machines.records(400, seed=8)
    path = machines.written(new, tmp_path / "new.csv")

    other = recalibrated(detector, 0.05, path)

    scores = detector.anomaly_score(new)
    np.testing.assert_array_equal(other.calibration.scores, np.sort(scores))
    np.testing.assert_array_equal(other.anomaly_score(new), scores)
    assert other.card.rows["calibration"] == 400
    assert any("calibrated anew on 400 rows of new.csv" in note for note in other.card.notes)
    assert other.card.created <= other.card.calibrated
    assert recalibrated(detector, None, path).calibration.alpha == detector.calibration.alpha


def test_an_alpha_that_the_new_rows_cannot_support_is_refused(
    detector: Detector, tmp_path: Path
) -> None:
    path = machines.written(machines.records(20), tmp_path / "new.csv")

    with pytest.raises(AlphaNotSupported, match="needs at least 99"):
        recalibrated(detector, 0.01, path)


def test_new_rows_are_searched_for_hidden_anomalies_and_old_findings_go(
    detector: Detector, tmp_path: Path
) -> None:
    clean = machines.written(machines.records(400, seed=8), tmp_path / "clean.csv")
    mixed = machines.written(machines.both(380, 20, seed=8), tmp_path / "mixed.csv")

    found = recalibrated(detector, 0.1, mixed)

    assert any("anomalies may hide" in note for note in found.card.notes)
    again = recalibrated(found, 0.1, clean)
    assert not any("anomalies may hide" in note for note in again.card.notes)


def test_a_file_is_evaluated_with_and_without_labels(detector: Detector, data: Path) -> None:
    labelled = evaluate_file(detector, data, LABELS, ReadOptions())
    unlabelled = evaluate_file(detector, data, None, ReadOptions())

    assert labelled.metrics["test/auroc"] > 0.95
    assert (labelled.metrics["test/normal_rows"], labelled.metrics["test/anomalies"]) == (N, ODD)
    assert unlabelled.metrics["test/normal_rows"] == N + ODD
    assert unlabelled.metrics["test/false_alarm_rate"] > labelled.metrics["test/false_alarm_rate"]


def test_the_digest_of_a_file_is_its_sha256(data: Path) -> None:
    assert file_digest(data) == hashlib.sha256(data.read_bytes()).hexdigest()
