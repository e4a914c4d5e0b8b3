"""The model card: what a reader must know before trusting a verdict."""

from __future__ import annotations

from anomaly.calibration import Rule, round_up
from anomaly.detector import Detector


def card_text(detector: Detector) -> str:
    """Markdown; also the description of the registered version."""
    card, calibration = detector.card, detector.calibration
    unit = f"calibration {card.unit_of_calibration}s"
    guarantee = (
        f"A new normal {card.unit_of_calibration} is flagged with probability at most "
        f"{calibration.alpha:g}, on average over calibration samples"
        if calibration.rule is Rule.CONFORMAL
        else f"The threshold is the empirical quantile at {calibration.alpha:g}; no guarantee"
    )
    lines = [
        "# Anomaly detector",
        "",
        "**Intended use.** Flag rows that do not look like the normal rows it was fitted on.",
        "",
        f"**False-alarm rate.** {guarantee}. Assumption: {card.exchangeability}. "
        f"{calibration.n} {unit}; the smallest rate they support is "
        f"{round_up(calibration.smallest_alpha)}.",
        "",
        f"**Threshold.** {calibration.threshold:.6g} "
        f"({detector.model.score.kind}, {detector.model.score.unit}, higher is more anomalous).",
        "",
        f"**Columns.** {len(detector.schema.features)} features"
        + (f", {len(detector.schema.context)} context" if detector.schema.context else "")
        + ": "
        + _listing([column.name for column in detector.schema.required])
        + ".",
        "",
        "**Rows.** " + ", ".join(f"{name} {n:,}" for name, n in card.rows.items()) + ".",
        "",
        "**Data.** " + (", ".join(f"{k} {v}" for k, v in card.data.items()) or "not recorded"),
    ]
    if card.metrics:
        lines += ["", "| measured on test rows | |", "|---|---|"]
        lines += [f"| {name} | {value:.6g} |" for name, value in card.metrics.items()]
    if card.notes:
        lines += ["", "**Notes.**", "", *(f"- {note}" for note in card.notes)]
    lines += [
        "",
        "**Limits.** Rows from another population than the one above void the rate. The model "
        "stores no training row, but its calibration scores and column quantiles.",
        "",
        f"Made {card.created} with "
        + ", ".join(f"{name} {number}" for name, number in card.versions.items())
        + ".",
        "",
    ]
    return "\n".join(lines)


def _listing(names: list[str], most: int = 20) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
