"""A detector in MLflow: logged without a pickle, found by alias and version, equal to the bit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.types import DataType

import anomaly
from anomaly.artifact.card import card_text
from anomaly.artifact.mlflow_flavor import (
    FOLDER,
    connect,
    fetch,
    find,
    log_model,
    promote,
    registry,
)
from anomaly.artifact.pyfunc import PyfuncDetector, signature_of
from anomaly.data.frames import records_from_frame
from anomaly.detector import Detector
from anomaly.errors import ArtifactRejected, ConfigInvalid, DependencyDown, ModelNotFound
from tests import machines
from tests.command import CHAMPION, NAME, Registry

FEATURES = ("heat", "load", "idle", "mode", "taken", "voltage")


def frame(n: int, seed: int = 0) -> pd.DataFrame:
    """Machines as MLflow users have them."""
    columns = machines.both(n - n // 10, n // 10, seed).columns
    return pd.DataFrame({name: columns[name] for name in FEATURES}).astype({"idle": bool})


@pytest.fixture
def own(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty registry of this test's own."""
    shutil.copy(empty_database, tmp_path / "own.db")
    uri = f"sqlite:///{tmp_path / 'own.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("own")
    yield tmp_path
    mlflow.set_tracking_uri("")


def logged(detector: Detector, name: str = "pump") -> tuple[str, bool]:
    with mlflow.start_run():
        version, is_champion = log_model(detector, name)
    return str(version.version), is_champion


def test_the_first_version_becomes_the_champion_and_later_ones_by_promotion(
    own: Path, detector: Detector
) -> None:
    assert logged(detector) == ("1", True)
    assert logged(detector.with_alpha(0.2)) == ("2", False)
    assert anomaly.load("models:/pump@champion").calibration.alpha == detector.calibration.alpha

    assert promote("pump", "2") == "1"
    assert anomaly.load("models:/pump@champion").calibration.alpha == 0.2
    assert promote("pump", "1") == "2"  # and back
    assert promote("pump", "2", alias="challenger") is None

    by_alias = fetch("models:/pump@challenger", own / "a")
    by_version = fetch("models:/pump/1", own / "b")
    assert (by_alias.version, by_alias.alias, by_alias.name) == ("2", "challenger", "pump")
    assert (by_version.version, by_version.alias) == ("1", None)
    assert by_version.run_id
    assert registry()[1] == ["pump"]

    version = connect().get_model_version("pump", "1")
    assert version.description == card_text(detector)
    assert version.tags["alpha"] == f"{detector.calibration.alpha:g}"
    with pytest.raises(ModelNotFound):
        promote("pump", "3")
    with pytest.raises(ModelNotFound):
        promote("pumps", "1")


def test_a_fetched_detector_scores_to_the_bit(connected: Registry) -> None:
    loaded = anomaly.load(CHAMPION)
    again = anomaly.load(f"models:/{NAME}/{connected.answer['version']}")
    found = machines.both(50, 10, seed=3)

    np.testing.assert_array_equal(again.anomaly_score(found), loaded.anomaly_score(found))
    assert loaded.calibration.threshold == connected.answer["threshold"]


@pytest.mark.parametrize(
    "uri",
    [
        "models:/nothing@champion",
        f"models:/{NAME}@nobody",
        f"models:/{NAME}/99",
        "models:/nothing/1",
    ],
)
def test_an_unknown_name_alias_or_version_is_not_found(connected: Registry, uri: str) -> None:
    with pytest.raises(ModelNotFound, match="anomaly train DATA --name NAME"):
        anomaly.load(uri)


@pytest.mark.parametrize(
    "uri",
    [
        f"models:/{NAME}",
        f"models:/{NAME}/latest",
        f"models:/{NAME}/1/more",
        "models:/",
        "models:/@champion",
        "models:/../../etc/passwd",
        f"models:/{NAME}@champion/x",
        f"models:/{NAME}/1;rm",
    ],
)
def test_another_form_of_uri_is_refused_with_the_right_ones(connected: Registry, uri: str) -> None:
    with pytest.raises(ConfigInvalid, match="models:/NAME@ALIAS"):
        find(uri)


def test_looking_up_creates_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    mlflow.set_tracking_uri("sqlite:///mlflow.db")

    with pytest.raises(ModelNotFound, match="there is no registry at"):
        anomaly.load(CHAMPION)
    with pytest.raises(ModelNotFound, match="there is no registry at"):
        registry()
    assert list(tmp_path.iterdir()) == []
    mlflow.set_tracking_uri("")


def test_two_processes_may_make_the_registry_at_the_same_time(tmp_path: Path) -> None:
    program = (
        "import sys; from anomaly.artifact.mlflow_flavor import check_registry; "
        "print('ready', flush=True); sys.stdin.readline(); check_registry()"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, "MLFLOW_TRACKING_URI": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[1] for process in both]

    assert [process.returncode for process in both] == [0, 0], said
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_registry_that_is_down_or_of_no_known_kind_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for uri, error in (("http://127.0.0.1:1", DependencyDown), ("carrier://pigeon", ConfigInvalid)):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        with pytest.raises(error, match="MLFLOW_TRACKING_URI"):
            find(CHAMPION)
    mlflow.set_tracking_uri("")


def test_a_model_of_another_project_is_refused(own: Path) -> None:
    (own / "data").mkdir()
    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            name="m",
            loader_module="theirs",
            data_path=str(own / "data"),
            registered_model_name="other",
            pip_requirements=[],
        )

    with pytest.raises(ModelNotFound, match="not one that `anomaly train` registered"):
        anomaly.load("models:/other/1")


# The logged model


@pytest.fixture(scope="module")
def downloaded(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MLflow model as it is stored."""
    mlflow.set_tracking_uri(registry.uri)
    version = registry.answer["version"]
    folder = tmp_path_factory.mktemp("downloaded")
    found = mlflow.artifacts.download_artifacts(
        artifact_uri=f"models:/{NAME}/{version}", dst_path=str(folder)
    )
    mlflow.set_tracking_uri("")
    return Path(found)


def test_nothing_that_could_run_code_is_logged_but_the_projects_own_wheel(downloaded: Path) -> None:
    files = {
        path.relative_to(downloaded).as_posix() for path in downloaded.rglob("*") if path.is_file()
    }

    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".joblib", ".pt"))]
    assert {name for name in files if name.startswith("data/")} == {
        f"data/{FOLDER}/{name}"
        for name in (
            "manifest.json",
            "weights.safetensors",
            "calibration.safetensors",
            "reference.json",
            "README.md",
        )
    }
    assert [name for name in files if name.startswith("code/")] == [
        name for name in files if name.endswith(".whl")
    ]


def test_the_requirements_are_pinned_and_name_the_wheel_beside_the_model(downloaded: Path) -> None:
    lines = (downloaded / "requirements.txt").read_text().split()

    assert lines[0].startswith("code/anomaly_vae-")
    assert (downloaded / lines[0]).is_file()
    assert all("==" in line for line in lines[1:])
    assert not [line for line in lines if line.startswith("torch")]


def test_the_example_has_several_rows_of_which_none_was_trained_on(
    downloaded: Path, registry: Registry
) -> None:
    example = json.loads((downloaded / "input_example.json").read_text())

    assert len(example["data"]) >= 2
    training = set(registry.training.read_text().split(","))
    loads = [row[example["columns"].index("load")] for row in example["data"]]
    assert not {repr(load) for load in loads} & training


def test_the_signature_is_double_or_optional_with_parameters(detector: Detector) -> None:
    signature = signature_of(detector)

    assert [column.name for column in signature.inputs.inputs] == list(FEATURES)
    assert all(not column.required for column in signature.inputs.inputs)
    types = {column.name: column.type for column in signature.inputs.inputs}
    assert types == {
        "heat": DataType.double,
        "load": DataType.double,
        "voltage": DataType.double,
        "idle": DataType.boolean,
        "mode": DataType.string,
        "taken": DataType.datetime,
    }
    assert [column.name for column in signature.outputs.inputs] == [
        "score",
        "p_value",
        "is_anomaly",
    ]
    assert {param.name: param.default for param in signature.params.params} == {
        "alpha": 0.0,
        "explain_top_k": 0,
    }


PREDICT = """
import sys, mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
frame = pd.read_parquet("frame.parquet")
for n in (1, 2, 257):
    model.predict(frame[:n]).to_parquet(f"{n}.parquet")
asked = model.predict(frame, params={"alpha": 0.3, "explain_top_k": 2})
asked.to_parquet("asked.parquet")
print("torch" in sys.modules)
"""


def test_pyfunc_predicts_what_the_detector_says_with_pickle_forbidden(
    connected: Registry, tmp_path: Path
) -> None:
    found = frame(257, seed=6)
    found.to_parquet(tmp_path / "frame.parquet")

    done = subprocess.run(
        [sys.executable, "-c", PREDICT, CHAMPION],
        cwd=tmp_path,
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": connected.uri,
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    detector = anomaly.load(CHAMPION)
    records = records_from_frame(found, detector.schema)
    verdicts = detector.detect(records)
    for n in (1, 2, 257):
        answer = pd.read_parquet(tmp_path / f"{n}.parquet")
        assert answer["score"].tolist() == verdicts.scores[:n].tolist()
        assert answer["p_value"].tolist() == verdicts.p_values[:n].tolist()
        assert answer["is_anomaly"].tolist() == verdicts.is_anomaly[:n].tolist()
    asked = pd.read_parquet(tmp_path / "asked.parquet")
    assert asked["is_anomaly"].tolist() == detector.detect(records, 0.3).is_anomaly.tolist()
    reasons = detector.explain(records)
    assert asked["top_features"].tolist() == [
        ", ".join(reason.column for reason in reasons.top(row, 2)) for row in range(257)
    ]
    assert done.stdout.split() == ["False"], "scoring imported torch"


def test_missing_values_of_every_kind_are_scored(detector: Detector) -> None:
    found = frame(4, seed=6).astype({"idle": object})
    found.loc[0, "heat"] = np.nan
    found.loc[1, "mode"] = None
    found.loc[2, "idle"] = None
    found.loc[3, "taken"] = pd.NaT

    answer = PyfuncDetector(detector).predict(found)

    assert np.isfinite(answer["score"]).all()
    assert answer.index.equals(found.index)


def test_an_alpha_that_the_rows_cannot_support_is_refused(detector: Detector) -> None:
    with pytest.raises(ValueError, match="needs at least"):
        PyfuncDetector(detector).predict(frame(3), {"alpha": 1e-6})


def test_the_wheel_beside_the_model_loads_it_where_the_project_is_not_installed(
    downloaded: Path, tmp_path: Path
) -> None:
    (wheel,) = (downloaded / "code").glob("*.whl")
    target = tmp_path / "target"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--target", target, wheel], check=True)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import anomaly; "
        "assert anomaly.__file__.startswith(sys.argv[1]); "
        "import mlflow; model = mlflow.pyfunc.load_model(sys.argv[2]); "
        "print(len(model.predict(model.input_example)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, target, downloaded],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["5"]


def test_an_altered_model_in_the_registry_is_refused(own: Path, detector: Detector) -> None:
    logged(detector)
    (weights,) = own.rglob("weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")

    with pytest.raises(ArtifactRejected, match="SHA-256"):
        anomaly.load("models:/pump/1")
