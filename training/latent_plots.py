"""Figures of a latent space that do not depend on what the rows are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anomaly.arrays import Bool, Float64
from anomaly.calibration import Calibration
from training.canvas import ANOMALY, LINE, NORMAL, PALE, new_figure
from training.latent_space import CAUTION, LatentSpace, projected

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNITS, RECONSTRUCTIONS, SAMPLES = (
    "latent_units.png",
    "latent_reconstructions.png",
    "latent_samples.png",
)
INTERPOLATIONS, TRAVERSAL, RESPONSES = (
    "latent_interpolations.png",
    "latent_traversal.png",
    "latent_responses.png",
)
MANIFOLD, PROJECTION = "latent_manifold.png", "latent_projection.png"
NAMES = (
    UNITS,
    RECONSTRUCTIONS,
    SAMPLES,
    INTERPOLATIONS,
    TRAVERSAL,
    RESPONSES,
    MANIFOLD,
    PROJECTION,
)
"""Every file that a latent figure can be."""

SMALLEST_VARIANCE = 1e-6
"""Smaller ones are drawn here."""

MOST_BARS = 60
"""That can be told apart."""

SMALLEST_KL = 0.01
"""Nats; the axis ends no earlier, so that nothing looks like much."""


def head(figure: Figure, title: str, space: LatentSpace, further: str = "") -> None:
    """Say above a figure what it shows and what of the latents is in use."""
    line = f"{space.said}; {further}" if further else space.said
    warns = space.has_collapsed or CAUTION in line
    figure.suptitle(f"{title}\n{line}", fontsize=11, color=ANOMALY if warns else LINE)


def units_figure(space: LatentSpace) -> Figure:
    """Which latents vary between rows, largest first, and what each costs."""
    order = np.argsort(-space.variance, kind="stable")
    figure, axes = new_figure(1, 2 if space.is_vae else 1, (11.0 if space.is_vae else 8.5, 3.8))
    rank = np.arange(1, len(order) + 1)
    shown = np.maximum(space.variance[order], SMALLEST_VARIANCE)
    colors = np.where(space.active[order], NORMAL, PALE).tolist()
    # Of many thin bars the gaps would make stripes.
    look = {"color": colors, "width": 0.9}
    if len(rank) > MOST_BARS:
        look = {"color": colors, "edgecolor": colors, "width": 1.0}
    axes[0].bar(rank, shown, **look)
    axes[0].set_yscale("log")
    axes[0].set_ylim(SMALLEST_VARIANCE / 2, 3 * max(float(shown.max()), space.threshold))
    if space.threshold > 0:
        axes[0].axhline(space.threshold, color=ANOMALY, linestyle="--")
    axes[0].set(
        title=f"how much each latent tells {space.rows} apart; active above {space.threshold:.2g}",
        ylabel="variance of the posterior mean",
    )
    if space.is_vae:
        axes[1].bar(rank, space.divergence[order], **look)
        axes[1].set(title="what it costs", ylabel="mean KL to N(0, 1), nats")
        axes[1].set_ylim(0, max(SMALLEST_KL, 1.05 * float(space.divergence.max())))
    for axis in axes:
        axis.set_title(axis.get_title(), fontsize=10)
        axis.set_xlabel("latent, the one that varies most first")
        axis.xaxis.get_major_locator().set_params(integer=True)
    head(figure, f"Latents in use, over {len(space.means):,} {space.rows}", space)
    return figure


def projection_figure(
    points: Float64,
    scores: Float64,
    calibration: Calibration,
    space: LatentSpace,
    is_anomalous: Bool | None = None,
) -> Figure:
    """Rows in two directions of the latent space, coloured by score.

    Args:
        points: (N, L) posterior means.
        is_anomalous: (N,) the truth, where it is known; marked beside what is flagged.
    """
    normal = None if is_anomalous is None else ~is_anomalous
    basis = points[normal] if normal is not None and normal.sum() > 2 else None
    at, names = projected(points, basis)
    margins = calibration.margins(scores)
    if points.shape[1] == 1:
        at, names = np.column_stack([points[:, 0], margins]), ("the latent", "margin")
    flagged = calibration.is_anomaly(calibration.p_values(scores))
    figure, (axis,) = new_figure(1, 1, (7.4, 5.6))
    order = np.argsort(margins, kind="stable")
    points_drawn = axis.scatter(
        *at[order].T, c=margins[order], s=16, cmap="viridis", vmin=-1.0, vmax=2.0, linewidths=0
    )
    rings = axis.scatter(
        *at[flagged].T, s=52, facecolors="none", edgecolors=ANOMALY, linewidths=1.2
    )
    rings.set_label(f"flagged at alpha = {calibration.alpha:g} ({flagged.sum():,})")
    if is_anomalous is not None and is_anomalous.any():
        axis.scatter(*at[is_anomalous].T, s=22, marker="x", color=LINE, linewidths=0.9).set_label(
            f"known anomalies ({is_anomalous.sum():,})"
        )
    bar = figure.colorbar(points_drawn, ax=axis, extend="both", aspect=30)
    bar.set_label(
        f"margin of the score: 0 is the median calibration {calibration.unit}, 1 the threshold"
    )
    axis.set(xlabel=names[0], ylabel=names[1])
    axis.legend(frameon=False, loc="best")
    head(figure, f"Latent space: {len(points):,} posterior means, coloured by score", space)
    return figure
