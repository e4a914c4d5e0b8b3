"""Pictures of a training run, each a function from numbers to a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from anomaly.arrays import Float64
from anomaly.baseline import by_column
from anomaly.data.records import Records
from anomaly.detector import Detector
from anomaly.fitting import Progress
from anomaly.image_detector import AnyDetector
from training.canvas import ANOMALY, LINE, NORMAL, new_figure
from training.evaluate import Evaluation
from training.latent_tables import report_figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST_POINTS, MOST_POINTS = 3, 5_000
MOST_BARS = 25
FEWEST_BINS, MOST_BINS = 12, 60
WIDE_NATS = 10
"""Beyond this, errors of columns are shown on a logarithmic axis."""


def figures(
    detector: Detector,
    history: Sequence[Progress],
    evaluation: Evaluation,
    test: Records,
) -> dict[str, Figure]:
    """Every figure that the run has data for, by file name."""
    found = {
        "loss.png": loss_figure(history, "row"),
        "scores.png": score_figure(detector, evaluation),
        "features.png": feature_figure(detector, evaluation, test),
    }
    if len(test) >= FEWEST_POINTS:
        found["latent.png"] = latent_figure(detector, evaluation, test)
    if evaluation.is_anomalous.any() and not evaluation.is_anomalous.all():
        found["roc_pr.png"] = roc_pr_figure(evaluation)
    if len(test):
        found |= report_figures(detector, test, evaluation.is_anomalous)
    return found


def loss_figure(history: Sequence[Progress], unit: str) -> Figure:
    """Loss, reconstruction and KL while training and on whole rows or images, and active units."""
    figure, axes = new_figure(1, 4, (15, 3.4))
    steps = [look.step for look in history]
    best = [look for look in history if look.best][-1]
    whole = f"early-stop {unit}s" if best.held_out else f"fit {unit}s, nothing hidden"
    per_unit = f"nats {'an' if unit == 'image' else 'a'} {unit}"
    for axis, name in zip(axes, ("loss", "reconstruction", "kl"), strict=False):
        axis.plot(steps, [getattr(look, f"train_{name}") for look in history], label="training")
        axis.plot(steps, [getattr(look, name) for look in history], label=whole)
        axis.axvline(best.step, color=LINE, linewidth=0.8, linestyle=":", label="kept")
        axis.set(title=name.upper() if name == "kl" else name, xlabel="step", ylabel=per_unit)
    axes[0].legend(frameon=False)
    axes[3].plot(steps, [look.active_units for look in history], color=LINE)
    axes[3].set(title="active units", xlabel="step", ylabel=f"latents that vary between {unit}s")
    axes[3].set_ylim(bottom=0)
    axes[3].yaxis.get_major_locator().set_params(integer=True)
    return figure


def score_figure(detector: AnyDetector, evaluation: Evaluation) -> Figure:
    """Margins of calibration, of normal test rows and of anomalies, with the threshold at 1."""
    figure, axes = new_figure(1, 1, (8, 4))
    axis = axes[0]
    calibration = detector.calibration
    parts = {
        f"calibration ({calibration.n} {calibration.unit}s)": (calibration.scores, LINE),
        "test, normal": (evaluation.scores[~evaluation.is_anomalous], NORMAL),
        "test, anomalous": (evaluation.scores[evaluation.is_anomalous], ANOMALY),
    }
    # Anomalies can lie a thousand thresholds out: the axis bends beyond 2.
    shown = {name: _bent(calibration.margins(s)) for name, (s, _) in parts.items() if len(s)}
    # A few scores in many bins look like a comb.
    bins = int(np.clip(max(map(len, shown.values())) // 2, FEWEST_BINS, MOST_BINS))
    edges = np.linspace(
        min(s.min() for s in shown.values()), max(s.max() for s in shown.values()) + 1e-9, bins
    )
    for name, values in shown.items():
        weights = np.full(len(values), 1 / len(values))
        color = parts[name][1]
        axis.hist(values, edges, weights=weights, histtype="stepfilled", alpha=0.25, color=color)
        axis.hist(values, edges, weights=weights, histtype="step", color=color, label=name)
    axis.axvline(_bent(np.array([1.0]))[0], color=ANOMALY, linestyle="--", label="threshold")
    ticks = np.array([-1, 0, 1, 2, 5, 10, 100, 1000, 10000.0])
    inside = (_bent(ticks) >= edges[0]) & (_bent(ticks) <= edges[-1])
    axis.set_xticks(_bent(ticks)[inside], [f"{tick:g}" for tick in ticks[inside]])
    axis.set(
        title=f"scores; threshold {calibration.threshold:.4g} {detector.unit} "
        f"at alpha = {calibration.alpha:g}",
        xlabel=f"margin: 0 is the median calibration {calibration.unit}, 1 the threshold",
        ylabel="share",
    )
    axis.legend(frameon=False)
    return figure


def roc_pr_figure(evaluation: Evaluation) -> Figure:
    """ROC and precision-recall curves, with the operating point."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    figure, axes = new_figure(1, 2, (10, 4.2))
    truth, metrics = evaluation.is_anomalous, evaluation.metrics
    false_positive, true_positive, _ = roc_curve(truth, evaluation.scores)
    axes[0].plot(false_positive, true_positive, color=NORMAL)
    axes[0].plot([0, 1], [0, 1], color=LINE, linewidth=0.8, linestyle=":")
    axes[0].plot(metrics["test/false_alarm_rate"], metrics["test/recall"], "o", color=ANOMALY)
    axes[0].set(
        title=f"ROC, area {metrics['test/auroc']:.3f}",
        xlabel="false-alarm rate",
        ylabel="share of anomalies found",
    )
    precision, recall, _ = precision_recall_curve(truth, evaluation.scores)
    axes[1].plot(recall, precision, color=NORMAL)
    axes[1].axhline(truth.mean(), color=LINE, linewidth=0.8, linestyle=":")
    axes[1].plot(metrics["test/recall"], metrics["test/precision"], "o", color=ANOMALY)
    axes[1].set(
        title=f"precision and recall, average {metrics['test/average_precision']:.3f}",
        xlabel="share of anomalies found",
        ylabel="share of flags that are anomalies",
        ylim=(0, 1.02),
    )
    return figure


def feature_figure(detector: Detector, evaluation: Evaluation, test: Records) -> Figure:
    """Mean term of each column on normal and on anomalous test rows, largest first."""
    terms = detector.backend.score_features(detector.features(test))
    columns, per_column = by_column(detector.preprocessor.features.target_columns, terms.per_target)
    excess = per_column - detector.baseline.per_column
    normal, anomalous = excess[~evaluation.is_anomalous], excess[evaluation.is_anomalous]
    leading = anomalous if len(anomalous) else normal
    order = np.argsort(-leading.mean(axis=0))[:MOST_BARS][::-1]
    figure, axes = new_figure(1, 1, (8, 1.2 + 0.26 * len(order)))
    axis, at = axes[0], np.arange(len(order))
    for part, offset, color, name in (
        (normal, -0.2, NORMAL, "normal"),
        (anomalous, 0.2, ANOMALY, "anomalous"),
    ):
        if len(part):
            means = part.mean(axis=0)[order]
            axis.barh(at + offset, means, 0.4, color=color, label=f"test, {name}")
    axis.set_yticks(at, [columns[j] for j in order])
    if np.abs(leading.mean(axis=0)).max() > WIDE_NATS:
        axis.set_xscale("symlog", linthresh=1)
    axis.set(
        title="error by column",
        xlabel=f"mean {detector.model.score.unit} above the calibration rows' mean",
    )
    axis.legend(frameon=False)
    return figure


def latent_figure(detector: Detector, evaluation: Evaluation, test: Records) -> Figure:
    """Posterior means on their first two principal axes, coloured by truth."""
    from sklearn.decomposition import PCA

    latents = detector.encode(test)
    if latents.shape[1] < 2:
        latents = np.column_stack([latents, np.zeros(len(latents))])
    normal = ~evaluation.is_anomalous
    basis = PCA(2).fit(latents[normal] if normal.sum() > 2 else latents)
    points = basis.transform(latents)
    figure, axes = new_figure(1, 1, (6, 5.4))
    for mask, color, name in ((normal, NORMAL, "normal"), (~normal, ANOMALY, "anomalous")):
        chosen = np.flatnonzero(mask)[:MOST_POINTS]
        if len(chosen):
            axes[0].scatter(*points[chosen].T, s=9, alpha=0.6, color=color, label=f"test, {name}")
    axes[0].set(
        title=f"latent space, 2 of {detector.model.vae.sizes.latent} directions",
        xlabel=f"PC 1 ({basis.explained_variance_ratio_[0]:.0%})",
        ylabel=f"PC 2 ({basis.explained_variance_ratio_[1]:.0%})",
    )
    axes[0].legend(frameon=False)
    return figure


def _bent(margins: Float64) -> Float64:
    """Linear up to 2, logarithmic beyond."""
    above = np.maximum(margins, 2.0)
    return np.where(margins <= 2, margins, 2 + np.log(above / 2) * 2)
