"""A real Prometheus watches a real service: first with normal rows, then with others."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from anomaly.assembly import DetectorConfig, assemble
from anomaly.backends.backend import Device
from anomaly.data.splits import split_rows
from anomaly.fitting import FitConfig
from anomaly.scores import NegativeELBO
from deploy.grafana.panels import ANNOTATIONS, VARIABLES, Needs, Panel, Query
from deploy.prometheus.timescale import asked, scaled
from tests.deploy.monitoring import (
    MAY_BE_EMPTY,
    PANELS,
    Prometheus,
    Traffic,
    bodies,
    metrics_in,
    prometheus_of,
    rules_of,
    told_by_batch,
    tool,
    until,
)
from tests.service.app.test_server import running
from tests.service.grpc.calling import address_of
from tests.service.pumps import NUMBERS, numbers
from tests.service.registered import URI, Registry, point_at

RECORDED = rules_of("anomaly.rules.yml")
ALERTS = rules_of("anomaly.alerts.yml")

SETTLED_SECONDS = 15
"""Longer than any scaled window, and any `for` after it."""


@dataclass(frozen=True)
class Watched:
    """What was seen.

    Attributes:
        exposed: Names of all samples that the service and a batch job tell.
        when_normal, when_shifted: Alerts that fired.
    """

    prometheus: Prometheus
    exposed: set[str]
    when_normal: list[dict[str, Any]]
    when_shifted: list[dict[str, Any]]


@pytest.fixture(scope="module")
def registry(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """With a champion that has 500 calibration rows and a score of two parts, and a challenger that
    flags more."""
    records = numbers(4_000)
    splits = split_rows(len(records), seed=0)
    config = DetectorConfig(fit=FitConfig(steps=100), score=NegativeELBO(draws=2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        champion = assemble(NUMBERS, records, splits, config, seed=0, device=Device.CPU).detector
    found = Registry(tmp_path_factory.mktemp("registry"))
    shutil.copy(empty_database, found.folder / "mlflow.db")
    found.add(champion)
    found.add(champion.with_alpha(0.05))
    found.promote("2", alias="challenger")
    yield found
    point_at("")


@pytest.fixture(scope="module")
def watched(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The service under shifted traffic, after it had normal traffic for a while."""
    tool("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    registry.use()
    with (
        running(URI, "--shadow", "--grpc-port", "0", CACHE=str(folder / "cache")) as service,
        told_by_batch(folder) as batch_url,
        prometheus_of(service.metrics_url, batch_url, folder) as prometheus,
        Traffic(url := f"{service.url}/v1/score", address_of(service)) as traffic,
    ):
        # Counters by status begin with the first that there is, and reasons show once they occur.
        assert httpx.post(url, content=b"{", timeout=20).status_code == 415
        refused = {"columns": list(NUMBERS.names), "rows": [["wet", 1.0, 1.0]]}
        assert httpx.post(url, json=refused, timeout=20).status_code == 422
        enough = "model:anomaly_p_value:increase1h >= 2000"
        until(lambda: prometheus.seconds_that(enough) > SETTLED_SECONDS, enough)
        when_normal = prometheus.alerts()
        traffic.becomes(bodies(seed=2, shift=20.0))
        fires = 'ALERTS{alertname="AnomalyManyFlags", alertstate="firing"}'
        until(lambda: prometheus.seconds_that(fires) > SETTLED_SECONDS, fires)
        assert traffic.statuses == {200}
        exposed = names_at(service.metrics_url) | names_at(batch_url)
        yield Watched(prometheus, exposed, when_normal, prometheus.alerts())


def names_at(url: str) -> set[str]:
    families = text_string_to_metric_families(httpx.get(url, timeout=20).text)
    return {sample.name for family in families for sample in family.samples}


def test_no_alert_fires_while_rows_are_normal(watched: Watched) -> None:
    assert watched.when_normal == []


def test_rows_that_are_not_normal_fire_the_alerts_that_say_so_and_no_other(
    watched: Watched,
) -> None:
    names = {alert["labels"]["alertname"] for alert in watched.when_shifted}

    assert names == {
        "AnomalyManyFlags",
        "AnomalyCalibrationOff",
        "AnomalyDrift",
        "AnomalyNotExchangeable",
    }


def test_an_alert_says_how_much_and_of_which_model(watched: Watched) -> None:
    flags = next(
        alert
        for alert in watched.when_shifted
        if alert["labels"]["alertname"] == "AnomalyManyFlags"
    )

    assert flags["labels"]["severity"] == "page"
    assert flags["annotations"]["summary"].startswith("pumps flags more")
    share, _, rest = flags["annotations"]["description"].partition("% ")
    assert 20 < float(share) <= 100
    assert rest.startswith("of the rows")


@pytest.mark.parametrize("rule", RECORDED, ids=lambda rule: rule["record"])
def test_every_recording_rule_has_data(watched: Watched, rule: dict[str, str]) -> None:
    assert watched.prometheus.query(rule["record"])
    assert watched.prometheus.query(scaled(rule["expr"]))


@pytest.mark.parametrize(
    "rule", [*RECORDED, *ALERTS], ids=lambda rule: rule.get("record") or rule["alert"]
)
def test_every_metric_that_a_rule_names_is_told_by_the_service(
    watched: Watched, rule: dict[str, str]
) -> None:
    assert metrics_in(rule["expr"]) <= watched.exposed


def test_calls_over_grpc_are_requests(watched: Watched) -> None:
    """`Traffic` makes as many of them."""
    over_http = 'sum by (job) (rate(http_requests_total{job="anomaly"}[10m]))'

    (found,) = watched.prometheus.query(scaled(f"job:requests:rate10m / {over_http}"))

    assert 1.5 < float(found["value"][1]) < 2.5


def queries() -> list[tuple[Panel, Query]]:
    return [(panel, query) for panel in PANELS for query in panel.queries]


@pytest.mark.parametrize(("panel", "query"), queries(), ids=lambda part: getattr(part, "title", ""))
def test_every_panel_shows_something(watched: Watched, panel: Panel, query: Query) -> None:
    found = watched.prometheus.query(asked(query.expr))

    assert found or panel.needs in MAY_BE_EMPTY
    assert not any(sample["value"][1] == "NaN" for sample in found)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_every_metric_that_a_panel_names_is_told_by_the_service(
    watched: Watched, panel: Panel
) -> None:
    told = watched.exposed | {rule["record"] for rule in RECORDED} | {"up"}

    if panel.needs is not Needs.GPU:
        for query in panel.queries:
            assert metrics_in(query.expr) <= told


@pytest.mark.parametrize("name", VARIABLES)
def test_every_variable_has_values(watched: Watched, name: str) -> None:
    selector, label = VARIABLES[name].removeprefix("label_values(").removesuffix(")").split(", ")

    found = watched.prometheus.query(asked(selector))

    assert found
    assert all(sample["metric"][label] for sample in found)


@pytest.mark.parametrize("annotation", ANNOTATIONS, ids=lambda annotation: annotation[0])
def test_every_annotation_can_be_asked_for(
    watched: Watched, annotation: tuple[str, str, str]
) -> None:
    changes, _, _ = annotation[1].rpartition(" > 0")

    assert watched.prometheus.query(asked(changes))
