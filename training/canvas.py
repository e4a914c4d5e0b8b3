"""What all figures have in common: the canvas, colours, and a grid of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anomaly.arrays import Float32

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NORMAL, ANOMALY, LINE, PALE = "#1f6fb4", "#d1495b", "#333333", "#c9ced6"
LINES = (NORMAL, "#e07b39", "#2e8b57", "#8157a8", "#b8860b", "#3fa7b5")
"""Of lines that are told apart."""

DPI = 110


def new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Any]]:
    """A figure of that size in inches, and its axes row by row."""
    from matplotlib.figure import Figure

    figure = blank(size)
    assert isinstance(figure, Figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def blank(size: tuple[float, float]) -> Figure:
    """A figure without axes, drawn by Agg whatever the machine has for a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def show_picture(axis: Axes, picture: Float32, **options: Any) -> Any:
    """A picture (height, width, channels) in [0, 1] on an axis without ticks."""
    is_grey = picture.ndim == 2 or picture.shape[-1] == 1
    values = picture.reshape(picture.shape[:2]) if is_grey else picture
    usual = {"cmap": "gray", "vmin": 0.0, "vmax": 1.0} if is_grey else {}
    without_ticks(axis)
    return axis.imshow(values, interpolation="nearest", **{**usual, **options})


def without_ticks(axis: Axes) -> None:
    """Leave only what lies on the axis and its labels."""
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def name_row(axis: Axes, name: str) -> None:
    """Name a row of pictures at its first one; upright, so that names of low rows do not meet."""
    axis.set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")


def framed(axes: Sequence[Axes], color: str) -> None:
    """Draw a frame around pictures that differ from the others."""
    for axis in axes:
        for spine in axis.spines.values():
            spine.set(visible=True, color=color, linewidth=2.0)
