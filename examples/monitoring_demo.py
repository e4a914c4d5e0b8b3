"""Alerts, from the service to whoever is called: `make monitoring-demo` runs this.

MLflow, the service, Prometheus and Alertmanager as plain processes on this machine. Normal rows
come first, then one column drifts, then every third row is an anomaly; what fires is told when it
arrives. The rules are those of `deploy/`, with hours made into seconds. Exit code 0 only if nothing
fired while rows were normal, and afterwards what should.

With `--pictures FOLDER` it also takes pictures of what there is to see: `make monitoring-pictures`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import monitoring_pictures
import numpy as np
import yaml
from story import anomaly_json, check, free_port, say, served, title, wait_until_ready

from deploy.prometheus.timescale import scaled

FOLDER = Path("demo-monitoring")
DEPLOY = Path(__file__).parents[1] / "deploy"
COLUMNS = ["pressure", "flow", "speed"]
CHAMPION = "models:/pumps@champion"
HOST = "127.0.0.1"
ROWS_AT_ONCE = 200
PAUSE_SECONDS = 0.1
PHASES = {"normal": 40, "drift": 30, "attack": 30}
"""Seconds of each."""

WINDOW_ROWS = 2_500
"""That columns are compared on: as hours of rules are seconds here, so a day of rows is ten."""

EXPECTED = {"AnomalyDrift": {"drift"}, "AnomalyManyFlags": {"attack"}}
EXPECTED["AnomalyNotExchangeable"] = {"drift", "attack"}
"""What must fire, and when it is to be heard first."""

PICTURE_SECONDS = 15
"""Of more attack, while pictures are taken of what fires."""


def main() -> None:
    """Run the story."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="needs Chromium")
    pictures: Path | None = parser.parse_args().pictures
    if pictures and not monitoring_pictures.chromium():
        sys.exit("chromium not found. On Debian, as root: apt-get install chromium")
    if missing := [name for name in ("prometheus", "alertmanager") if not find(name)]:
        sys.exit(f"{' and '.join(missing)} not found. On Debian and Ubuntu, as root: make system")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with ExitStack() as stack:
        title("1. MLflow, a detector of pumps, and the service")
        os.environ["MLFLOW_TRACKING_URI"] = stack.enter_context(mlflow_server())
        rng = np.random.default_rng(0)
        training = FOLDER / "training.csv"
        np.savetxt(training, rows(rng, 6_000), "%.6g", ",", header=",".join(COLUMNS), comments="")
        anomaly_json("train", training, "--name", "pumps", "--alpha", 0.01)
        os.environ["ANOMALY_SERVICE__DRIFT__WINDOW_ROWS"] = str(WINDOW_ROWS)
        address, metrics_address = stack.enter_context(served(CHAMPION))

        title("2. Prometheus with the rules of deploy/, and Alertmanager")
        heard = Heard()
        webhook = stack.enter_context(heard.listening())
        watcher = stack.enter_context(alertmanager(webhook, metrics_address))

        title("3. Traffic: normal rows, then a drifting column, then an attack")
        begins = {}
        for phase, seconds in PHASES.items():
            begins[phase] = time.time()
            say(f"{heard.clock()} {phase} rows for {seconds} s")
            heard.phase = phase
            send(f"{address}/v1/score", rng, phase, seconds)

        if pictures:
            title("4. Pictures")
            seen = monitoring_pictures.Story(watcher, begins, time.time())
            attack = (f"{address}/v1/score", rng, "attack", PICTURE_SECONDS)
            (still := threading.Thread(target=send, args=attack)).start()
            monitoring_pictures.take(seen, pictures)
            still.join()

        title("Result")
        for name, (phase, second) in heard.first.items():
            say(f"  {name:28}first heard {second:5.1f} s after the begin, during: {phase}")
        phases = {name: phase for name, (phase, _) in heard.first.items()}
        check("normal" not in phases.values(), "normal rows alert nobody")
        for name, when in EXPECTED.items():
            check(phases.get(name) in when, f"{name} fires during {' or '.join(sorted(when))}")


def rows(rng: np.random.Generator, n: int, phase: str = "normal") -> Any:
    """(n, 3) of a pump; drift moves the speed by one of its deviations, an attack also ruins the
    flow of a third."""
    pressure = rng.normal(10.0, 2.0, n)
    flow = 3.0 * pressure + rng.normal(0.0, 0.5, n)
    found = np.column_stack([pressure, flow, rng.normal(50.0, 1.0, n)])
    if phase != "normal":
        found[:, 2] += 1.0
    if phase == "attack":
        found[rng.random(n) < 1 / 3, 1] -= 15.0
    return found


def send(url: str, rng: np.random.Generator, phase: str, seconds: float) -> None:
    """Requests of such rows, one after the other."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        body = {"columns": COLUMNS, "rows": rows(rng, ROWS_AT_ONCE, phase).tolist()}
        request = urllib.request.Request(
            url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()
        time.sleep(PAUSE_SECONDS)


class Heard:
    """Whoever is called: a webhook of Alertmanager's.

    Attributes:
        phase: Of the traffic.
        first: By alert, the phase and the second in which it was first heard of.
    """

    def __init__(self) -> None:
        self.phase = "start"
        self.first: dict[str, tuple[str, float]] = {}
        self._begin = time.monotonic()

    def clock(self) -> str:
        """Seconds since the begin."""
        return f"[{time.monotonic() - self._begin:5.1f} s]"

    def told(self, alert: dict[str, Any]) -> None:
        """Take note of an alert that fires, and say so."""
        name = alert["labels"]["alertname"]
        if alert["status"] == "firing" and name not in self.first:
            self.first[name] = (self.phase, time.monotonic() - self._begin)
            severity = alert["labels"]["severity"]
            say(f"{self.clock()} {severity.upper():6} {name}: {alert['annotations']['summary']}")

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Where Alertmanager calls."""
        heard = self

        class Webhook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                for alert in json.loads(body)["alerts"]:
                    heard.told(alert)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing: every alert is told already."""

        with ThreadingHTTPServer((HOST, 0), Webhook) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"{HOST}:{server.server_port}"
            server.shutdown()


@contextmanager
def mlflow_server() -> Iterator[str]:
    """A registry of its own."""
    address = f"http://{HOST}:{(port := free_port())}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{FOLDER}/mlflow.db", "--workers", "1"]
    command += ["--artifacts-destination", str(FOLDER / "artifacts")]
    with process("mlflow", command, f"{address}/health"):
        yield address


@contextmanager
def alertmanager(webhook: str, metrics_address: str) -> Iterator[str]:
    """Alertmanager, and the address of Prometheus, which scrapes the service and tells it."""
    config = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
    config = config.replace("127.0.0.1:9095", webhook).replace("group_wait: 30s", "group_wait: 1s")
    (FOLDER / "alertmanager.yml").write_text(config.replace("interval: 5m", "interval: 5s"))
    manager, watcher = f"{HOST}:{free_port()}", f"{HOST}:{free_port()}"
    command = [find("alertmanager"), f"--config.file={FOLDER}/alertmanager.yml"]
    command += [f"--web.listen-address={manager}", f"--storage.path={FOLDER}/alertmanager"]
    rules = DEPLOY / "prometheus"
    for name in ("anomaly.rules.yml", "anomaly.alerts.yml"):
        (FOLDER / name).write_text(scaled((rules / name).read_text()))
    scraped = yaml.safe_load((rules / "prometheus.yml").read_text())
    scraped["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    scraped["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [manager]}]}]
    target = metrics_address.removeprefix("http://").removesuffix("/metrics")
    job = {**scraped["scrape_configs"][0], "static_configs": [{"targets": [target]}]}
    scraped["scrape_configs"] = [job]
    (FOLDER / "prometheus.yml").write_text(yaml.safe_dump(scraped))
    watch = [find("prometheus"), f"--config.file={FOLDER}/prometheus.yml"]
    watch += [f"--web.listen-address={watcher}", f"--storage.tsdb.path={FOLDER}/prometheus"]
    with (
        process(
            "alertmanager", [*command, "--cluster.listen-address="], f"http://{manager}/-/ready"
        ),
        process("prometheus", watch, f"http://{watcher}/-/ready"),
    ):
        say(f"Prometheus http://{watcher}, Alertmanager http://{manager}")
        yield f"http://{watcher}"


def find(program: str) -> str:
    """Its path; empty if there is none. Debian calls Alertmanager by the name of its package."""
    return shutil.which(program) or shutil.which(f"prometheus-{program}") or ""


@contextmanager
def process(name: str, command: list[str], ready_url: str) -> Iterator[None]:
    """A program, until the end of the context; what it says is in a file."""
    with (FOLDER / f"{name}.log").open("wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until_ready(ready_url, running)
            yield
        finally:
            running.terminate()
            running.wait(timeout=30)


if __name__ == "__main__":
    main()
