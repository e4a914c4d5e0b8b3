"""The servers that are measured: how each is started, where it is asked, and how."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from benchmarks.record import ROOT
from benchmarks.serving_peers import formats
from benchmarks.serving_peers.formats import Format, Kind

HERE = "benchmarks.serving_peers"
HOST = "127.0.0.1"
MERGED_REQUESTS = 32
MERGE_SECONDS = 0.001
"""MLServer's and LitServe's: how many requests they may merge, and how long they wait for them."""


@dataclass(frozen=True)
class Models:
    """One detector, as the servers want it.

    Attributes:
        detector: Our artifact.
        pyfunc: The same as a model of MLflow.
    """

    detector: Path
    pyfunc: Path


@dataclass(frozen=True)
class Launch:
    """What starts a server."""

    command: Sequence[object]
    environment: Mapping[str, str] = field(default_factory=dict)


Prepare: TypeAlias = Callable[[Path, Models, int, Path], Launch]
"""The Python of the server, the models, its port and a folder it may write to."""


@dataclass(frozen=True, eq=False)
class Server:
    """One server with one configuration.

    Attributes:
        venv: Its virtual environment, below that of all peers; None is ours.
        path: Where rows are posted to.
        package: Whose version is told.
    """

    name: str
    title: str
    venv: str | None
    path: str
    package: str
    formats: Mapping[Kind, Format]
    prepare: Prepare

    def python(self, peers: Path) -> Path:
        """The interpreter it runs in."""
        return Path(sys.executable) if self.venv is None else peers / self.venv / "bin" / "python"


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.create_server((HOST, 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def ours(python: Path, models: Models, port: int, _: Path) -> Launch:
    """The command that users type, with every setting as it comes."""
    command = [python.with_name("anomaly"), "serve", models.detector, "--port", str(port)]
    return Launch([*command, "--metrics-port", "0"])


def uvicorn_app(module: str) -> Prepare:
    """An ASGI application of this folder."""

    def prepare(python: Path, models: Models, port: int, _: Path) -> Launch:
        command = [python, "-m", "uvicorn", "--no-access-log", "--log-level", "warning"]
        return Launch([*command, "--port", str(port), f"{HERE}.{module}:app"], served(models))

    return prepare


def mlflow(python: Path, models: Models, port: int, _: Path) -> Launch:
    """MLflow's own scoring server, which is a uvicorn that takes settings from the environment."""
    command = [python, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["--model-uri", models.pyfunc, "--host", HOST, "--port", str(port)]
    on_path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    return Launch(command, {"UVICORN_ACCESS_LOG": "0", "PATH": on_path})


def mlserver(*, merge: bool, workers: int) -> Prepare:
    """MLServer with a runtime of our own.

    Args:
        merge: Whether it merges requests (adaptive batching).
        workers: Processes that score beside the one that answers; 0 scores there.
    """

    def prepare(python: Path, models: Models, port: int, folder: Path) -> Launch:
        settings = {
            "debug": False,
            "host": HOST,
            "http_port": port,
            "grpc_port": free_port(),
            "metrics_port": free_port(),
            "parallel_workers": workers,
        }
        runtime = f"{HERE}.mlserver_runtime.DetectorRuntime"
        model = {"name": "detector", "implementation": runtime}
        merging = {"max_batch_size": MERGED_REQUESTS, "max_batch_time": MERGE_SECONDS}
        write_json(folder / "settings.json", settings)
        write_json(folder / "model-settings.json", {**model, **(merging if merge else {})})
        return Launch([python.with_name("mlserver"), "start", folder], served(models))

    return prepare


def bentoml(*, merge: bool) -> Prepare:
    """BentoML, with a batchable API or a plain one."""

    def prepare(python: Path, models: Models, port: int, folder: Path) -> Launch:
        command = [python.with_name("bentoml"), "serve", f"{HERE}.bentoml_service:DetectorService"]
        options = ["--working-dir", ROOT, "--host", HOST, "--port", str(port)]
        quiet = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder)}
        environment = {**served(models), **quiet, "SERVED_BATCHING": str(int(merge))}
        return Launch([*command, *options], environment)

    return prepare


def litserve(*, merge: bool) -> Prepare:
    """LitServe, merging requests or not."""

    def prepare(python: Path, models: Models, port: int, _: Path) -> Launch:
        most = MERGED_REQUESTS if merge else 1
        command = [python, "-m", f"{HERE}.litserve_server", str(port), str(most)]
        return Launch([*command, str(MERGE_SECONDS)], served(models))

    return prepare


def served(models: Models) -> dict[str, str]:
    """Where `scoring.open_scorer` finds the detector."""
    return {"SERVED_MODEL": str(models.detector)}


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


_INFER = "/v2/models/detector/infer"
_V2 = {Kind.JSON: formats.OPEN_INFERENCE}
_BENTO = {Kind.JSON: formats.ROWS_TO_LIST}
_ROWS = {Kind.JSON: formats.ROWS}
_OURS = {Kind.JSON: formats.OURS, Kind.BINARY: formats.OURS_ARROW}

SERVERS = (
    Server("ours", "anomaly serve", None, "/v1/score", "anomaly-vae", _OURS, ours),
    Server(
        "floor",
        "uvicorn, empty answer",
        None,
        "/",
        "uvicorn",
        {Kind.JSON: formats.ROWS_TO_NOTHING},
        uvicorn_app("floor"),
    ),
    Server("naive", "FastAPI, naive", None, "/score", "fastapi", _ROWS, uvicorn_app("naive")),
    Server(
        "mlserver",
        "MLServer, adaptive batching",
        "mlserver",
        _INFER,
        "mlserver",
        _V2,
        mlserver(merge=True, workers=0),
    ),
    Server(
        "mlserver-single",
        "MLServer",
        "mlserver",
        _INFER,
        "mlserver",
        _V2,
        mlserver(merge=False, workers=0),
    ),
    Server(
        "mlserver-worker",
        "MLServer, adaptive batching, a worker",
        "mlserver",
        _INFER,
        "mlserver",
        _V2,
        mlserver(merge=True, workers=1),
    ),
    Server(
        "mlflow",
        "mlflow models serve",
        None,
        "/invocations",
        "mlflow",
        {Kind.JSON: formats.MLFLOW},
        mlflow,
    ),
    Server(
        "bentoml",
        "BentoML, batchable",
        "bentoml",
        "/score",
        "bentoml",
        _BENTO,
        bentoml(merge=True),
    ),
    Server(
        "bentoml-single", "BentoML", "bentoml", "/score", "bentoml", _BENTO, bentoml(merge=False)
    ),
    Server(
        "litserve",
        "LitServe, batching",
        "litserve",
        "/predict",
        "litserve",
        _ROWS,
        litserve(merge=True),
    ),
    Server(
        "litserve-single",
        "LitServe",
        "litserve",
        "/predict",
        "litserve",
        _ROWS,
        litserve(merge=False),
    ),
)
