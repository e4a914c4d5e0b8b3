"""Pictures of the latent space of a detector of tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anomaly.arrays import Bool, Float64, Values
from anomaly.data.records import Records, is_missing
from anomaly.detector import Detector, between
from training.canvas import ANOMALY, LINE, LINES, NORMAL, PALE, new_figure
from training.latent_plots import (
    INTERPOLATIONS,
    PROJECTION,
    RECONSTRUCTIONS,
    RESPONSES,
    SAMPLES,
    UNITS,
    head,
    projection_figure,
    units_figure,
)
from training.latent_space import REACH, LatentSpace, across, opposites
from training.measures import Measures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_RESPONSES, MOST_REBUILT, MOST_SAMPLED, MOST_PATHS = 6, 4, 12, 3
MOST_MEASURES = 25
"""Columns side by side in a figure."""

MOST_ROWS = 5_000
"""Of a figure; beyond, an even choice is taken."""

MOST_LINES = 40
"""In one panel; columns that move less are not drawn."""

TRAVERSAL_STEPS = np.linspace(-REACH, REACH, 25)
PATH_STEPS = 25
FAR_OUT = 30.0
"""Standard deviations beyond which an axis becomes logarithmic."""

BINS = 24
INNER = (0.005, 0.995)
"""Quantiles of real rows between which histograms are drawn."""


def report_figures(
    detector: Detector, rows: Records, is_anomalous: Bool | None = None, seed: int = 0
) -> dict[str, Figure]:
    """Those figures of the latent space that belong in the report of a training run.

    Args:
        is_anomalous: (N,) the truth, where it is known: what is usual is then told by the others.
    """
    usual = thinned(usual_of(rows, is_anomalous), MOST_ROWS)
    space = space_of(detector, usual)
    shown = thinned(rows, MOST_ROWS)
    found = {RECONSTRUCTIONS: reconstruction_figure(detector, shown, space)}
    if space.can_tell:
        found[UNITS] = units_figure(space)
    if not space.active.any():
        return found
    found[RESPONSES] = response_figure(detector, usual, space)
    if not detector.schema.context:
        found[SAMPLES] = sample_figure(detector, usual, space, seed)
    return found


def table_latent_figures(
    detector: Detector, rows: Records, is_anomalous: Bool | None = None, seed: int = 0
) -> dict[str, Figure]:
    """Every figure of the latent space that applies, by file name.

    Of a posterior that has collapsed there are two, which say so: its draws, ways and maps would
    only look like those of a VAE. With context columns nothing can be drawn from the prior alone.

    Args:
        rows: At least one.
        is_anomalous: (N,) the truth, where it is known: what is usual is then told by the others.
        seed: Of draws from the prior.
    """
    found = report_figures(detector, rows, is_anomalous, seed)
    usual = thinned(usual_of(rows, is_anomalous), MOST_ROWS)
    space = space_of(detector, usual)
    if not space.active.any():
        return found
    found[INTERPOLATIONS] = interpolation_figure(detector, usual, space)
    if len(rows) > 2:
        found[PROJECTION] = projection_figure(
            detector.encode(rows),
            detector.anomaly_score(rows),
            detector.calibration,
            space,
            is_anomalous,
        )
    return found


def usual_of(rows: Records, is_anomalous: Bool | None) -> Records:
    """The rows that are not known to be anomalous; all, if there are none."""
    if is_anomalous is None or is_anomalous.all():
        return rows
    return rows.take(np.flatnonzero(~is_anomalous))


def thinned(rows: Records, most: int) -> Records:
    """At most so many of the rows, an even choice."""
    if len(rows) <= most:
        return rows
    return rows.take(np.linspace(0, len(rows) - 1, most).round().astype(np.int64))


def space_of(detector: Detector, rows: Records) -> LatentSpace:
    """The latent space, from the posteriors of the rows."""
    means, deviations = detector.backend.encode(detector.features(rows))
    return LatentSpace.of(detector.model, means, deviations, "rows")


def response_figure(detector: Detector, rows: Records, space: LatentSpace) -> Figure:
    """How the expected value of each column moves along the most active latents."""
    channels = space.leading(MOST_RESPONSES)
    measures = Measures.of(detector, rows)
    start = space.middle
    context = detector.features(rows.take(np.array([start]))).context
    columns = min(3, len(channels))
    down = -(-len(channels) // columns)
    figure, axes = new_figure(down, columns, (5.0 * columns, 3.6 * down + 0.5))
    for axis, channel in zip(axes, channels, strict=False):
        z = space.traversal(space.means[start], int(channel), TRAVERSAL_STEPS)
        moved = measures.decoded(z, np.repeat(context, len(z), axis=0))
        moved -= measures.decoded(space.means[[start]], context)
        share = space.variance[channel] / space.variance.sum()
        _lines(axis, TRAVERSAL_STEPS, moved, measures.names)
        axis.axhline(0, color=LINE, linewidth=0.6)
        axis.axvline(0, color=LINE, linewidth=0.6, linestyle=":")
        axis.set(
            title=f"latent {channel + 1}: {share:.0%} of the latents' variance",
            xlabel=f"moved by so many sd (sd {space.spread(int(channel)):.2g})",
            ylabel=f"change expected, {measures.unit}",
        )
        axis.sharey(axes[0])
    axes[0].autoscale()
    for axis in axes[len(channels) :]:
        axis.set_axis_off()
    head(
        figure,
        f"Responses: what the {len(channels)} most active latents do to the most typical row",
        space,
        f"named in each: the {min(len(LINES), len(measures.names))} columns that move most",
    )
    return figure


def reconstruction_figure(detector: Detector, rows: Records, space: LatentSpace) -> Figure:
    """What some rows are, and what the model expects of them, from the lowest score to the
    highest."""
    from matplotlib.ticker import SymmetricalLogLocator

    scores = detector.anomaly_score(rows)
    chosen = across(scores, MOST_REBUILT)
    calibration = detector.calibration
    flagged = calibration.is_anomaly(calibration.p_values(scores))[chosen]
    margins = calibration.margins(scores)[chosen]
    measures = Measures.of(detector, rows)
    features = detector.features(rows.take(chosen))
    observed = measures.observed(features)
    expected = measures.decoded(detector.backend.encode(features)[0], features.context)
    apart = np.nanmax(np.abs(np.where(np.isnan(observed), 0.0, observed - expected)), axis=0)
    kept = np.sort(np.argsort(-apart, kind="stable")[:MOST_MEASURES])
    width = max(8.0, 2.0 + 0.36 * len(kept))
    figure, axes = new_figure(len(chosen), 1, (width, 1.9 * len(chosen) + 1.9))
    at = np.arange(len(kept))
    for n, axis in enumerate(axes):
        color = ANOMALY if flagged[n] else NORMAL
        axis.vlines(at, observed[n, kept], expected[n, kept], color=color, linewidth=1.4, alpha=0.6)
        axis.plot(at, observed[n, kept], "o", markersize=5, color=color, label="observed")
        axis.plot(at, expected[n, kept], "_", markersize=11, markeredgewidth=2, color=LINE)
        axis.lines[-1].set_label("expected")
        axis.axhline(0, color=PALE, linewidth=0.8, zorder=0)
        if np.nanmax(np.abs(observed[n, kept]), initial=0.0) > FAR_OUT:
            axis.set_yscale("symlog", linthresh=FAR_OUT)
            # By itself it would name powers of ten only: often a single one.
            ticks = SymmetricalLogLocator(base=10, linthresh=FAR_OUT, subs=[1, 2, 5])
            axis.yaxis.set_major_locator(ticks)
            axis.yaxis.set_major_formatter("{x:g}")
        axis.margins(y=0.15)
        axis.set_xticks(at, [])
        axis.set_xlim(-0.7, len(kept) - 0.3)
        axis.grid(axis="x", color=PALE, linewidth=0.4)
        mark = ", flagged" if flagged[n] else ""
        axis.set_title(
            f"margin {margins[n]:.2f}{mark}",
            fontsize=10,
            loc="left",
            color=color if flagged[n] else LINE,
        )
    axes[0].legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    names = [measures.names[j] for j in kept]
    axes[-1].set_xticks(at, names, rotation=60, ha="right", fontsize=8)
    figure.supylabel(measures.unit, fontsize=10)
    further = f"the {len(kept)} columns that differ most" if len(kept) < len(apart) else ""
    if space.has_collapsed:
        further = "every row is expected to be the same"
    head(
        figure,
        "Reconstructions from the posterior mean, from the lowest score to the highest",
        space,
        further,
    )
    return figure


def sample_figure(detector: Detector, rows: Records, space: LatentSpace, seed: int) -> Figure:
    """The distribution of each column, in real rows and in rows decoded from the prior."""
    drawn = detector.sample(max(len(rows), 500), seed)
    names = [name for name in drawn if not is_missing(rows.columns[name]).all()][:MOST_SAMPLED]
    columns = min(4, len(names))
    down = -(-len(names) // columns)
    figure, axes = new_figure(down, columns, (3.4 * columns, 2.4 * down + 0.8))
    for axis, name in zip(axes, names, strict=False):
        real = rows.columns[name]
        _distributions(axis, real[~is_missing(real)], drawn[name])
        axis.set_title(name, fontsize=10)
        axis.set_yticks([])
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    axes[0].legend(frameon=False, fontsize=8)
    left_out = len(drawn) - len(names)
    title = "Draws from the prior next to real rows; drawn are expected values, without noise"
    further = f"{left_out} more columns are not shown" if left_out else ""
    head(figure, title, space, "; ".join(filter(None, (space.said_of_prior, further))))
    return figure


def interpolation_figure(detector: Detector, rows: Records, space: LatentSpace) -> Figure:
    """What is expected on the lines between rows that lie far apart."""
    pairs = opposites(space.means, MOST_PATHS)
    measures = Measures.of(detector, rows)
    figure, axes = new_figure(1, max(1, len(pairs)), (5.0 * max(1, len(pairs)), 4.2))
    share = np.linspace(0.0, 1.0, PATH_STEPS)
    for number, (axis, (start, end)) in enumerate(zip(axes, pairs, strict=False), start=1):
        features = detector.features(rows.take(np.array([start, end])))
        z = between(space.means[[start]], space.means[[end]], PATH_STEPS)
        expected = measures.decoded(z, np.repeat(features.context[:1], PATH_STEPS, axis=0))
        ends = measures.observed(features)
        for j, color in _lines(axis, share, expected, measures.names):
            axis.plot((0.0, 1.0), ends[:, j], "o", color=color, markersize=5, clip_on=False)
        axis.set(
            title=f"between the ends of PC {number}",
            xlabel="share of the way; dots: observed",
            ylabel=f"expected, {measures.unit}",
        )
    head(figure, "Interpolation between rows that lie far apart", space)
    return figure


def _lines(axis: Any, x: Float64, values: Float64, names: tuple[str, ...]) -> list[tuple[int, str]]:
    """A line for each of the measures (T, E), those that move most named; returns these."""
    order = np.argsort(-np.ptp(values, axis=0), kind="stable")
    axis.plot(x, values[:, order[len(LINES) : MOST_LINES]], color=PALE, linewidth=0.8)
    named = [(int(j), color) for j, color in zip(order, LINES, strict=False)]
    for j, color in named:
        axis.plot(x, values[:, j], color=color, linewidth=1.8, label=names[j])
    axis.legend(frameon=False, fontsize=8)
    return named


def _distributions(axis: Any, real: Values, drawn: Values) -> None:
    """Two histograms with equal area; of names and truth values, two bars each."""
    if real.dtype == object or set(np.unique(real)) <= {0.0, 1.0}:
        found = _shares(real, drawn)
        at = np.arange(len(found))
        for offset, k, color, name in ((-0.2, 0, LINE, "real"), (0.2, 1, NORMAL, "drawn")):
            axis.bar(at + offset, [v[k] for v in found.values()], 0.4, color=color, label=name)
        axis.set_xticks(at, list(found), fontsize=8)
        return
    low, high = np.quantile(real, INNER)
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    for values, color, name, filled in (
        (real, LINE, "real", False),
        (drawn, NORMAL, "drawn", True),
    ):
        inside = np.clip(values.astype(np.float64), edges[0], edges[-1])
        weights = np.full(len(inside), 1 / len(inside))
        kind = "stepfilled" if filled else "step"
        axis.hist(
            inside,
            edges,
            weights=weights,
            histtype=kind,
            color=color,
            alpha=0.45 if filled else 1.0,
            label=name,
        )


def _shares(real: Values, drawn: Values) -> dict[str, tuple[float, float]]:
    """Share of each name in real and in drawn rows; of truth values, of those that are true."""
    if real.dtype != object:
        return {"true": (float(real.mean()), float(drawn.mean()))}
    names = sorted({*real.tolist(), *drawn.tolist()})
    return {n: (float((real == n).mean()), float((drawn == n).mean())) for n in names}
