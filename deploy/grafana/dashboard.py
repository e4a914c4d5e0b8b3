"""Grafana's JSON of the dashboard.

python -m deploy.grafana.dashboard
"""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import TypeAlias

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.grafana.panels import ANNOTATIONS, ROWS, VARIABLES, Kind, Panel, Query

FILE = Path(__file__).parent / "dashboards" / "anomaly.json"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${DS_PROMETHEUS}")

HEIGHT = 7
DASHED = [
    models.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 8]}),
    models.DynamicConfigValue("custom.fillOpacity", 0),
    models.DynamicConfigValue("custom.stacking", {"mode": "none"}),
]

Drawn: TypeAlias = timeseries.Panel | stat.Panel | table.Panel | heatmap.Panel


def text() -> str:
    """The file as it should be."""
    return json.dumps(build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def build() -> models.Dashboard:
    """The whole dashboard."""
    board = (
        dashboard.Dashboard("Anomaly service")
        .uid("anomaly-service")
        .tags(["anomaly"])
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("DS_PROMETHEUS").type("prometheus"))
    )
    for name, query in VARIABLES.items():
        board.with_variable(_variable(name, query))
    for name, expr, colour in ANNOTATIONS:
        board.annotation(
            dashboard.AnnotationQuery().name(name).datasource(SOURCE).expr(expr).icon_color(colour)
        )
    ids = count(1)
    for title, panels in ROWS:
        board.with_row(dashboard.Row(title).id(next(ids)))
        for panel in panels:
            board.with_panel(_drawn(panel).id(next(ids)))
    return board.build()


def _variable(name: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .datasource(SOURCE)
        .query(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
        .multi(True)
    )


def _drawn(panel: Panel) -> Drawn:
    drawn = _of_kind(panel)
    drawn.title(panel.title).description(_description(panel)).datasource(SOURCE)
    drawn.unit(panel.unit).height(HEIGHT).span(panel.width)
    if panel.needs is not None:
        drawn.no_value(f"Needs: {panel.needs}")
    for ref, query in zip("ABCDEF", panel.queries, strict=False):
        drawn.with_target(_target(panel.kind, query, ref))
        if query.is_bound:
            drawn.override_by_query(ref, DASHED)
    return drawn


def _of_kind(panel: Panel) -> Drawn:
    match panel.kind:
        case Kind.NUMBER:
            return _number(panel.line)
        case Kind.TABLE:
            return table.Panel().with_transformation(LABELS_AS_COLUMNS)
        case Kind.HEATMAP:
            return heatmap.Panel().color(heatmap.HeatmapColorOptions().scheme("Blues"))
        case Kind.STACKED:
            stacking = common.StackingConfig().mode(looks.StackingMode.NORMAL)
            return timeseries.Panel().stacking(stacking).fill_opacity(30)
        case Kind.LINES:
            return _lines(panel)


LABELS_AS_COLUMNS = models.DataTransformerConfig(
    "organize", options={"excludeByName": dict.fromkeys(("Time", "Value", "__name__", "job"), True)}
)


def _number(line: float | None) -> stat.Panel:
    """Without colours of our own Grafana makes every number from 80 on red."""
    if line is None:
        return stat.Panel().color_mode(looks.BigValueColorMode.NONE)
    return stat.Panel().thresholds(_limits("red", line, "green"))


def _lines(panel: Panel) -> timeseries.Panel:
    drawn = timeseries.Panel().fill_opacity(5)
    # What has no unit may be a score, whose zero says nothing.
    if panel.unit != "short" or panel.line is not None:
        drawn.axis_soft_min(0)
    if panel.linear_to is not None:
        scale = common.ScaleDistributionConfig().type(looks.ScaleDistribution.SYMLOG)
        drawn.scale_distribution(scale.log(10).linear_threshold(panel.linear_to))
    if panel.line is None:
        return drawn
    # Grafana draws a limit only where the axis reaches it.
    drawn.axis_soft_max(panel.line).thresholds(_limits("transparent", panel.line, "red"))
    style = common.GraphThresholdsStyleConfig().mode(looks.GraphTresholdsStyleMode.DASHED)
    return drawn.thresholds_style(style)


def _limits(below: str, line: float, above: str) -> dashboard.ThresholdsConfig:
    steps = [models.Threshold(None, below), models.Threshold(line, above)]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _target(kind: Kind, query: Query, ref: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref)
    match kind:
        case Kind.TABLE:
            return target.format(PromQueryFormat.TABLE).instant()
        case Kind.HEATMAP:
            return target.format(PromQueryFormat.HEATMAP).range()
        case _:
            return target.range()


def _description(panel: Panel) -> str:
    return panel.text if panel.needs is None else f"{panel.text}\n\nNeeds: {panel.needs}."


if __name__ == "__main__":
    FILE.write_text(text())
