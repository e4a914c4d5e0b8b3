"""The model card: what a reader must know before trusting a verdict."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from anomaly.calibration import Rule, round_up
from anomaly.detector import MARKS, Detector
from anomaly.image_detector import AnyDetector
from anomaly.scores import ROWS, RememberingScore


def card_text(detector: AnyDetector) -> str:
    """Markdown; also the description of the registered version."""
    card, calibration = detector.card, detector.calibration
    kind = "row" if isinstance(detector, Detector) else "image"
    unit = f"calibration {card.unit_of_calibration}s"
    guarantee = (
        f"A new normal {card.unit_of_calibration} is flagged with probability at most "
        f"{calibration.alpha:g}, on average over calibration samples"
        if calibration.rule is Rule.CONFORMAL
        else f"The threshold is the empirical quantile at {calibration.alpha:g}; no guarantee"
    )
    anew = f", calibrated anew {card.calibrated}," if card.calibrated else ""
    lines = [
        "# Anomaly detector",
        "",
        f"**Intended use.** Flag {kind}s that do not look like the normal {kind}s that it was "
        "fitted on.",
        "",
        f"**False-alarm rate.** {guarantee}. Assumption: {card.exchangeability}. "
        f"{calibration.n} {unit}; the smallest rate they support is "
        f"{round_up(calibration.smallest_alpha)}.",
        "",
        f"**Threshold.** {calibration.threshold:.6g} "
        f"({detector.model.score.kind}, {detector.unit}, higher is more anomalous).",
        "",
        _input(detector),
        "",
        f"**{kind.capitalize()}s.** "
        + ", ".join(f"{name} {n:,}" for name, n in card.rows.items() if n)
        + ".",
        "",
        "**Data.** "
        + (", ".join(f"{k} {v}" for k, v in card.data.items() if k != MARKS) or "not recorded"),
    ]
    if card.metrics:
        lines += ["", f"| measured on test {kind}s | |", "|---|---|"]
        lines += [f"| {name} | {value:.6g} |" for name, value in card.metrics.items()]
    if card.notes:
        lines += ["", "**Notes.**", "", *(f"- {note}" for note in card.notes)]
    lines += [
        "",
        f"**Limits.** {kind.capitalize()}s from another population than the one above void the "
        f"rate. {stored(detector)}",
        "",
        f"Made {card.created}{anew} with "
        + ", ".join(f"{name} {number}" for name, number in card.versions.items())
        + ".",
        "",
    ]
    return "\n".join(lines)


def stored(detector: AnyDetector) -> str:
    """What the model holds of the data it was trained on, in words."""
    kind = "row" if isinstance(detector, Detector) else "image"
    besides = "calibration scores and column quantiles" if kind == "row" else "calibration scores"
    if not isinstance(detector.model.score, RememberingScore):
        return f"The model stores no training {kind}, but holds its {besides}."
    remembered = len(detector.model.first[ROWS])
    return (
        f"The model **stores {remembered:,} training {kind}s**, as coordinates from which they can "
        f"be computed: guard it as you guard them. Besides it holds its {besides}."
    )


def _input(detector: AnyDetector) -> str:
    """What the detector looks at, in words."""
    if isinstance(detector, Detector):
        schema = detector.schema
        context = f", {len(schema.context)} context" if schema.context else ""
        names = _listing([column.name for column in schema.required])
        return f"**Columns.** {len(schema.features)} features{context}: {names}."
    preprocessor = detector.preprocessor
    layout, colour = preprocessor.layout, "grey" if preprocessor.channels == 1 else "colour"
    if layout.whole:
        return (
            f"**Input.** Images, seen in {colour}, whole, at {layout.tile} x {layout.tile} pixels."
        )
    return (
        f"**Input.** Images, seen in {colour}, at {preprocessor.scale:.3g} of their size, in tiles "
        f"of {layout.tile} x {layout.tile} pixels."
    )


def _listing(names: list[str], most: int = 20) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def threshold_rows(detector: AnyDetector) -> list[tuple[str, str, str]]:
    """(alpha, threshold, mark) for the usual rates that the calibration scores support."""
    calibration = detector.calibration
    usual = {0.1, 0.05, 0.01, 0.005, 0.001, 0.0001, calibration.alpha}
    supported = sorted((a for a in usual if a >= calibration.smallest_alpha), reverse=True)
    return [
        (
            f"{alpha:g}",
            f"{calibration.with_alpha(alpha).threshold:.6g}",
            "yes" if alpha == calibration.alpha else "",
        )
        for alpha in supported
    ]


def describe(detector: AnyDetector) -> dict[str, Any]:
    """Model, threshold and columns as JSON has them; what `inspect` and the service tell."""
    calibration, model = detector.calibration, detector.model
    return {
        "score": model.score.kind,
        "unit": detector.unit,
        "alpha": calibration.alpha,
        "threshold": calibration.threshold,
        "rule": str(calibration.rule),
        "calibration_scores": calibration.n,
        "unit_of_calibration": calibration.unit,
        "smallest_alpha": calibration.smallest_alpha,
        "backend": str(detector.backend.name),
        "device": detector.backend.device,
        "block_rows": detector.backend.block_rows,
        "latent": model.vae.sizes.latent,
        **(
            {"schema": detector.schema.to_plain()}
            if isinstance(detector, Detector)
            else {"images": asdict(detector.preprocessor)}
        ),
        "card": asdict(detector.card),
    }
