"""What the demos have in common: the command line, the service, and how they talk."""

from __future__ import annotations

import csv
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_SECONDS = 60


@contextmanager
def served(model: str) -> Iterator[tuple[str, str]]:
    """The service with this model: its address and that of its metrics; it must stop cleanly."""
    port, metrics_port = free_port(), free_port()
    service = subprocess.Popen(
        [
            *(sys.executable, "-m", "anomaly", "serve", model),
            *("--port", str(port), "--metrics-port", str(metrics_port)),
        ]
    )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz", service)
        yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}/metrics"
    finally:
        service.send_signal(signal.SIGTERM)
        code = service.wait(timeout=30)
    check(code == 0, "the service stopped cleanly")


def anomaly_json(*arguments: object) -> dict[str, Any]:
    """Run the command line; progress goes to the terminal, the JSON result is returned."""
    command = [sys.executable, "-m", "anomaly", *map(str, arguments)]
    say("$ anomaly " + " ".join(command[3:]))
    done = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"the command failed with exit code {done.returncode}: {done.stdout}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def wait_until_ready(url: str, service: subprocess.Popen[bytes]) -> None:
    """Poll until the service answers, or say why it does not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if service.poll() is not None:
            sys.exit(f"the service ended with exit code {service.returncode}")
        try:
            get(url)
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit(f"the service did not answer at {url} within {START_SECONDS} s")


def get(request: str | urllib.request.Request) -> bytes:
    """The body of the answer."""
    with urllib.request.urlopen(request, timeout=30) as response:
        body: bytes = response.read()
        return body


def metric(text: str, name: str) -> float:
    """The sum over the samples of a metric."""
    lines = [line for line in text.splitlines() if line.startswith(name + "{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def check(holds: bool, what: str) -> None:
    """Say what holds, or stop."""
    if not holds:
        sys.exit(f"FAILED: {what}")
    say(f"ok: {what}")


def title(text: str) -> None:
    """A step."""
    say(f"\n== {text}")


def say(text: str) -> None:
    """A line, at once."""
    print(text, flush=True)
