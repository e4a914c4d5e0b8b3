"""The one sequence: what shapes a score never saw a calibration row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anomaly.arrays import Int64, Objects
from anomaly.assembly import Assembled, DetectorConfig, assemble, highest_of_each
from anomaly.backends.backend import Device, open_backend
from anomaly.calibration import CalibrationWarning
from anomaly.data.records import Records
from anomaly.data.splits import Splits, split_groups, split_rows
from anomaly.errors import AlphaNotSupported, ConfigInvalid, SchemaMismatch
from anomaly.fitting import FitConfig
from anomaly.models.posterior import PointPosterior
from anomaly.models.vae import VAEConfig
from anomaly.scores import ROWS, ExemplarKL, NearestRow, NegativeELBO, Score, Space
from tests import machines

QUICK = DetectorConfig(fit=FitConfig(steps=20), alpha=0.05)
N = 300


def assembled_from(
    records: Records, splits: Splits, config: DetectorConfig = QUICK, groups: Objects | None = None
) -> Assembled:
    return assemble(
        machines.SCHEMA, records, splits, config, seed=0, device=Device.CPU, groups=groups
    )


def replaced(records: Records, rows: Int64) -> Records:
    """The records with wild values in the given rows."""
    load = records.columns["load"].copy()
    load[rows] *= 17.0
    return Records({**records.columns, "load": load}, len(records))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return split_rows(N, seed=0, test_share=0.2)


@pytest.fixture(scope="module")
def plain(splits: Splits) -> Assembled:
    with pytest.warns(UserWarning, match="'voltage'"):
        return assembled_from(machines.records(N), splits)


@pytest.mark.filterwarnings("ignore::anomaly.preprocessing.fit.PreprocessingWarning")
def test_calibration_and_test_rows_shape_nothing_but_the_threshold(
    plain: Assembled, splits: Splits
) -> None:
    held_out = np.concatenate([splits.calibration, splits.test])

    other = assembled_from(replaced(machines.records(N), held_out), splits)

    found = machines.records(50, seed=9)
    np.testing.assert_array_equal(
        other.detector.anomaly_score(found), plain.detector.anomaly_score(found)
    )
    assert other.detector.calibration.threshold > plain.detector.calibration.threshold


@pytest.mark.filterwarnings("ignore::anomaly.preprocessing.fit.PreprocessingWarning")
@pytest.mark.parametrize(
    "score", [NearestRow(spaces=(Space.INPUTS,)), NearestRow(), ExemplarKL()], ids=str
)
@pytest.mark.parametrize("early_stop_share", [0.0, 0.1])
def test_what_a_score_remembers_has_never_been_a_calibration_row(
    early_stop_share: float, score: Score
) -> None:
    """And it is every other row that is not kept for the test."""
    records = machines.records(N)
    splits = split_rows(N, seed=0, test_share=0.2, early_stop_share=early_stop_share)
    detector = assembled_from(records, splits, replace(QUICK, score=score)).detector
    remembered = detector.model.first[ROWS]
    assert len(remembered) == len(splits.fit) + len(splits.early_stop)
    if score == NearestRow(spaces=(Space.INPUTS,)):
        seen = np.concatenate([splits.fit, splits.early_stop])
        np.testing.assert_array_equal(remembered, detector.features(records.take(seen)).inputs)

    held_out = np.concatenate([splits.calibration, splits.test])
    other = assembled_from(replaced(records, held_out), splits, replace(QUICK, score=score))
    np.testing.assert_array_equal(other.detector.model.first[ROWS], remembered)


@pytest.mark.filterwarnings("ignore::anomaly.preprocessing.fit.PreprocessingWarning")
def test_no_more_rows_are_remembered_than_wanted(splits: Splits) -> None:
    config = replace(QUICK, score=NearestRow(most_rows=50))
    detector = assembled_from(machines.records(N), splits, config).detector
    assert len(detector.model.first[ROWS]) == 50


@pytest.mark.filterwarnings("ignore::anomaly.preprocessing.fit.PreprocessingWarning")
def test_the_usual_term_of_a_missing_entry_is_that_of_rows_that_are_not_remembered(
    splits: Splits,
) -> None:
    """A remembered row is its own nearest one: its terms are zero, and no row's usual ones."""
    config = replace(QUICK, score=NearestRow())
    detector = assembled_from(machines.records(N), splits, config).detector
    features = detector.features(machines.records(N).take(splits.fit))
    assert detector.backend.raw_terms(features).scores.max() == pytest.approx(0.0, abs=1e-6)
    assert detector.model.fill.per_target.sum() > 0.1


@pytest.mark.filterwarnings("ignore::anomaly.preprocessing.fit.PreprocessingWarning")
def test_an_ensemble_scores_by_the_mean_of_its_members(plain: Assembled, splits: Splits) -> None:
    ensemble = assembled_from(machines.records(N), splits, replace(QUICK, members=3)).detector
    model = ensemble.model
    assert [member.keys() for member in model.members] == 3 * [plain.detector.model.first.keys()]
    for name, value in plain.detector.model.first.items():
        np.testing.assert_array_equal(model.first[name], value)

    found = ensemble.features(machines.records(50, seed=9))
    alone = [
        open_backend(replace(model, members=(member,)), None, Device.CPU).raw_terms(found).scores
        for member in model.members
    ]
    np.testing.assert_allclose(
        ensemble.backend.raw_terms(found).scores, np.mean(alone, axis=0), rtol=1e-6
    )
    assert not np.allclose(alone[0], alone[1])


@pytest.mark.filterwarnings("ignore::anomaly.preprocessing.fit.PreprocessingWarning")
def test_fit_rows_do_shape_the_score(plain: Assembled, splits: Splits) -> None:
    other = assembled_from(replaced(machines.records(N), splits.fit), splits)

    found = machines.records(50, seed=9)
    assert (other.detector.anomaly_score(found) != plain.detector.anomaly_score(found)).any()


def test_the_calibration_scores_are_those_of_the_calibration_rows(
    plain: Assembled, splits: Splits
) -> None:
    rows = machines.records(N).take(splits.calibration)

    np.testing.assert_array_equal(
        plain.detector.calibration.scores, np.sort(plain.detector.anomaly_score(rows))
    )


def test_the_same_seed_gives_the_same_detector_to_the_bit(plain: Assembled, splits: Splits) -> None:
    with pytest.warns(UserWarning, match="'voltage'"):
        again = assembled_from(machines.records(N), splits)

    for name, value in plain.detector.model.first.items():
        np.testing.assert_array_equal(again.detector.model.first[name], value)
    np.testing.assert_array_equal(
        again.detector.calibration.scores, plain.detector.calibration.scores
    )


def test_the_card_tells_rows_settings_and_libraries(plain: Assembled, splits: Splits) -> None:
    card = plain.detector.card

    assert card.rows == {
        "fit": len(splits.fit),
        "early_stop": len(splits.early_stop),
        "calibration": len(splits.calibration),
        "test": len(splits.test),
    }
    assert card.unit_of_calibration == "row"
    assert card.config["seed"] == 0
    assert card.config["fit"]["steps"] == 20
    assert {"numpy", "torch", "scikit-learn", "python"} <= set(card.versions)


def test_a_dropped_constant_is_warned_of_and_noted(splits: Splits) -> None:
    with pytest.warns(UserWarning, match="'voltage'"):
        made = assembled_from(machines.records(N), splits)

    assert any("'voltage'" in note for note in made.notes)
    assert made.detector.card.notes == made.notes


def test_without_alpha_few_rows_lower_the_promise_with_a_warning(splits: Splits) -> None:
    with pytest.warns(CalibrationWarning, match="instead of 0.01"):
        made = assembled_from(machines.records(N), splits, replace(QUICK, alpha=None))

    n = made.detector.calibration.n
    assert made.detector.calibration.alpha == 1 / (n + 1)
    assert any("instead of 0.01" in note for note in made.notes)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_alpha_that_was_given_and_cannot_be_kept_is_refused(splits: Splits) -> None:
    with pytest.raises(AlphaNotSupported):
        assembled_from(machines.records(N), splits, replace(QUICK, alpha=1e-4))


def test_a_score_that_needs_a_kl_is_refused_for_a_point(splits: Splits) -> None:
    config = replace(QUICK, model=VAEConfig(posterior=PointPosterior()), score=NegativeELBO())

    with pytest.raises(ConfigInvalid, match="needs a posterior with a width"):
        assembled_from(machines.records(N), splits, config)


def test_records_that_lack_a_column_are_refused(splits: Splits) -> None:
    columns = {k: v for k, v in machines.records(N).columns.items() if k != "mode"}

    with pytest.raises(SchemaMismatch, match="'mode'"):
        assembled_from(Records(columns, N), splits)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_group_counts_once_with_its_highest_score() -> None:
    records = machines.records(N)
    groups = np.array([f"g{i // 3}" for i in range(N)], object)
    splits = split_groups(groups, seed=0)

    made = assembled_from(records, splits, groups=groups)

    rows = records.take(splits.calibration)
    scores, members = made.detector.anomaly_score(rows), groups[splits.calibration]
    highest = sorted(max(scores[members == group]) for group in set(members))
    assert made.detector.calibration.scores.tolist() == highest
    assert made.detector.calibration.n == len(splits.calibration) / 3
    assert made.detector.card.unit_of_calibration == "group"


def test_the_highest_of_each_group_needs_no_order() -> None:
    scores = np.array([1.0, 5.0, 2.0, -3.0, 4.0])
    groups = np.array(["a", "b", "a", "c", "b"], object)

    assert sorted(highest_of_each(scores, groups)) == [-3.0, 2.0, 5.0]
