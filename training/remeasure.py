"""A trained detector meets another file: to be calibrated anew, or to be measured."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from anomaly.assembly import highest_of_each
from anomaly.baseline import Baseline
from anomaly.calibration import calibrate
from anomaly.contamination import HIDING, Contamination
from anomaly.data.options import ReadOptions
from anomaly.data.records import is_missing
from anomaly.data.schema import Schema
from anomaly.data.splits import SplitConfig, refuse_missing
from anomaly.detector import Card, Detector
from anomaly.errors import BadData, ConfigInvalid
from training.config import RunConfig
from training.evaluate import Evaluation, evaluate
from training.table import Labels, Table, file_digest, read_table

LASTING = (
    *("test/auroc", "test/average_precision", "test/normal_rows", "test/anomalies"),
    *("test/pixel_auroc", "test/pixel_aupro"),
)
"""Metrics that do not depend on the threshold."""


def recalibrated(
    detector: Detector,
    alpha: float | None,
    data: Path | None = None,
    options: ReadOptions | None = None,
    group_column: str | None = None,
) -> Detector:
    """The same model with another threshold. What was measured at the old one leaves the card.

    Args:
        alpha: The false-alarm rate; None keeps the one in force.
        data: New normal rows that took no part in training; their scores replace the old ones.
        group_column: Which object each row measures; needed for a model calibrated on groups.

    Raises:
        AlphaNotSupported: too few calibration rows, or groups, for that alpha.
        BadData: `data` is the file that the model was trained on, or a row has no group.
        ConfigInvalid: groups for a model of rows, or none for a model of groups.
    """
    old, card = detector.calibration, outdated(detector.card)
    rate = old.alpha if alpha is None else alpha
    note = f"alpha was {old.alpha:g} when the model was trained and measured"
    if data is None:
        card = replace(card, notes=(*card.notes, note))
        return replace(detector.with_alpha(rate), card=card)
    if file_digest(data) == card.data.get("sha256"):
        raise BadData(
            "is the file that the model was trained on, so its scores are too small to calibrate "
            "with. Give normal rows that took no part in training.",
            code="training_data",
            file=data,
        )
    table = _table(detector, data, None, options or ReadOptions(), group_column)
    terms = detector.backend.score_features(detector.features(table.records))
    scores = terms.scores if table.groups is None else highest_of_each(terms.scores, table.groups)
    notes = tuple(n for n in card.notes if HIDING not in n)
    found = Contamination.of_scores(terms.scores)
    hiding = (found.message,) if found.is_likely else ()
    note = f"calibrated anew on {len(scores):,} {old.unit}s of {data.name}"
    card = replace(
        card,
        rows={**card.rows, "calibration": len(terms.scores)},
        notes=(*notes, *hiding, note),
        calibrated=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return replace(
        detector,
        calibration=calibrate(scores, rate, old.rule, old.unit),
        baseline=Baseline.of(
            detector.preprocessor.features.target_columns, terms, detector.model.score
        ),
        card=card,
    )


def outdated(card: Card) -> Card:
    """The card without what no longer holds at another threshold: notes on the old calibration, and
    rates that were measured there."""
    notes = tuple(n for n in card.notes if "alpha is" not in n and not n.startswith("alpha was"))
    lasting = {key: value for key, value in card.metrics.items() if key in LASTING}
    return replace(card, notes=notes, metrics=lasting)


def evaluate_file(
    detector: Detector,
    data: Path,
    labels: Labels | None,
    options: ReadOptions,
    group_column: str | None = None,
) -> Evaluation:
    """Measure a detector on a file; without labels every row is taken for normal.

    Raises:
        BadData: the file cannot be read, no row has the normal label, or a row has no group.
        ConfigInvalid: groups for a model of rows, or none for a model of groups.
    """
    table = _table(detector, data, labels, options, group_column)
    rows = np.sort(np.concatenate([table.normal, table.anomalous]))
    groups = None if table.groups is None else table.groups[rows]
    return evaluate(detector, table.records.take(rows), np.isin(rows, table.anomalous), groups)


def _table(
    detector: Detector,
    data: Path,
    labels: Labels | None,
    options: ReadOptions,
    group_column: str | None,
) -> Table:
    """The file with the columns without which a row cannot be scored, and no other."""
    unit = detector.card.unit_of_calibration
    if (group_column is not None) != (unit == "group"):
        raise ConfigInvalid(
            f"the model was calibrated on {unit}s: "
            + ("drop --group-column." if group_column else "name the groups with --group-column.")
        )
    config = RunConfig()
    if group_column is not None:
        config = replace(config, split=SplitConfig(by="group", group_column=group_column))
    table = read_table(data, Schema(detector.schema.required), config, labels, options)
    if table.groups is not None:
        refuse_missing(is_missing(table.groups), "group")
    return table
