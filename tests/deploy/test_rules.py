"""What operators load is valid, and each alert fires when it should and only then."""

from __future__ import annotations

import re
import subprocess

import pytest

from service.grpc.refusals import CODES
from tests.deploy.monitoring import DEPLOY, RULES, rules_of, tool

RECORDED = rules_of("anomaly.rules.yml")
ALERTS = rules_of("anomaly.alerts.yml")
OPERATIONS = DEPLOY.parent / "docs" / "operations.md"
MONITORING = DEPLOY.parent / "docs" / "monitoring.md"


def run(*command: str) -> None:
    """Run a checker where its files are."""
    done = subprocess.run(
        [tool(command[0]), *command[1:]], cwd=RULES, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration_and_the_rules() -> None:
    run("promtool", "check", "config", "prometheus.yml")


def test_each_alert_fires_when_it_should_and_no_other_does() -> None:
    run("promtool", "test", "rules", "anomaly_test.yml")


def test_alertmanager_takes_its_configuration() -> None:
    run("amtool", "check-config", str(DEPLOY / "alertmanager" / "alertmanager.yml"))


def test_each_alert_has_been_seen_to_fire() -> None:
    tested = (RULES / "anomaly_test.yml").read_text()

    for rule in ALERTS:
        assert f'alertname="{rule["alert"]}"' in tested


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert page == "docs/operations.md"
    assert anchor in anchors()


def test_the_picture_of_the_alerts_is_said_to_show_all_of_them() -> None:
    (told,) = re.findall(
        r"!\[[^]]* (\d+) alerts: (\d+) are green and inactive, (\d+) are red and fire\]"
        r"\(figures/alerts\.png\)",
        MONITORING.read_text(),
    )
    every, inactive, firing = map(int, told)

    assert every == inactive + firing == len(ALERTS)


def test_a_call_over_grpc_fails_where_the_request_of_the_same_error_does() -> None:
    (rule,) = (r for r in RECORDED if r["record"] == "job:requests_failed:ratio_rate10m")
    (failing,) = re.findall('grpc_code=~"([^"]+)"', rule["expr"])

    for status, code in CODES.items():
        assert bool(re.fullmatch(failing, code.name)) == (status >= 500), code


def anchors() -> set[str]:
    """Of the sections of the run-book, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", OPERATIONS.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
