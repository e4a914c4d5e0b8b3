"""A table of pumps with every kind of column, and how to ask about it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from anomaly.data.records import NumericColumns, Records
from anomaly.data.schema import Column, Cycle, Kind, Role, Schema
from service.app.edge import Edge

SCHEMA = Schema(
    (
        Column("serial", Kind.CATEGORICAL, Role.ID),
        Column("pressure", Kind.NUMERIC),
        Column("flow", Kind.NUMERIC, nullable=False),
        Column("valve_open", Kind.BOOLEAN),
        Column("site", Kind.CATEGORICAL),
        Column("taken", Kind.DATETIME, cycles=(Cycle.HOUR_OF_DAY,)),
        Column("fault", Kind.NUMERIC, Role.LABEL),
    )
)
NUMBERS = Schema(
    (
        Column("pressure", Kind.NUMERIC),
        Column("flow", Kind.NUMERIC, nullable=False),
        Column("speed", Kind.NUMERIC),
    )
)
"""What a pump without any other columns says of itself."""

SITES = ("north", "south", "west")


def normal_records(n: int, seed: int = 0) -> Records:
    """n normal rows: flow follows pressure, the valve follows both."""
    rng = np.random.default_rng(seed)
    pressure = rng.normal(10.0, 2.0, n)
    flow = 3.0 * pressure + rng.normal(0.0, 0.5, n)
    site = np.empty(n, dtype=object)
    site[:] = rng.choice(SITES, n).tolist()
    hours = (rng.normal(12.0, 2.0, n) * 3600).astype("timedelta64[s]")
    return Records(
        {
            "pressure": np.where(rng.random(n) < 0.02, np.nan, pressure),
            "flow": flow,
            "valve_open": (flow > 30).astype(np.float64),
            "site": site,
            "taken": np.datetime64("2024-05-01T00:00:00", "us") + hours,
        },
        n,
    )


def numbers(n: int, seed: int = 0) -> Records:
    """n normal rows of `NUMBERS`."""
    rng = np.random.default_rng(seed)
    pressure = rng.normal(10.0, 2.0, n)
    flow = 3.0 * pressure + rng.normal(0.0, 0.5, n)
    matrix = np.column_stack([pressure, flow, rng.normal(50.0, 1.0, n)])
    return Records(NumericColumns(NUMBERS.names, matrix), n)


def as_request(records: Records, **options: Any) -> dict[str, Any]:
    """The records as the body of a request."""
    columns = {
        "pressure": [None if np.isnan(v) else float(v) for v in records.columns["pressure"]],
        "flow": [None if np.isnan(v) else float(v) for v in records.columns["flow"]],
        "valve_open": [None if np.isnan(v) else bool(v) for v in records.columns["valve_open"]],
        "site": list(records.columns["site"]),
        "taken": [None if np.isnat(v) else str(v) for v in records.columns["taken"]],
    }
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return {"columns": list(columns), "rows": rows, **options}


@dataclass(frozen=True)
class Caller:
    """Speaks to the application in this process; an error that escapes it fails the test."""

    app: Edge

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request."""

        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://pumps") as client:
                return await client.request(method, path, **options)

        return asyncio.run(call())

    def score(self, body: Any, query: str = "") -> httpx.Response:
        """A score request, of bytes or of something to be written as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        return self("POST", f"/v1/score{query}", content=content, headers=headers)

    def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Every sample that a scrape would see, by name and labels; without creation times."""
        text = generate_latest(self.app.scorer.common.metrics.registry).decode()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if not sample.name.endswith("_created")
        }
