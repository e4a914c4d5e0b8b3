"""Puts the rules and dashboards of deploy/ into the objects in which a cluster wants them.

    python deploy/kubernetes/generate.py

writes monitoring/rules.yaml and monitoring/dashboards.yaml; a test says when that was forgotten.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[1]
PLACE = DEPLOY / "kubernetes" / "monitoring"
SELECTED = {"grafana_dashboard": "1"}
"""The label by which Grafana's sidecar finds dashboards."""


class Readable(yaml.SafeDumper):
    """Writes a text of several lines as it was written."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Readable.add_representer(str, _text)


def rules(folder: Path) -> dict[str, Any]:
    """The groups of every file of rules, as one object."""
    files = sorted([*folder.glob("*.rules.yml"), *folder.glob("*.alerts.yml")])
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "anomaly"},
        "spec": {"groups": groups},
    }


def dashboards(folder: Path) -> dict[str, Any]:
    """Every dashboard, as one object."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "anomaly-dashboards", "labels": SELECTED},
        "data": {file.name: file.read_text() for file in sorted(folder.glob("*.json"))},
    }


def generated() -> dict[Path, str]:
    """What is to be in which file."""
    made = {
        PLACE / "rules.yaml": rules(DEPLOY / "prometheus"),
        PLACE / "dashboards.yaml": dashboards(DEPLOY / "grafana" / "dashboards"),
    }
    head = "# Made by generate.py.\n"
    return {
        path: head + yaml.dump(found, Dumper=Readable, sort_keys=False, allow_unicode=True)
        for path, found in made.items()
    }


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text)
