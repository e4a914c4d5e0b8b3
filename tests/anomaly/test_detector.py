"""The frozen whole: rows in, verdicts, reasons and reconstructions out."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from anomaly.assembly import DetectorConfig, assemble
from anomaly.backends.backend import Device, open_backend
from anomaly.data.records import Records
from anomaly.data.schema import Column, Kind, Role, Schema
from anomaly.data.splits import split_rows
from anomaly.detector import Detector
from anomaly.errors import AlphaNotSupported, BadData, SchemaMismatch
from anomaly.fitting import FitConfig
from anomaly.preprocessing.preprocessor import WarningCode
from tests import machines


@pytest.fixture(scope="module")
def told() -> Detector:
    """A detector that is told, as context, which of two machines it sees."""
    rng = np.random.default_rng(0)
    machine = np.array(["a", "b"], object)[rng.integers(0, 2, 800)]
    heat = np.where(machine == "a", 10.0, 90.0) + rng.standard_normal(800)
    schema = Schema(
        (Column("heat", Kind.NUMERIC), Column("machine", Kind.CATEGORICAL, Role.CONTEXT))
    )
    records = Records({"heat": heat, "machine": machine}, 800)
    config = DetectorConfig(fit=FitConfig(steps=400), alpha=0.05)
    splits = split_rows(800, seed=0)
    return assemble(schema, records, splits, config, seed=0, device=Device.CPU).detector


def test_a_row_is_an_anomaly_if_and_only_if_its_p_value_is_at_most_alpha(
    detector: Detector,
) -> None:
    found = Records.concatenate([machines.records(300, seed=5), machines.anomalies(30)])

    for alpha in (None, 0.05, 0.5):
        verdicts = detector.detect(found, alpha)
        assert verdicts.alpha == (detector.calibration.alpha if alpha is None else alpha)
        np.testing.assert_array_equal(verdicts.is_anomaly, verdicts.p_values <= verdicts.alpha)
    np.testing.assert_array_equal(verdicts.scores, detector.anomaly_score(found))
    assert len(verdicts) == 330


def test_flags_are_monotone_in_alpha(detector: Detector) -> None:
    found = machines.records(300, seed=5)

    flags = [detector.detect(found, alpha).is_anomaly for alpha in (0.01, 0.05, 0.2, 0.6)]

    for fewer, more in pairwise(flags):
        assert not (fewer & ~more).any()
    assert flags[0].sum() < flags[-1].sum()


def test_higher_scores_are_more_anomalous(detector: Detector) -> None:
    normal = detector.anomaly_score(machines.records(100, seed=5))
    odd = detector.anomaly_score(machines.anomalies(100))

    assert odd.min() > np.quantile(normal, 0.9)


def test_an_alpha_that_the_rows_cannot_support_is_refused(detector: Detector) -> None:
    with pytest.raises(AlphaNotSupported, match="needs at least 9999"):
        detector.detect(machines.records(5), 0.0001)


def test_remarks_on_the_input_change_no_verdict(detector: Detector) -> None:
    """Voltage is not modelled, so another voltage is a remark and nothing else."""
    found = machines.records(50, seed=5)
    other = Records({**found.columns, "voltage": np.full(50, 110.0)}, 50)

    before, after = detector.detect(found), detector.detect(other)

    np.testing.assert_array_equal(after.scores, before.scores)
    new = [w for w in after.warnings if w.code is WarningCode.CHANGED_CONSTANT]
    assert [(w.column, len(w.rows)) for w in new] == [("voltage", 50)]


def test_unseen_missing_and_far_values_are_remarked_with_their_rows(detector: Detector) -> None:
    found = machines.records(4, seed=5)
    mode = found.columns["mode"].copy()
    mode[1] = "warp"
    odd = Records(
        {
            **found.columns,
            "mode": mode,
            "load": np.array([30.0, 30.0, 1e300, 30.0]),
            "heat": np.array([60.0, 60.0, 60.0, np.nan]),
        },
        4,
    )

    verdicts = detector.detect(odd)

    remarks = {(str(w.code), w.column): w.rows.tolist() for w in verdicts.warnings}
    assert remarks == {
        ("unseen_category", "mode"): [1],
        ("out_of_range", "load"): [2],
        ("missing_value", "heat"): [3],
    }
    assert verdicts.is_anomaly[2]
    assert np.isfinite(verdicts.scores).all()


def test_further_columns_and_another_order_do_not_matter(detector: Detector) -> None:
    found = machines.records(20, seed=5)
    shuffled = {name: found.columns[name] for name in reversed([*found.columns])}

    scores = detector.anomaly_score(Records({**shuffled, "more": np.zeros(20)}, 20))

    np.testing.assert_array_equal(scores, detector.anomaly_score(found))


def test_a_missing_column_is_named(detector: Detector) -> None:
    columns = {k: v for k, v in machines.records(5).columns.items() if k != "load"}

    with pytest.raises(SchemaMismatch, match="'load'"):
        detector.detect(Records(columns, 5))


def test_a_frame_gives_the_scores_of_its_records(detector: Detector) -> None:
    import pandas as pd

    found = machines.records(20, seed=5)
    frame = pd.DataFrame({**found.columns, "idle": found.columns["idle"].astype(bool)})

    np.testing.assert_array_equal(detector.anomaly_score(frame), detector.anomaly_score(found))


def test_reconstructions_are_in_the_units_of_the_records(detector: Detector) -> None:
    found = machines.records(200, seed=5)

    rebuilt = detector.reconstruct(found)

    assert set(rebuilt) == {"heat", "load", "idle", "mode"}
    assert np.abs(rebuilt["load"] - found.columns["load"]).mean() < 3
    assert ((rebuilt["idle"] > 0) & (rebuilt["idle"] < 1)).all()
    assert set(rebuilt["mode"]) <= set(machines.MODES)


def test_samples_come_from_the_prior_in_force(every_preset: dict[str, Detector]) -> None:
    """With all components moved to one place, and narrow, every draw is decoded from there."""
    mixture = every_preset["mixture"]
    parameters = mixture.model.first
    usual = mixture.sample(500)["load"]
    drawn = []
    for place in (-1.5, 1.5):
        narrow = {
            "prior.loc": np.full_like(parameters["prior.loc"], place),
            "prior.log_scale": np.full_like(parameters["prior.log_scale"], -7.0),
        }
        model = replace(mixture.model, members=({**parameters, **narrow},))
        moved = replace(mixture, backend=open_backend(model, None, Device.CPU))
        drawn.append(moved.sample(50, seed=1)["load"])
    assert max(there.std() for there in drawn) < 0.05 * usual.std()
    assert abs(drawn[0].mean() - drawn[1].mean()) > 0.2 * usual.std()


def test_samples_look_like_normal_rows_and_repeat_with_their_seed(detector: Detector) -> None:
    drawn = detector.sample(500, seed=1)

    np.testing.assert_array_equal(drawn["load"], detector.sample(500, seed=1)["load"])
    assert (drawn["load"] != detector.sample(500, seed=2)["load"]).any()
    assert abs(np.median(drawn["load"]) - 30) < 3
    assert len(drawn["mode"]) == 500


def test_interpolation_begins_and_ends_at_the_reconstructions_of_its_ends(
    detector: Detector,
) -> None:
    found = machines.records(2, seed=5)
    start, end = found.take(slice(0, 1)), found.take(slice(1, 2))

    path = detector.interpolate(start, end, steps=5)["load"]

    assert len(path) == 5
    assert path[0] == pytest.approx(detector.reconstruct(start)["load"][0], rel=1e-5)
    assert path[-1] == pytest.approx(detector.reconstruct(end)["load"][0], rel=1e-5)


def test_interpolation_takes_single_rows(detector: Detector) -> None:
    found = machines.records(2, seed=5)

    with pytest.raises(BadData, match="got 2 and 1 rows"):
        detector.interpolate(found, found.take(slice(0, 1)))


def test_context_decides_what_is_normal(told: Detector) -> None:
    """90 degrees are usual for machine b and unheard of for machine a."""
    heat = np.array([10.0, 90.0, 90.0, 10.0])
    machine = np.array(["a", "b", "a", "b"], object)

    verdicts = told.detect(Records({"heat": heat, "machine": machine}, 4))

    assert verdicts.is_anomaly.tolist() == [False, False, True, True]


def test_context_is_never_explained_and_nothing_is_drawn_without_it(told: Detector) -> None:
    row = Records({"heat": np.array([90.0]), "machine": np.array(["a"], object)}, 1)

    assert told.explain(row).columns == ("heat",)
    with pytest.raises(BadData, match="Use `interpolate`"):
        told.sample(3)
    assert len(told.interpolate(row, row, steps=3)["heat"]) == 3


def test_another_alpha_keeps_model_and_scores(detector: Detector) -> None:
    found = machines.records(50, seed=5)

    other = detector.with_alpha(0.2)

    assert other.calibration.alpha == 0.2
    assert other.calibration.threshold < detector.calibration.threshold
    np.testing.assert_array_equal(other.anomaly_score(found), detector.anomaly_score(found))
    np.testing.assert_array_equal(
        other.detect(found).is_anomaly, detector.detect(found, 0.2).is_anomaly
    )
