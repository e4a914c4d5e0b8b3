"""The registry of deploy/compose.yaml as plain processes: PostgreSQL, MLflow, train, serve."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from tests import machines
from tests.command import run_anomaly

ROOT = Path(__file__).parents[2]
START_SECONDS = 120
PASSWORD = "a password / with: signs@"
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def eventually(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until that answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"{url} does not answer:\n{log.read_text()}")


@contextmanager
def running(
    command: list[object], log: Path, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_T")}
    with log.open("wb") as file:
        process = subprocess.Popen(
            list(map(str, command)),
            env={**kept, **environment},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            # MLflow's server has workers, which end with it only if it is asked.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def postgres() -> Iterator[int]:
    """A real one, with a database of MLflow's; its port."""
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed; see .ci/packages")
    folder, port = Path(tempfile.mkdtemp(prefix="postgres-")), free_port()
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    password = folder / "password"
    password.write_text(PASSWORD)
    if user:
        for path in (folder, password):
            shutil.chown(path, user)

    def command(name: str, *arguments: object) -> None:
        subprocess.run(
            [PROGRAMS[-1] / name, *map(str, arguments)],
            user=user,
            cwd=folder,
            env={"PGPASSWORD": PASSWORD, "LC_ALL": "C.UTF-8"},
            stdout=subprocess.DEVNULL,
            check=True,
        )

    data = folder / "data"
    command("initdb", "-D", data, "-U", "mlflow", "--pwfile", password, "-A", "scram-sha-256")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    command("pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
    try:
        command("createdb", "-h", "127.0.0.1", "-p", port, "-U", "mlflow", "mlflow")
        yield port
    finally:
        command("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def mlflow(postgres: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server as its image starts it; its address."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    secret = folder / "password"
    secret.write_text(PASSWORD)
    (folder / "artifacts").mkdir()
    settings = {
        "DATABASE": f"postgresql+psycopg2://mlflow@127.0.0.1:{postgres}/mlflow",
        "PASSWORD_FILE": str(secret),
        "ARTIFACTS": str(folder / "artifacts"),
        "ALLOWED_HOSTS": f"127.0.0.1:{port}",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "WORKERS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    log = folder / "log"
    with running([ROOT / "deploy/docker/mlflow-server"], log, **settings) as process:
        eventually(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}"


def test_what_is_trained_against_it_is_served_from_it(mlflow: str, tmp_path: Path) -> None:
    labels = np.array(["0"] * 300, object)
    training = machines.written(machines.records(300, seed=2), tmp_path / "t.csv", fault=labels)
    done = run_anomaly(
        *(tmp_path, "train", training, "--name", "machines", "--label-column", "fault"),
        *("--alpha", "0.05", "--set", "detector.fit.steps=30", "--json"),
        MLFLOW_TRACKING_URI=mlflow,
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("mlflow.db")), "nothing is registered beside the server"

    ports = [free_port(), free_port()]
    command = [sys.executable, "-m", "anomaly", "serve", "models:/machines@champion"]
    settings = {
        "MLFLOW_TRACKING_URI": mlflow,
        "ANOMALY_SERVICE__PORT": str(ports[0]),
        "ANOMALY_SERVICE__METRICS_PORT": str(ports[1]),
        "ANOMALY_SERVICE__CACHE": str(tmp_path / "cache"),
    }
    log = tmp_path / "log"
    with running([*command], log, **settings) as process:
        eventually(f"http://127.0.0.1:{ports[0]}/readyz", process, log)
        with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/v1/model", timeout=10) as answer:
            model = json.load(answer)["model"]

    assert (model["name"], model["version"]) == (
        "machines",
        str(json.loads(done.stdout)["version"]),
    )
