"""Panels that a service of a minute leaves empty show what a week, or a GPU, would have told."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from deploy.grafana.panels import Panel, Query
from deploy.prometheus.timescale import selected
from tests.deploy.monitoring import MAY_BE_EMPTY, PANELS, Prometheus, started, tool

STEP, DAYS = 300, 9
BEFORE, NOW = 1, 3
"""Flags in each step, until four days ago and since."""

LABELS = 'instance="a",job="anomaly",model="pumps"'
GAUGES = {
    'DCGM_FI_DEV_GPU_UTIL{Hostname="a",gpu="0"}': 40,
    'DCGM_FI_DEV_FB_USED{Hostname="a",gpu="0"}': 512,
    'anomaly_gpu_memory_bytes{instance="a",job="anomaly"}': 2**28,
}


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus with nine days of flags, and a GPU, and nothing to scrape."""
    folder = tmp_path_factory.mktemp("past")
    (folder / "past.txt").write_text("\n".join([*told(int(time.time())), "# EOF\n"]))
    command = [tool("promtool"), "tsdb", "create-blocks-from", "openmetrics"]
    subprocess.run([*command, folder / "past.txt", folder / "data"], check=True, timeout=120)
    (folder / "prometheus.yml").write_text("{}")
    with started(folder) as prometheus:
        yield prometheus


def told(end: int) -> Iterator[str]:
    """What would have been scraped, as OpenMetrics."""
    times = range(end - DAYS * 86_400, end + STEP, STEP)
    yield "# TYPE anomaly_rows_flagged counter"
    flags = 0
    for at in times:
        flags += NOW if at > end - 4 * 86_400 else BEFORE
        yield f'anomaly_rows_flagged_total{{{LABELS},level="anomaly",version="1"}} {flags} {at}'
    for series, value in GAUGES.items():
        yield f"# TYPE {series.partition('{')[0]} gauge"
        yield from (f"{series} {value} {at}" for at in times)


def queries() -> list[tuple[Panel, Query]]:
    return [(p, query) for p in PANELS if p.needs in MAY_BE_EMPTY for query in p.queries]


@pytest.mark.parametrize(("panel", "query"), queries(), ids=lambda part: getattr(part, "title", ""))
def test_every_panel_that_may_be_empty_shows_what_there_is(
    past: Prometheus, panel: Panel, query: Query
) -> None:
    assert past.query(selected(query.expr))


def test_flags_of_an_hour_stand_beside_those_of_a_week_before(past: Prometheus) -> None:
    (panel,) = (panel for panel in PANELS if panel.title.startswith("Flags of an hour"))

    now, before = (
        float(past.query(selected(query.expr))[0]["value"][1]) for query in panel.queries
    )

    assert now == pytest.approx(NOW * 3600 / STEP, rel=0.1)
    assert before == pytest.approx(BEFORE * 3600 / STEP, rel=0.1)
