"""A table of machines with every kind of column, as records and as a CSV file."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from anomaly.arrays import Values
from anomaly.data.records import Records, is_missing
from anomaly.data.schema import Column, Cycle, Kind, Role, Schema

SCHEMA = Schema(
    (
        Column("serial", Kind.CATEGORICAL, Role.ID),
        Column("heat", Kind.NUMERIC),
        Column("load", Kind.NUMERIC),
        Column("idle", Kind.BOOLEAN),
        Column("mode", Kind.CATEGORICAL),
        Column("taken", Kind.DATETIME, cycles=(Cycle.HOUR_OF_DAY,)),
        Column("voltage", Kind.NUMERIC),
    )
)
"""`voltage` is constant, `heat` is missing in one row of twenty."""

MODES = ("eco", "boost", "cruise")


def records(n: int, seed: int = 0) -> Records:
    """n normal rows: load follows heat, idle machines carry little load."""
    rng = np.random.default_rng(seed)
    heat = rng.normal(60.0, 5.0, n)
    load = 0.5 * heat + rng.normal(0.0, 1.0, n)
    mode, serial = np.empty(n, object), np.empty(n, object)
    mode[:] = rng.choice(MODES, n).tolist()
    serial[:] = [f"M{seed}-{i:05d}" for i in range(n)]
    hours = (rng.uniform(8.0, 18.0, n) * 3600).astype("timedelta64[s]")
    return Records(
        {
            "serial": serial,
            "heat": np.where(rng.random(n) < 0.05, np.nan, heat),
            "load": load,
            "idle": (load < 28).astype(np.float64),
            "mode": mode,
            "taken": np.datetime64("2024-05-01T00:00:00", "us") + hours,
            "voltage": np.full(n, 230.0),
        },
        n,
    )


def anomalies(n: int, seed: int = 1) -> Records:
    """n rows in which the load does not follow the heat."""
    found = records(n, seed)
    load = found.columns["load"] + np.where(np.arange(n) % 2, 40.0, -40.0)
    return Records({**found.columns, "load": load}, n)


def both(normal: int, odd: int, seed: int = 0) -> Records:
    """Normal rows, then anomalies."""
    return Records.concatenate([records(normal, seed), anomalies(odd, seed + 1)])


def written(found: Records, path: Path, **further: Values) -> Path:
    """The rows as CSV, numbers with every digit; `further` columns come last."""
    columns = {**found.columns, **further}
    missing = {name: is_missing(values) for name, values in columns.items()}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in range(len(found)):
            writer.writerow(
                "" if missing[name][row] else _text(name, values[row])
                for name, values in columns.items()
            )
    return path


def _text(name: str, value: object) -> str:
    if name == "idle":
        return "true" if value else "false"
    return repr(float(value)) if isinstance(value, float) else str(value)
