"""The dashboard that is committed is the one that its source describes."""

from __future__ import annotations

import json

import yaml

from deploy.grafana.dashboard import FILE, text
from deploy.grafana.panels import ROWS
from tests.deploy.monitoring import DEPLOY


def test_the_committed_file_is_made_from_its_source() -> None:
    assert FILE.read_text() == text(), "run `python -m deploy.grafana.dashboard`"


def test_grafana_finds_every_panel_under_an_id_of_its_own() -> None:
    panels = json.loads(FILE.read_text())["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(panels) == len(ROWS) + sum(len(row) for _, row in ROWS)


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(FILE.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_grafana_is_given_one_source_and_one_folder_of_dashboards() -> None:
    sources = (DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text()
    providers = (DEPLOY / "grafana/provisioning/dashboards/anomaly.yaml").read_text()

    (source,) = yaml.safe_load(sources)["datasources"]
    (provider,) = yaml.safe_load(providers)["providers"]
    assert source["type"] == "prometheus"
    assert provider["type"] == "file"
