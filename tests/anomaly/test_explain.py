"""An explanation is the score itself, taken apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from anomaly.arrays import Float64
from anomaly.baseline import Baseline, by_column
from anomaly.data.records import Records
from anomaly.detector import Detector
from anomaly.explain import SMALLEST_SHARE, attribute
from anomaly.scores import ScoreTerms
from tests import machines

TARGETS = ("a", "b", "b", "c")
BASELINE = Baseline(("a", "b", "c"), np.array([1.0, 2.0, 3.0]), np.ones(3), 0.5, None)


def terms_of(*rows: tuple[float, ...]) -> ScoreTerms:
    return ScoreTerms(np.array(rows), np.arange(float(len(rows))))


def test_the_share_of_a_column_is_its_excess_over_the_sum_of_excesses() -> None:
    # Excess over usual: a 4 - 1 = 3, b (1 + 2) - 2 = 1, c 2 - 3 < 0.
    found = attribute(TARGETS, BASELINE, terms_of((4, 1, 2, 2)), {})

    np.testing.assert_array_equal(found.excess, [[3.0, 1.0, 0.0]])
    np.testing.assert_array_equal(found.share, [[0.75, 0.25, 0.0]])
    assert found.kl_excess == [-0.5]


def test_a_row_with_nothing_beyond_the_usual_has_no_reason() -> None:
    found = attribute(TARGETS, BASELINE, terms_of((1, 1, 1, 3)), {})

    assert (found.share == 0).all()
    assert found.top(0) == []


@given(arrays.arrays(float, (5, 4), elements=st.floats(-1e6, 1e6)))
def test_shares_are_between_0_and_1_and_add_up_to_1_or_to_nothing(per_target: Float64) -> None:
    share = attribute(TARGETS, BASELINE, ScoreTerms(per_target, np.zeros(5)), {}).share

    assert ((share >= 0) & (share <= 1)).all()
    for total in share.sum(axis=1):
        assert total == pytest.approx(1) or total == 0


def test_reasons_come_largest_first_with_expected_and_observed_values() -> None:
    expected = {"a": np.array([1.5]), "b": np.array(["red"], object), "c": np.array([np.nan])}
    observed = {
        "a": np.array([np.nan]),
        "b": np.array([None], object),
        "c": np.array(["2024-05-01T10:00"], "datetime64[us]"),
    }
    found = attribute(TARGETS, BASELINE, terms_of((2, 3, 2, 13)), observed)
    found = replace(found, expected=expected)

    reasons = found.top(0, k=3)

    assert [reason.column for reason in reasons] == ["c", "b", "a"]
    assert (reasons[0].expected, reasons[0].observed) == (None, "2024-05-01T10:00:00.000000")
    assert (reasons[1].expected, reasons[1].observed) == ("red", None)
    assert (reasons[2].expected, reasons[2].observed) == (1.5, None)
    assert [reason.column for reason in found.top(0, k=1)] == ["c"]


def test_a_column_with_almost_none_of_the_excess_is_no_reason() -> None:
    found = attribute(TARGETS, BASELINE, terms_of((1001, 2.0, 1.0, 3)), {})

    assert 0 < found.share[0, 1] < SMALLEST_SHARE
    assert [reason.column for reason in found.top(0)] == ["a"]


def test_terms_and_rest_of_an_explained_row_are_its_score(detector: Detector) -> None:
    found = machines.anomalies(20)
    features = detector.features(found)
    terms = detector.backend.score_features(features)
    columns, per_column = by_column(detector.preprocessor.features.target_columns, terms.per_target)

    attributions = detector.explain(found)

    np.testing.assert_allclose(per_column.sum(axis=1) + terms.rest, detector.anomaly_score(found))
    np.testing.assert_array_equal(
        attributions.excess, np.maximum(per_column - detector.baseline.per_column, 0)
    )
    np.testing.assert_array_equal(attributions.kl_excess, terms.rest - detector.baseline.rest)
    assert attributions.columns == columns


def test_the_columns_that_lead_are_at_most_three_and_at_most_half() -> None:
    wide = [f"c{k}" for k in range(9)]
    baseline = Baseline(tuple(wide), np.zeros(9), np.ones(9), 0.0, None)
    terms = ScoreTerms(np.array([[9.0, 1, 8, 7, 6, 0, 0, 0, 0], [0.0] * 9]), np.zeros(2))
    found = attribute(wide, baseline, terms, {})
    assert [np.flatnonzero(row).tolist() for row in found.leading()] == [[0, 2, 3], []]

    three = attribute(TARGETS, BASELINE, terms_of((9, 9, 9, 9)), {})
    assert three.leading().sum() == 1


def test_what_is_expected_of_a_leading_column_does_not_depend_on_what_was_found_there(
    detector: Detector,
) -> None:
    found = machines.anomalies(20)
    odder = Records({**found.columns, "load": found.columns["load"] + 1.0}, 20)
    expected = [detector.explain(rows).expected["load"] for rows in (found, odder)]
    leads = detector.explain(found).leading()[:, detector.explain(found).columns.index("load")]
    assert leads.sum() >= 18
    np.testing.assert_array_equal(expected[0][leads], expected[1][leads])


def test_the_column_that_was_changed_is_the_first_reason(detector: Detector) -> None:
    attributions = detector.explain(machines.anomalies(20))

    first = [attributions.top(row)[0] for row in range(20)]

    assert [reason.column for reason in first].count("load") >= 18
    # 40 away from about 30: the model expects a usual load.
    assert all(20 < float(r.expected or 0) < 40 for r in first if r.column == "load")


def test_a_missing_value_is_never_a_reason_of_its_own(detector: Detector) -> None:
    found = machines.anomalies(20)
    missing = Records({**found.columns, "load": np.full(20, np.nan)}, 20)

    attributions = detector.explain(missing)
    load = attributions.columns.index("load")

    # Its term is the mean over fit rows, so nothing but the sampling of calibration rows is left.
    assert np.ptp(attributions.excess[:, load]) == 0
    assert attributions.excess[0, load] < 1
