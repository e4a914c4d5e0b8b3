"""Pictures of a training run on images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from anomaly.arrays import Int64
from anomaly.fitting import Progress
from anomaly.heat_png import overlay
from anomaly.image_detector import ImageDetector
from training.canvas import new_figure
from training.evaluate import Evaluation
from training.image_data import ImageData
from training.latent_images import image_latent_figures
from training.report import loss_figure, roc_pr_figure, score_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IN_A_ROW = 6
"""Images of each kind in the gallery."""

MOST_ENCODED = 80
"""Test images that the figures of the latent space are drawn from."""


def image_figures(
    detector: ImageDetector,
    history: Sequence[Progress],
    evaluation: Evaluation,
    data: ImageData,
    numbers: Int64,
) -> dict[str, Figure]:
    """Every figure that the run has data for, by file name.

    Args:
        numbers: Of the files that were evaluated, in that order.
    """
    found = {"loss.png": loss_figure(history, "image")}
    if len(numbers):
        found["scores.png"] = score_figure(detector, evaluation)
        found["heatmaps.png"] = gallery_figure(detector, evaluation, data, numbers)
        some = evenly(np.arange(len(numbers)), MOST_ENCODED)
        images, truth = data.pixels(numbers[some]), evaluation.is_anomalous[some]
        found |= image_latent_figures(detector, images, truth)
    if evaluation.is_anomalous.any() and not evaluation.is_anomalous.all():
        found["roc_pr.png"] = roc_pr_figure(evaluation)
    return found


def gallery_figure(
    detector: ImageDetector, evaluation: Evaluation, data: ImageData, numbers: Int64
) -> Figure:
    """Heatmaps of images that were found, missed, flagged by mistake and left alone."""
    flagged, truth = evaluation.p_values <= evaluation.alpha, evaluation.is_anomalous
    order = np.argsort(-evaluation.scores, kind="stable")
    # The most telling ones first: certain finds, near misses, loud false alarms, usual images.
    kinds = {
        "anomalous, flagged": order[(truth & flagged)[order]],
        "anomalous, missed": order[(truth & ~flagged)[order]],
        "normal, flagged": order[(~truth & flagged)[order]],
        "normal": evenly(order[(~truth & ~flagged)[order]], IN_A_ROW),
    }
    shown = {kind: places[:IN_A_ROW] for kind, places in kinds.items() if len(places)}
    figure, axes = new_figure(len(shown), IN_A_ROW, (2.1 * IN_A_ROW, 2.3 * len(shown)))
    for axis in axes:
        axis.set_axis_off()
    for row, (kind, places) in enumerate(shown.items()):
        images = list(data.pixels(numbers[places]))
        for column, (place, pixels, heat) in enumerate(
            zip(places, images, detector.explain(images), strict=True)
        ):
            axis = axes[row * IN_A_ROW + column]
            axis.imshow(overlay(pixels, heat))
            label = data.files[numbers[place]].label
            title = f"{kind}\n" if column == 0 else "\n"
            axis.set_title(
                f"{title}{label + ', ' if label else ''}p = {evaluation.p_values[place]:.3g}",
                fontsize=8,
                loc="left",
            )
    figure.suptitle(
        "heat: 0 is usual, 1 the hottest pixel of a normal image in all but "
        f"{detector.calibration.alpha:.0%}",
        fontsize=9,
    )
    return figure


def evenly(places: Int64, most: int) -> Int64:
    """At most so many of them, evenly from the first to the last."""
    chosen = np.linspace(0, len(places) - 1, min(most, len(places)))
    return places[chosen.astype(np.int64)]
