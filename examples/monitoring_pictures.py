"""Pictures of a service that is watched: `make monitoring-pictures` runs the demo and takes them.

Prometheus' page of alerts by headless Chromium; the dashboard drawn by Matplotlib from the queries
of its panels, because there is no package of Grafana beside those that the demo runs.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias
from urllib.parse import urlencode

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from PIL import Image
from story import get, say

from deploy.grafana.panels import ROWS, Kind, Panel, Query
from deploy.prometheus.timescale import asked
from training.canvas import ANOMALY, LINE, LINES, PALE

COLUMNS = 24
"""Of Grafana's grid."""

INCHES_WIDE, PANEL_INCHES, TITLE_INCHES, DPI = 15.0, 1.9, 0.4, 90
SHADES = ("#ffffff", "#fdf3dc", "#fbe3e4")
"""Of the phases."""

FLAGS = '{__name__=~"model:anomaly_rows_flagged:ratio_.*|anomaly_false_alarm_ratio_upper"}'
"""A query that a page still shows in one line."""

PAGE_MILLISECONDS = 8_000
"""That a page has to ask for what it shows."""

Series: TypeAlias = tuple[dict[str, str], list[float], list[float]]
"""Labels, seconds since the begin, values."""


@dataclass(frozen=True)
class Story:
    """What is looked back on; times in seconds since 1970.

    Attributes:
        prometheus: Its address.
        phases: When each kind of traffic began.
    """

    prometheus: str
    phases: dict[str, float]
    end: float

    @property
    def begin(self) -> float:
        """Of the first phase."""
        return min(self.phases.values())

    def series(self, expr: str) -> list[Series]:
        """What a query said from begin to end."""
        span = {"start": self.begin, "end": self.end, "step": 1}
        return [
            (one["metric"], [at - self.begin for at, _ in one["values"]], _numbers(one["values"]))
            for one in self._asked("query_range", expr, span)
        ]

    def at_end(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """What it said at the end."""
        found = self._asked("query", expr, {"time": self.end})
        return [(one["metric"], *_numbers([one["value"]])) for one in found]

    def _asked(self, way: str, expr: str, when: dict[str, float]) -> Any:
        parameters = urlencode({"query": asked(expr), **when})
        answer = get(f"{self.prometheus}/api/v1/{way}?{parameters}")
        return json.loads(answer)["data"]["result"]


def _numbers(samples: list[tuple[float, str]]) -> list[float]:
    return [float(value) for _, value in samples]


def take(story: Story, folder: Path) -> None:
    """All of them, while alerts still fire."""
    folder.mkdir(parents=True, exist_ok=True)
    # Debian's Prometheus has its classic pages only.
    pages = f"{story.prometheus}/classic"
    page(f"{pages}/alerts", folder / "alerts.png", (900, 1330))
    query = urlencode({"g0.expr": FLAGS, "g0.tab": 0, "g0.range_input": "2m", "g0.step_input": 1})
    page(f"{pages}/graph?{query}", folder / "prometheus.png", (900, 920))
    dashboard(story, folder / "dashboard.png")


def chromium() -> str:
    """Its path; empty if there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or ""


def page(url: str, file: Path, size: tuple[int, int]) -> None:
    """A page as Chromium shows it, once its scripts have run."""
    with TemporaryDirectory() as profile:
        command = [chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"]
        command += [f"--virtual-time-budget={PAGE_MILLISECONDS}", f"--screenshot={file}", url]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    _made_small(file)


def dashboard(story: Story, file: Path) -> None:
    """Every panel of the dashboard in its place, with what it showed from begin to end."""
    lines = [
        ("" if i else title, line)
        for title, panels in ROWS
        for i, line in enumerate(_lines_of(panels))
    ]
    high = sum(PANEL_INCHES + TITLE_INCHES * bool(title) for title, _ in lines)
    figure = Figure((INCHES_WIDE, high), dpi=DPI)
    phases = [
        Patch(facecolor=shade, edgecolor=PALE, label=f"{phase} rows")
        for shade, phase in zip(SHADES, story.phases, strict=True)
    ]
    figure.legend(handles=phases, loc="upper right", ncols=len(phases), frameon=False)
    top = high
    for title, panels in lines:
        if title:
            top -= TITLE_INCHES
            figure.text(0.004, (top + 0.05) / high, title, fontsize=13, fontweight="bold")
        top -= PANEL_INCHES
        left = 0
        for panel in panels:
            place = (left / COLUMNS + 0.05, (top + 0.3) / high)
            size = (panel.width / COLUMNS - 0.06, (PANEL_INCHES - 0.6) / high)
            axis = figure.add_axes((*place, *size))
            axis.set_title(panel.title, loc="left", fontsize=9)
            DRAWN[panel.kind](story, panel, axis)
            left += panel.width
    figure.savefig(file)
    _made_small(file)


def _lines_of(panels: tuple[Panel, ...]) -> list[list[Panel]]:
    """Panels that stand beside each other."""
    lines: list[list[Panel]] = [[]]
    for panel in panels:
        if sum(other.width for other in lines[-1]) + panel.width > COLUMNS:
            lines.append([])
        lines[-1].append(panel)
    return lines


def _draw_lines(story: Story, panel: Panel, axis: Axes) -> None:
    found = [(query, *one) for query in panel.queries for one in story.series(query.expr)]
    axis.set_prop_cycle(color=LINES)
    for query, labels, seconds, values in found:
        (line,) = axis.plot(seconds, values, linewidth=1.2, label=_legend(query, labels))
        if query.is_bound:
            line.set(color=LINE, linestyle="--", linewidth=0.8)
    if panel.line is not None:
        axis.axhline(panel.line, color=ANOMALY, linestyle="--", linewidth=0.8)
    if panel.linear_to is not None:
        axis.set_yscale("symlog", linthresh=panel.linear_to)
    if all(value >= 0 for _, _, _, values in found for value in values):
        axis.axhline(0, alpha=0)
        axis.set_ylim(bottom=0)
    _finish(story, panel, axis, is_empty=not found)


def _draw_stacked(story: Story, panel: Panel, axis: Axes) -> None:
    told = [(query, series) for query in panel.queries for series in story.series(query.expr)]
    found = [series for _, series in told]
    seconds, heights = _aligned(found)
    if found:
        names = [_legend(query, labels) for query, (labels, _, _) in told]
        axis.stackplot(seconds, heights, labels=names, colors=LINES, alpha=0.6)
    _finish(story, panel, axis, is_empty=not found)


def _draw_heatmap(story: Story, panel: Panel, axis: Axes) -> None:
    found = sorted(story.series(panel.queries[0].expr), key=lambda one: float(one[0]["le"]))
    seconds, counts = _aligned(found)
    # A bucket counts those below it, too.
    cells = [
        [here - below for here, below in zip(row, under, strict=True)]
        for row, under in zip(counts, [[0.0] * len(seconds), *counts[:-1]], strict=True)
    ]
    axis.pcolormesh(seconds, range(len(cells)), cells, cmap="Blues", shading="nearest")
    every = max(1, len(found) // 6)
    axis.set_yticks(range(0, len(found), every), [labels["le"] for labels, _, _ in found[::every]])
    _finish(story, panel, axis, is_empty=not found)


def _aligned(found: list[Series]) -> tuple[list[float], list[list[float]]]:
    """Seconds of any series, and every series at all of them."""
    seconds = sorted({second for _, at, _ in found for second in at})
    known = [dict(zip(at, values, strict=True)) for _, at, values in found]
    return seconds, [[values.get(second, 0.0) for second in seconds] for values in known]


def _draw_number(story: Story, panel: Panel, axis: Axes) -> None:
    numbers = [_said(value, panel.unit) for _, value in story.at_end(panel.queries[0].expr)]
    axis.text(0.5, 0.5, "\n".join(numbers), ha="center", va="center", fontsize=20)
    axis.set_axis_off()


def _draw_table(story: Story, panel: Panel, axis: Axes) -> None:
    found = [labels for labels, _ in story.at_end(panel.queries[0].expr)]
    names = sorted({name for labels in found for name in labels} - {"__name__", "job"})
    cells = [[_short(labels.get(name, "")) for name in names] for labels in found]
    axis.table(
        cells,
        cellLoc="left",
        colLabels=names,
        colLoc="left",
        loc="upper left",
        edges="horizontal",
    )
    axis.set_axis_off()


def _short(text: str) -> str:
    return text if len(text) < 20 else f"{text[:12]}..."


DRAWN = {
    Kind.LINES: _draw_lines,
    Kind.STACKED: _draw_stacked,
    Kind.HEATMAP: _draw_heatmap,
    Kind.NUMBER: _draw_number,
    Kind.TABLE: _draw_table,
}


def _finish(story: Story, panel: Panel, axis: Axes, *, is_empty: bool) -> None:
    """Axes, phases and legend; or why there is nothing."""
    axis.spines[:].set_color(PALE)
    axis.tick_params(labelsize=7, color=PALE)
    axis.set_xlim(0, story.end - story.begin)
    begins = [*story.phases.values(), story.end]
    for shade, begin, end in zip(SHADES, begins, begins[1:], strict=False):
        axis.axvspan(begin - story.begin, end - story.begin, color=shade, zorder=-1)
    if is_empty:
        why = "no data" if panel.needs is None else f"Needs: {panel.needs}"
        axis.text(0.5, 0.5, why, ha="center", color="grey", transform=axis.transAxes)
        axis.set_yticks([])
    elif panel.kind is not Kind.HEATMAP:
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _said(y, panel.unit)))
        axis.legend(fontsize=7, frameon=False, loc="best")


def _legend(query: Query, labels: dict[str, str]) -> str:
    text = query.legend
    for name, value in labels.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return text


def _said(value: float, unit: str) -> str:
    """A number much as Grafana says it."""
    match unit:
        case "percentunit":
            return f"{100 * value:.3g}%"
        case "bytes":
            return f"{value / 2**20:.3g} MiB"
        case "s":
            return f"{1000 * value:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    thousands = 0 if abs(value) < 1000 else min(2, int(math.log10(abs(value)) // 3))
    suffix = {"short": "", "reqps": " req/s", "rowsps": " rows/s"}.get(unit, f" {unit}")
    return f"{value / 1000**thousands:.3g}{('', ' K', ' M')[thousands]}{suffix}"


def _made_small(file: Path) -> None:
    with Image.open(file) as picture:
        # Other methods make colours of thin lines into one.
        small = picture.convert("RGB").quantize(
            method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
        )
    small.save(file, optimize=True)
    say(f"{file}: {file.stat().st_size / 1000:.0f} kB")
