"""Pictures of `benchmarks.literature`, each a function from records to a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from anomaly.arrays import Float64
from benchmarks.literature_tables import CENTRES, RADIUS, SENSORS, pumps
from benchmarks.record import Record

Records = Sequence[Record]
COLORS = ("#1f6fb4", "#d1495b", "#3a8f5c", "#8a5fa8")
GREY = "#777777"


def holes(records: Records) -> Figure:
    """A line of digits for each way to draw them."""
    shown = [r for r in records if r["seed"] == 0]
    figure, axes = _figure(len(shown), 1, (7.6, 0.92 * len(shown)))
    for axis, record in zip(axes, shown, strict=True):
        digits = np.array(record["shown"]).reshape(-1, 8, 8)
        framed = np.pad(digits, ((0, 0), (1, 1), (1, 1)))
        axis.imshow(np.concatenate(list(framed), axis=1), cmap="gray_r", vmin=0, vmax=16)
        axis.set_title(record["samples"], loc="left", fontsize=9)
        axis.set_axis_off()
    return figure


def beta(records: Records) -> Figure:
    """Active units and gap against beta, and what a nat of KL buys."""
    figure, axes = _figure(1, 3, (12, 3.5))
    swept, held = ([r for r in records if r["kl"] == kind] for kind in ("beta", "capacity"))
    betas = _distinct(swept, "beta")
    for axis, figure_of, title in (
        (axes[0], "active_units", "active units, 8 latents, 5 factors"),
        (axes[1], "factor_gap", "one latent a factor? (1 = yes)"),
    ):
        axis.plot(betas, _means(swept, "beta", figure_of), "o-", color=COLORS[0])
        axis.set(title=title, xlabel="beta", xscale="log", ylim=(0, None))
        axis.set_xticks(betas, [f"{b:g}" for b in betas])
        axis.minorticks_off()
    axes[0].axhline(5, color=GREY, linewidth=0.8, linestyle=":")
    axes[0].set(ylabel="latents that vary between rows")
    axes[1].set(ylabel="gap of rank correlations")
    for found, key, name, color, mark in (
        (swept, "beta", "beta", COLORS[0], "o-"),
        (held, "capacity", "capacity", COLORS[1], "s--"),
    ):
        kl, error = (_means(found, key, of) for of in ("kl_nats", "reconstruction"))
        axes[2].plot(kl, error, mark, color=color, label=name)
    axes[2].set(title="what a nat buys", xlabel="KL, nats a row", ylabel="error, nats a row")
    axes[2].legend(frameon=False)
    return figure


def quantisation(records: Records) -> Figure:
    """The lost share of the variance against the bits of a row."""
    figure, axes = _figure(1, 1, (7, 4.2))
    words = [r for r in records if r["model"] == "vq"]
    lines = {
        "VQ, 4 words, of 4 to 256 codes": [r for r in words if r["groups"] == 4],
        "VQ, 1 to 8 words, of 64 codes": [r for r in words if r["codes"] == 64],
        "autoencoder, 1 to 8 latents of 32 bits": _of(records, model="autoencoder"),
        "PCA, 1 to 8 components of 32 bits": _of(records, model="PCA"),
    }
    for (name, found), color in zip(lines.items(), COLORS, strict=True):
        ordered = sorted(found, key=lambda r: float(r["bits"]))
        xs, ys = ([r[of] for r in ordered] for of in ("bits", "unexplained"))
        axes[0].plot(xs, ys, "o-", color=color, label=name)
    axes[0].set(
        title="what is lost at how many bits: 20 columns of 5 factors",
        xlabel="bits a row",
        ylabel="unexplained share of the variance",
        xscale="log",
        ylim=(0, None),
    )
    ticks = [6, 12, 24, 48, 96, 256]
    axes[0].set_xticks(ticks, [str(tick) for tick in ticks])
    axes[0].minorticks_off()
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def latent_size(records: Records) -> Figure:
    """Held-out figures and AUROC against the number of latents."""
    figure, axes = _figure(2, 3, (12, 6.6))
    sizes = _distinct(records, "latents")
    for row, (weight, model) in enumerate(((0.01, "beta 0.01 (default)"), (1.0, "beta 1"))):
        for axis, (of, title, unit) in zip(
            axes[3 * row : 3 * row + 3],
            (
                ("reconstruction", "held-out reconstruction", "nats a row above the best"),
                ("active_units", "active units", "latents that vary between rows"),
                ("auroc", "AUROC", "AUROC"),
            ),
            strict=True,
        ):
            for table, color in zip(_distinct(records, "table"), COLORS, strict=False):
                found = _of(records, table=table, beta=weight)
                values = _means(found, "latents", of)
                shown = values - values.min() if of == "reconstruction" else values
                axis.plot(_distinct(found, "latents"), shown, "o-", color=color, label=table)
            axis.set(title=f"{title}, {model}", xlabel="latents", ylabel=unit, xscale="log")
            axis.set_xticks(sizes, [str(size) for size in sizes])
            axis.minorticks_off()
    axes[1].plot(sizes, sizes, color=GREY, linewidth=0.8, linestyle=":")
    axes[4].plot(sizes, sizes, color=GREY, linewidth=0.8, linestyle=":")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def context(records: Records) -> Figure:
    """Pumps of three sizes, and how well they are judged by what the model is told."""
    figure, axes = _figure(1, 2, (11, 4.2))
    data = pumps(0)
    x, y = SENSORS[:2]
    for machine, color in zip(data.train["machine"].unique(), COLORS[:1] + COLORS[2:], strict=True):
        rows = data.train[data.train["machine"] == machine].iloc[:250]
        axes[0].scatter(rows[x], rows[y], s=8, alpha=0.5, color=color, label=f"{machine}, normal")
    wrong = data.test[data.is_anomalous & (data.test["machine"] == "large").to_numpy()].iloc[:60]
    axes[0].scatter(wrong[x], wrong[y], s=22, marker="x", color=COLORS[1], label="large, anomalous")
    axes[0].set(title="normal for one size, not for another", xlabel="flow, m³/h")
    axes[0].set(ylabel="pressure, bar")
    axes[0].legend(frameon=False, fontsize=8)
    told = ("left out", "feature", "context")
    for i, (preset, name) in enumerate(
        (("default", "light KL, reconstruction"), ("elbo", "beta 1, ELBO"))
    ):
        means = [_mean(_of(records, preset=preset, told=m), "auroc") for m in told]
        bars = axes[1].bar(np.arange(3) + 0.4 * i - 0.2, means, 0.38, color=COLORS[i], label=name)
        axes[1].bar_label(bars, fmt="%.2f")
    axes[1].axhline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes[1].set_xticks(range(3), told)
    axes[1].set(title="the column that says which machine", ylabel="AUROC", ylim=(0, 1.15))
    axes[1].legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    return figure


def clustered(records: Records) -> Figure:
    """Rows drawn from each model, and the clusters of the real ones as circles."""
    shown = [r for r in records if r["seed"] == 0]
    figure, axes = _figure(1, len(shown), (3.1 * len(shown), 3.4))
    for axis, record in zip(axes, shown, strict=True):
        points = np.array(record["shown"])
        outside = np.linalg.norm(points[:, None] - CENTRES, axis=-1).min(axis=1) > RADIUS
        axis.scatter(points[~outside, 0], points[~outside, 1], s=7, color=COLORS[0])
        axis.scatter(points[outside, 0], points[outside, 1], s=7, color=COLORS[1])
        around = np.linspace(0, 2 * np.pi, 60)
        for centre in CENTRES:
            circle = centre[:, None] + RADIUS * np.array([np.cos(around), np.sin(around)])
            axis.plot(*circle, color=GREY, linewidth=0.7)
        between = _mean(_of(records, prior=record["prior"]), "between")
        axis.set(title=f"{record['prior']}: {between:.1%} between", xlabel="first axis")
        axis.set(xlim=(-1.7, 1.7), ylim=(-1.7, 1.7), aspect="equal")
    axes[0].set(ylabel="second axis")
    return figure


def _of(records: Records, **key: Any) -> list[Record]:
    return [r for r in records if all(r.get(name) == value for name, value in key.items())]


def _distinct(records: Records, key: str) -> list[Any]:
    return list(dict.fromkeys(r[key] for r in records))


def _mean(records: Records, of: str) -> float:
    return float(np.mean([r[of] for r in records]))


def _means(records: Records, key: str, of: str) -> Float64:
    """The mean over seeds for each value of the key, in the order in which they come."""
    return np.array([_mean(_of(records, **{key: v}), of) for v in _distinct(records, key)])


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=size, layout="constrained", dpi=90)
    FigureCanvasAgg(figure)
    axes: list[Axes] = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes
