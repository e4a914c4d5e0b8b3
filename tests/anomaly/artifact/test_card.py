"""The card says what a reader must know before trusting a verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from anomaly.artifact.card import card_text, describe, threshold_rows
from anomaly.artifact.directory import CARD
from anomaly.calibration import Rule
from anomaly.detector import Detector


def test_it_states_rate_number_of_rows_and_assumption(detector: Detector) -> None:
    text = card_text(detector)

    assert f"with probability at most {detector.calibration.alpha:g}" in text
    assert f"{detector.calibration.n} calibration rows" in text
    assert "come from the same population as the calibration rows" in text
    assert f"{detector.calibration.threshold:.6g}" in text
    assert "higher is more anomalous" in text


def test_the_smallest_rate_that_it_names_works(detector: Detector) -> None:
    named = card_text(detector).split("the smallest rate they support is ")[1].split(".\n")[0]

    detector.with_alpha(float(named))


def test_it_says_whether_training_rows_are_stored(every_preset: dict[str, Detector]) -> None:
    assert "stores no training row" in card_text(every_preset["default"])
    nearest = every_preset["nearest"]
    stored = f"stores {nearest.card.rows['fit']:,} training rows"
    assert stored in card_text(nearest)


def test_it_is_the_readme_of_the_artifact(artifact: Path, detector: Detector) -> None:
    assert (artifact / CARD).read_text() == card_text(detector)


def test_the_empirical_quantile_promises_nothing(detector: Detector) -> None:
    text = card_text(detector.with_alpha(0.1, Rule.QUANTILE))

    assert "no guarantee" in text
    assert "with probability at most" not in text


def test_groups_metrics_notes_and_data_are_told(detector: Detector) -> None:
    card = replace(
        detector.card,
        unit_of_calibration="group",
        metrics={"test/auroc": 0.75},
        notes=("one thing",),
        data={"name": "pumps.csv", "sha256": "ab"},
    )

    text = card_text(replace(detector, card=card))

    assert "A new normal group is flagged" in text
    assert "| test/auroc | 0.75 |" in text
    assert "- one thing" in text
    assert "name pumps.csv" in text


def test_thresholds_are_listed_for_supported_rates_only_and_fall_with_alpha(
    detector: Detector,
) -> None:
    rows = threshold_rows(detector)

    rates = [float(alpha) for alpha, _, _ in rows]
    thresholds = [float(threshold) for _, threshold, _ in rows]
    assert min(rates) >= 0.99 * detector.calibration.smallest_alpha
    assert rates == sorted(rates, reverse=True)
    assert thresholds == sorted(thresholds)
    assert [mark for *_, mark in rows].count("yes") == 1


def test_the_description_is_json(detector: Detector) -> None:
    plain = json.loads(json.dumps(describe(detector)))

    assert plain["alpha"] == detector.calibration.alpha
    assert plain["threshold"] == detector.calibration.threshold
    assert plain["calibration_scores"] == detector.calibration.n
    assert plain["schema"]["columns"][0]["name"] == "serial"
