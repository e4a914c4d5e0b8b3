"""Rules and queries with hours made into seconds, to see in a minute what else takes a day."""

from __future__ import annotations

import re

from deploy.grafana.panels import VARIABLES

SCALED = {
    "1m": "4s",
    "2m": "4s",
    "5m": "4s",
    "10m": "5s",
    "15m": "5s",
    "30m": "5s",
    "1h": "6s",
    "6h": "8s",
    "24h": "8s",
    "1d": "8s",
    "1w": "8s",
}
"""What each span of time becomes."""


def scaled(text: str) -> str:
    """Rules or queries with their windows, offsets and `for` scaled; names stay."""
    spans = re.compile(r"(?<=\[)\w+(?=[\]:])|(?<=offset )\w+|(?<=for: )\w+")
    return spans.sub(lambda span: SCALED[span[0]], text)


def selected(expr: str) -> str:
    """A query of the dashboard as Grafana sends it with everything selected."""
    for name, value in {"__rate_interval": "1m", **dict.fromkeys(VARIABLES, ".*")}.items():
        expr = expr.replace(f"${name}", value)
    return expr


def asked(expr: str) -> str:
    """The same, scaled."""
    return scaled(selected(expr))
