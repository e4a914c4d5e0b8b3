"""What is expensive is made once: one detector for each kind of question, and one registry."""

from __future__ import annotations

import os

# Before torch is imported: on a shared machine its threads wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from anomaly import VAEDetector
from anomaly.arrays import Float64
from anomaly.artifact import save
from anomaly.assembly import Assembled, DetectorConfig, assemble
from anomaly.backends.backend import Device
from anomaly.data.splits import split_rows
from anomaly.detector import Detector
from anomaly.image_assembly import assemble_images
from anomaly.image_detector import ImageDetector
from anomaly.presets import PRESETS
from tests import machines
from tests.command import NAME, Registry, run_anomaly
from tests.textiles import CONFIG, SPLITS, normal_images

STEPS = 120


def assembled_with(config: DetectorConfig, n: int = 600) -> Assembled:
    """A quick fit on the machines."""
    found = machines.records(n)
    quick = replace(config, fit=replace(config.fit, steps=STEPS, check_every=40))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return assemble(
            machines.SCHEMA, found, split_rows(n, seed=0), quick, seed=0, device=Device.CPU
        )


@pytest.fixture(scope="session")
def assembled() -> Assembled:
    """The default parts on the machines, roughly fitted; its calibration has 120 rows."""
    return assembled_with(DetectorConfig())


@pytest.fixture(scope="session")
def detector(assembled: Assembled) -> Detector:
    """The detector of `assembled`."""
    return assembled.detector


@pytest.fixture(scope="session")
def every_preset(detector: Detector) -> dict[str, Detector]:
    """One detector for each preset, by name."""
    others = {
        name: assembled_with(config).detector
        for name, config in PRESETS.items()
        if name != "default"
    }
    return {"default": detector, **others}


@pytest.fixture(scope="session")
def artifact(detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The saved detector. Tests that change it copy it first."""
    directory = tmp_path_factory.mktemp("artifact") / "machines"
    save(detector, directory)
    return directory


@pytest.fixture(scope="session")
def benign() -> Float64:
    """The benign rows of scikit-learn's breast-cancer table, (357, 30)."""
    X, y = load_breast_cancer(return_X_y=True)
    rows: Float64 = X[y == 1]
    return rows


@pytest.fixture(scope="session")
def malignant() -> Float64:
    """The malignant rows of the same table, (212, 30)."""
    X, y = load_breast_cancer(return_X_y=True)
    rows: Float64 = X[y == 0]
    return rows


@pytest.fixture(scope="session")
def estimator(benign: Float64) -> VAEDetector:
    """`VAEDetector` as shipped, fitted on the first 300 benign rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return VAEDetector(random_state=0).fit(benign[:300])


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without a row, to be copied: making them takes seconds."""
    import mlflow

    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_registered_models()
    return path


@pytest.fixture(scope="session")
def registry(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Trained and registered by the real command."""
    folder = tmp_path_factory.mktemp("registry")
    shutil.copy(empty_database, folder / "mlflow.db")
    training = machines.written(
        machines.both(500, 60, seed=2),
        folder / "training.csv",
        fault=np.array(["0"] * 500 + ["1"] * 60, object),
    )
    new = machines.both(250, 7, seed=4)
    machines.written(new, folder / "new.csv")
    done = run_anomaly(
        *(folder, "train", training, "--name", NAME, "--label-column", "fault"),
        *("--alpha", "0.05", "--cycles", "taken=hour_of_day"),
        *("--set", f"detector.fit.steps={STEPS}", "--json"),
    )
    assert done.returncode == 0, done.stderr
    return Registry(folder, training, folder / "new.csv", json.loads(done.stdout))


@pytest.fixture
def connected(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The registry as this process's own: what MLFLOW_TRACKING_URI names."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.uri)
    monkeypatch.chdir(registry.folder)
    mlflow.set_tracking_uri(registry.uri)
    yield registry
    mlflow.set_tracking_uri("")


@pytest.fixture(scope="session")
def image_detector() -> ImageDetector:
    """Fitted on 60 pieces of cloth; rough, but every part of it is real."""
    images = normal_images(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return assemble_images(
            lambda numbers: (images[number] for number in numbers),
            SPLITS,
            CONFIG,
            seed=0,
            device=Device.CPU,
        ).detector


@pytest.fixture(scope="session")
def image_artifact(image_detector: ImageDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The saved detector of images. Tests that change it copy it first."""
    directory = tmp_path_factory.mktemp("artifact") / "weave"
    save(image_detector, directory)
    return directory
