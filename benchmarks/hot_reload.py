"""Fifty reloads of a real service under load: nothing may fail, and no answer may mix versions.

    python -m benchmarks.hot_reload [--reloads 50] [--requests 20000] [--connections 8]

Three versions with other weights are registered; the alias goes around among them and a broken
one, and the service is told to look. Each answer must name a version and hold exactly the scores
that this version gives. Exit code 1 if any did not, or failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from anomaly.arrays import Float64
from anomaly.backends.backend import ScoringModel, open_backend
from anomaly.detector import Detector
from anomaly.estimator import VAEDetector
from benchmarks.labelled import correlated
from benchmarks.record import heading, markdown

NAME = "pumps"
COLUMNS, ROWS = 32, 3
VERSIONS = 3
BROKEN = str(VERSIONS + 1)


@dataclass
class Seen:
    """What came back.

    Attributes:
        seconds: Of each request.
        by_version: How many answers named which.
        faults: What was wrong, and how often.
    """

    seconds: list[float] = field(default_factory=list)
    by_version: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)


def main() -> None:
    """Register, serve, load, reload, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reloads", type=int, default=50)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=8)
    asked = parser.parse_args()
    print(heading())
    with tempfile.TemporaryDirectory(prefix="reload-") as folder:
        expected, body = register(Path(folder))
        with serving(Path(folder)) as port:
            memory = [resident_mb(port.pid)]
            seen, outcomes = asyncio.run(run(port, asked, expected, body))
            memory.append(resident_mb(port.pid))
    found = {
        "reloads": outcomes["loaded"],
        "refused": outcomes["409"],
        "requests": len(seen.seconds),
        "faults": sum(seen.faults.values()),
        "versions": len(seen.by_version),
        "p50": 1e3 * float(np.quantile(seen.seconds, 0.5)),
        "p99": 1e3 * float(np.quantile(seen.seconds, 0.99)),
        "longest": 1e3 * max(seen.seconds),
        "before": memory[0],
        "after": memory[1],
    }
    columns = {
        "reloads": "{reloads}",
        "broken versions refused": "{refused}",
        "requests": "{requests:,}",
        "failed or mixed": "{faults}",
        "versions that answered": "{versions}",
        "p50 ms": "{p50:.1f}",
        "p99 ms": "{p99:.1f}",
        "longest ms": "{longest:.0f}",
        "MB before": "{before:.0f}",
        "MB after": "{after:.0f}",
    }
    print(markdown([found], columns))
    for fault, times in seen.faults.items():
        print(f"FAULT {times}x: {fault}")
    is_right = not seen.faults and len(seen.by_version) == VERSIONS
    sys.exit(0 if is_right and outcomes["loaded"] >= asked.reloads else 1)


def register(folder: Path) -> tuple[dict[str, list[float]], bytes]:
    """Versions of one model in a registry of its own, the last one broken.

    Returns:
        The scores of the rows by version, and the request that asks for them.
    """
    import mlflow

    from anomaly.artifact.mlflow_flavor import log_model

    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    experiment = mlflow.create_experiment(NAME, artifact_location=str(folder / "artifacts"))
    rng = np.random.default_rng(0)
    estimator = VAEDetector(preset="fast", random_state=0).fit(correlated(rng, 2_000, COLUMNS))
    rows = correlated(rng, ROWS, COLUMNS)
    expected = {}
    for number in range(VERSIONS + 1):
        detector = scaled(estimator.detector_, 1 + 0.02 * number)
        with mlflow.start_run(experiment_id=experiment):
            version, _ = log_model(detector, NAME)
        expected[str(version.version)] = scores_of(detector, rows)
    broken = mlflow.MlflowClient().get_model_version(NAME, BROKEN)
    source = mlflow.artifacts.download_artifacts(artifact_uri=broken.source)
    (weights,) = Path(source).rglob("weights.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    names = [column.name for column in estimator.detector_.schema.required]
    return expected, json.dumps({"columns": names, "rows": rows.tolist()}).encode()


def scaled(detector: Detector, factor: float) -> Detector:
    """The same with other weights: its scores tell which one answered."""
    model = detector.model
    members = tuple(
        {name: (array * np.float32(factor)).astype(array.dtype) for name, array in member.items()}
        for member in model.members
    )
    changed = ScoringModel(model.vae, members, model.score, model.fill)
    return replace(detector, backend=open_backend(changed, None))


def scores_of(detector: Detector, rows: Float64) -> list[float]:
    """Of the rows."""
    return [float(score) for score in detector.anomaly_score(rows)]


@dataclass(frozen=True)
class Port:
    """Where a service listens, and its process."""

    number: int
    pid: int


@contextmanager
def serving(folder: Path) -> Iterator[Port]:
    """`anomaly serve` in a process of its own, on the first core."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "ANOMALY_SERVICE__RELOAD__SECONDS": "0",
        "ANOMALY_SERVICE__CACHE": str(folder / "cache"),
    }
    command = [sys.executable, "-m", "anomaly", "serve", f"models:/{NAME}@champion"]
    service = subprocess.Popen(
        [*command, "--port", "0", "--metrics-port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert service.stdout is not None
        address = next(line for line in service.stdout if line.startswith("API"))
        yield Port(int(address.split(":")[2].split("/")[0]), service.pid)
    finally:
        service.terminate()
        service.wait(timeout=60)


async def run(
    port: Port, asked: argparse.Namespace, expected: dict[str, list[float]], body: bytes
) -> tuple[Seen, Counter[str]]:
    """Load until there were enough reloads and requests."""
    seen, done = Seen(), asyncio.Event()
    callers = [
        asyncio.create_task(call(port.number, body, expected, seen, done))
        for _ in range(asked.connections)
    ]
    outcomes: Counter[str] = Counter()
    number = 0
    while outcomes["loaded"] < asked.reloads or len(seen.seconds) < asked.requests:
        number += 1
        turn = number % (VERSIONS + 2)
        version = BROKEN if turn == 0 else str(turn % VERSIONS + 1)
        outcomes[await asyncio.to_thread(reload, port.number, version)] += 1
    done.set()
    await asyncio.gather(*callers)
    return seen, outcomes


def reload(port: int, version: str) -> str:
    """Move the alias and have the service look: the outcome that it tells, or the status."""
    import mlflow

    mlflow.MlflowClient().set_registered_model_alias(NAME, "champion", version)
    url = f"http://127.0.0.1:{port}/v1/models/{NAME}/reload"
    request = urllib.request.Request(url, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return str(json.load(answer)["outcome"])
    except urllib.error.HTTPError as error:
        return str(error.code)


async def call(
    port: int, body: bytes, expected: dict[str, list[float]], seen: Seen, done: asyncio.Event
) -> None:
    """One caller: a request after the other on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        "POST /v1/score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    while not done.is_set():
        started = time.perf_counter()
        writer.write(head.encode() + body)
        try:
            answered = await reader.readuntil(b"\r\n\r\n")
            lines = answered.decode().lower().split("\r\n")
            length = next(int(of.split(":")[1]) for of in lines if of.startswith("content-length"))
            told = json.loads(await reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            seen.faults[type(error).__name__] += 1
            return
        seen.seconds.append(time.perf_counter() - started)
        if " 200 " not in answered.decode():
            seen.faults[lines[0]] += 1
        elif told["scores"] != expected[version := told["model"]["version"]]:
            seen.faults[f"scores that are not those of version {version}"] += 1
        else:
            seen.by_version[version] += 1
    writer.close()


def resident_mb(pid: int) -> float:
    """Memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


if __name__ == "__main__":
    main()
