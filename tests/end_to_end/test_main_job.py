"""The main job, every part of it real: CSV, train, score, serve, HTTP, metrics, SIGTERM."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from anomaly.cli import run
from tests.command import CHAMPION, NAME, Registry, run_anomaly

START_SECONDS = 120


@dataclass(frozen=True)
class Service:
    """A running `anomaly serve`."""

    process: subprocess.Popen[str]
    api: str
    metrics: str


@pytest.fixture(scope="module")
def service(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The real process, on ports of its own choice, serving the champion."""
    log = tmp_path_factory.mktemp("service") / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "anomaly", "serve", CHAMPION),
                *("--port", "0", "--metrics-port", "0"),
            ],
            env={**os.environ, "MLFLOW_TRACKING_URI": registry.uri},
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield started(process, log)
    finally:
        process.kill()
        process.wait()


def started(process: subprocess.Popen[str], log: Path) -> Service:
    """Wait until the service answers; its addresses are those that it prints."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        said = dict(line.split(maxsplit=1) for line in log.read_text().splitlines() if " " in line)
        if {"API", "metrics"} <= set(said):
            api = said["API"].removesuffix("/v1/score")
            try:
                get(f"{api}/readyz")
            except OSError:
                pass
            else:
                return Service(process, api, said["metrics"])
        time.sleep(0.1)
    raise AssertionError(f"the service did not start:\n{log.read_text()}")


def get(request: str | urllib.request.Request) -> str:
    with urllib.request.urlopen(request, timeout=30) as response:
        text: str = response.read().decode()
        return text


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def posted(service: Service, rows: list[dict[str, str]], query: str = "") -> dict[str, Any]:
    """The answer to the rows of a CSV, sent as JSON."""

    def value(name: str, text: str) -> Any:
        if text == "":
            return None
        if name in ("heat", "load", "voltage"):
            return float(text)
        return text == "true" if name == "idle" else text

    body = {
        "columns": list(rows[0]),
        "rows": [[value(name, text) for name, text in row.items()] for row in rows],
    }
    request = urllib.request.Request(
        f"{service.api}/v1/score{query}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    answer: dict[str, Any] = json.loads(get(request))
    return answer


@pytest.fixture(scope="module")
def scored(registry: Registry) -> list[dict[str, str]]:
    """The new rows, scored by the real command."""
    output = registry.folder / "scored.csv"
    done = run_anomaly(
        *(registry.folder, "score", registry.new, "--model", CHAMPION, "--output", output),
        MLFLOW_TRACKING_URI=registry.uri,
    )
    assert done.returncode == 0, done.stderr
    return rows_of(output)


def test_anomalies_are_flagged_and_the_promise_is_kept_on_normal_rows(
    scored: list[dict[str, str]],
) -> None:
    flags = [row["is_anomaly"] == "true" for row in scored]

    assert len(flags) == 257
    assert all(flags[250:])
    # 250 normal rows at alpha = 0.05, calibrated on about a hundred: see the Beta law.
    assert sum(flags[:250]) <= 35


def test_http_and_csv_agree_to_the_last_bit(
    service: Service, registry: Registry, scored: list[dict[str, str]]
) -> None:
    answer = posted(service, rows_of(registry.new))

    assert answer["scores"] == [float(row["score"]) for row in scored]
    assert answer["p_values"] == [float(row["p_value"]) for row in scored]
    assert answer["is_anomaly"] == [row["is_anomaly"] == "true" for row in scored]
    assert answer["alpha"] == 0.05
    assert answer["threshold"] == registry.answer["threshold"]
    assert answer["model"]["name"] == NAME
    assert answer["model"]["version"] == str(registry.answer["version"])


def test_a_row_alone_over_http_scores_as_in_the_file(
    service: Service, registry: Registry, scored: list[dict[str, str]]
) -> None:
    rows = rows_of(registry.new)

    for at in (0, 100, 256):
        assert posted(service, rows[at : at + 1])["scores"] == [float(scored[at]["score"])]


def test_reasons_over_http_are_those_of_the_file(
    service: Service, registry: Registry, scored: list[dict[str, str]]
) -> None:
    answer = posted(service, rows_of(registry.new), "?explain=true")

    for reasons, row in zip(answer["contributions"], scored, strict=True):
        assert bool(reasons) == (row["is_anomaly"] == "true")
        if reasons:
            first = row["top_features"].split("; ")[0].rsplit(" ", 1)[0]
            assert reasons[0]["column"] == first


def test_metrics_count_what_was_scored(service: Service, registry: Registry) -> None:
    def counted() -> float:
        lines = get(service.metrics).splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith("anomaly_rows_scored_total{")
        )

    before = counted()
    posted(service, rows_of(registry.new))

    assert counted() - before == 257


def test_the_command_says_the_same_in_this_process(
    connected: Registry, tmp_path: Path, scored: list[dict[str, str]]
) -> None:
    output = tmp_path / "again.csv"

    code = run(["score", str(connected.new), "--model", CHAMPION, "--output", str(output)])

    assert code == 0
    assert rows_of(output) == scored


def test_it_stops_cleanly_when_asked(service: Service) -> None:
    service.process.send_signal(signal.SIGTERM)

    assert service.process.wait(timeout=60) == 0
