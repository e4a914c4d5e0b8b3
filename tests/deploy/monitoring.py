"""A real Prometheus beside a real service, with hours made into seconds."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import numpy as np
import pytest
import yaml

from anomaly.batch.job_metrics import Counts, Destination, reported
from deploy.grafana.panels import ROWS, Needs
from deploy.prometheus.timescale import scaled
from tests.service.grpc.calling import SERVICE
from tests.service.pumps import NUMBERS, numbers

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus"
RULE_FILES = ("anomaly.rules.yml", "anomaly.alerts.yml")

PATIENCE_SECONDS = 120.0
"""For what takes ten or twenty seconds on an idle machine."""

PANELS = [panel for _, panels in ROWS for panel in panels]
MAY_BE_EMPTY = {
    Needs.GPU: "dcgm-exporter tells of it, and there is none here",
    Needs.HISTORY: "it looks back further than the service has run",
}
"""Why a panel shows nothing beside a service that has just been started; see `test_past`."""

REQUESTS = 500
"""More than are sent while rows are normal: the same rows again would not be exchangeable."""

Sample = dict[str, Any]


def tool(name: str) -> str:
    """The path of a program; without it the test is skipped."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(
            f"{name} is not installed: run `make system` as root, or see docs/monitoring.md"
        )
    return path


def rules_of(name: str) -> list[dict[str, Any]]:
    """The rules of one file, in their order."""
    groups = yaml.safe_load((RULES / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def metrics_in(query: str) -> set[str]:
    """Names of metrics that a query asks for, without those that rules record."""
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]', "", query)
    names = re.findall(r"(?<![\w:])(?:anomaly|http|grpc_server|process|DCGM)_\w+(?![\w:])", bare)
    return set(names)


def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait for a condition, however long it takes within reason."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < end, f"not within {PATIENCE_SECONDS:g} seconds: {what}"
        time.sleep(0.25)


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str

    def query(self, query: str) -> list[Sample]:
        """The samples of an instant query."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=20).json()
        assert answer["status"] == "success", (query, answer)
        found: list[Sample] = answer["data"]["result"]
        return found

    def seconds_that(self, condition: str) -> float:
        """For how many of the last seconds a condition held, at every one of its evaluations."""
        found = self.query(f"max(count_over_time(({condition})[2m:1s]))")
        return float(found[0]["value"][1]) if found else 0.0

    def alerts(self) -> list[dict[str, Any]]:
        """Those that fire."""
        found = httpx.get(f"{self.url}/api/v1/alerts", timeout=20).json()["data"]["alerts"]
        return [alert for alert in found if alert["state"] == "firing"]


@contextmanager
def prometheus_of(metrics_url: str, batch_url: str, folder: Path) -> Iterator[Prometheus]:
    """Prometheus with the rules of this repository, scaled, that scrapes one service and what
    batch jobs have told."""
    for name in RULE_FILES:
        (folder / name).write_text(scaled((RULES / name).read_text()))
    config = yaml.safe_load((RULES / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["alerting"]["alertmanagers"] = []
    service, batch = urlsplit(metrics_url), urlsplit(batch_url)
    config["scrape_configs"] = [
        {**config["scrape_configs"][0], "static_configs": [{"targets": [service.netloc]}]},
        {
            "job_name": "batch",
            "honor_labels": True,
            "metrics_path": batch.path,
            "static_configs": [{"targets": [batch.netloc]}],
        },
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with started(folder) as prometheus:
        yield prometheus


@contextmanager
def started(folder: Path) -> Iterator[Prometheus]:
    """Prometheus with the configuration and the data that lie in a folder."""
    program = tool("prometheus")
    address = f"127.0.0.1:{free_port()}"
    with (folder / "log").open("w") as log:
        running = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            url = f"http://{address}"
            until(lambda: is_ready(url, running), f"ready: {(folder / 'log').read_text()}")
            yield Prometheus(url)
        finally:
            running.kill()
            running.wait()


@contextmanager
def told_by_batch(folder: Path) -> Iterator[str]:
    """Where a run of the job `nightly` has told how it ended, as node_exporter would pass it on."""
    with reported(Destination("nightly", folder / "nightly.prom")) as tell:
        tell(Counts(done=250, flagged=7))
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/nightly.prom"
        server.shutdown()


def is_ready(url: str, running: subprocess.Popen[bytes]) -> bool:
    assert running.poll() is None, "Prometheus ended"
    try:
        return httpx.get(f"{url}/-/ready", timeout=20).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def bodies(seed: int, *, shift: float = 0.0) -> list[bytes]:
    """Requests of normal rows, or of rows whose flow is shifted by so much."""
    records = numbers(200 * REQUESTS, seed)
    matrix = np.column_stack([records.columns[name] for name in NUMBERS.names])
    matrix[:, NUMBERS.names.index("flow")] += shift
    return [
        json.dumps({"columns": list(NUMBERS.names), "rows": part.tolist()}).encode()
        for part in np.array_split(matrix, REQUESTS)
    ]


class Traffic:
    """Sends requests one after the other, with a pause, until it is told to stop; and after each of
    them one over gRPC, which scores nothing."""

    def __init__(self, url: str, grpc_address: str) -> None:
        self._url = url
        self._grpc_address = grpc_address
        self._bodies = iter(cycle(bodies(seed=1)))
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self.statuses: set[int] = set()

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def becomes(self, others: list[bytes]) -> None:
        """Send these from now on."""
        self._bodies = iter(cycle(others))

    def _run(self) -> None:
        headers = {"content-type": "application/json"}
        with (
            httpx.Client(timeout=60) as client,
            grpc.insecure_channel(self._grpc_address) as channel,
        ):
            call = channel.unary_unary(f"{SERVICE}ServerMetadata")
            while not self._stop.wait(0.1):
                answer = client.post(self._url, content=next(self._bodies), headers=headers)
                self.statuses.add(answer.status_code)
                call(b"", timeout=60)
