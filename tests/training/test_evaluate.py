"""How good a detector is on rows it has never seen."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.data.records import Records
from anomaly.detector import Detector
from tests import machines
from training.evaluate import Evaluation, evaluate, missing_entries


def evaluation(scores: list[float], truth: list[bool], alpha: float = 0.1) -> Evaluation:
    p_values = np.array([0.05 if score > 5 else 0.5 for score in scores])
    return Evaluation(np.array(scores), p_values, np.array(truth, bool), alpha, {})


def test_metrics_are_what_they_are_called() -> None:
    found = evaluation([1, 2, 6, 3, 4, 9, 8], [False] * 4 + [True] * 3)

    # Normal rows: 1, 2, 6, 3; one is flagged. Anomalies: 4, 9, 8; two are flagged.
    assert found.metrics["test/false_alarm_rate"] == 1 / 4
    assert found.metrics["test/recall"] == 2 / 3
    assert found.metrics["test/precision"] == 2 / 3
    # Of the 12 pairs, only 4 against 6 is in the wrong order.
    assert found.metrics["test/auroc"] == pytest.approx(11 / 12)
    # Ranked 9 8 6 4: the anomalies are at ranks 1, 2 and 4.
    assert found.metrics["test/average_precision"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert (found.metrics["test/normal_rows"], found.metrics["test/anomalies"]) == (4, 3)


def test_metrics_that_need_anomalies_are_left_out_without_any() -> None:
    assert set(evaluation([1, 2], [False, False]).metrics) == {
        "test/false_alarm_rate",
        "test/normal_rows",
    }


def test_metrics_that_need_normal_rows_are_left_out_without_any() -> None:
    assert set(evaluation([1, 9], [True, True]).metrics) == {"test/recall", "test/anomalies"}
    assert evaluation([], []).metrics == {}


def test_without_any_flag_precision_is_0() -> None:
    assert evaluation([1, 2], [False, True]).metrics["test/precision"] == 0


def test_a_detector_is_measured_by_its_own_verdicts(detector: Detector) -> None:
    found = machines.both(200, 20, seed=4)
    truth = np.arange(220) >= 200

    measured = evaluate(detector, found, truth)

    verdicts = detector.detect(found)
    np.testing.assert_array_equal(measured.scores, verdicts.scores)
    assert measured.metrics["test/false_alarm_rate"] == verdicts.is_anomaly[:200].mean()
    assert measured.metrics["test/recall"] == verdicts.is_anomaly[200:].mean()
    assert measured.metrics["test/auroc"] > 0.95


def test_false_alarms_are_told_by_the_number_of_missing_entries(detector: Detector) -> None:
    found = machines.records(300, seed=4)
    mode = found.columns["mode"].copy()
    mode[:100] = None
    gaps = Records({**found.columns, "mode": mode}, 300)

    by_missing = evaluate(detector, gaps, np.zeros(300, bool)).false_alarms_by_missing

    counts = missing_entries(detector, gaps)
    assert set(by_missing) == {0, 1, 2}
    assert [by_missing[k][0] for k in range(3)] == [(counts == k).sum() for k in range(3)]
    flagged = detector.detect(gaps).is_anomaly
    assert [by_missing[k][1] for k in range(3)] == [flagged[counts == k].sum() for k in range(3)]


def test_a_missing_value_does_not_make_a_row_look_anomalous(detector: Detector) -> None:
    found = machines.records(1000, seed=4)
    for name in ("heat", "load", "mode"):
        empty = np.full(1000, None, object) if name == "mode" else np.full(1000, np.nan)
        gaps = Records({**found.columns, name: empty}, 1000)

        rate = detector.detect(gaps, 0.05).is_anomaly.mean()

        assert rate < 0.12, f"{name}: {rate}"
