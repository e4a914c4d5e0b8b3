"""What a run leaves in MLflow, read back from the registry that a real run filled."""

from __future__ import annotations

import math
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow.entities import Run

import anomaly
from anomaly.artifact.card import card_text
from anomaly.data.schema import Role, Schema
from anomaly.errors import DependencyDown
from anomaly.fitting import Progress
from tests.command import CHAMPION, NAME, Registry
from training.config import load_config, to_plain
from training.table import file_digest
from training.tracking import flatten, tracked_run


@pytest.fixture
def run(connected: Registry) -> Run:
    return mlflow.MlflowClient().get_run(connected.answer["run_id"])


def artifact_text(run: Run, name: str) -> str:
    text: str = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{name}")
    return text


def test_every_setting_is_a_parameter(run: Run) -> None:
    asked = ["detector.fit.steps=120", "detector.alpha=0.05"]
    expected = flatten(to_plain(load_config(None, asked)))

    assert run.data.params == {key: str(value) for key, value in expected.items()}
    assert run.data.params["detector.fit.steps"] == "120"


def test_the_logged_configuration_trains_the_same_again(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(artifact_text(run, "run.yaml"))

    config = load_config(tmp_path / "run.yaml")

    assert config == load_config(None, ["detector.fit.steps=120", "detector.alpha=0.05"])
    assert yaml.safe_load(artifact_text(run, "run.yaml")) == to_plain(config)


def test_the_logged_schema_is_the_one_that_was_used(run: Run) -> None:
    schema = Schema.from_yaml(artifact_text(run, "schema.yaml"))

    assert schema == anomaly.load(CHAMPION).schema
    assert schema.column("fault").role is Role.LABEL


def test_the_curves_have_a_point_for_each_look(run: Run) -> None:
    client = mlflow.MlflowClient()
    for name in (
        *("train/loss", "train/recon", "train/kl", "train/gradient_norm"),
        *("fit/loss", "fit/recon", "fit/kl", "fit/elbo", "fit/active_units"),
    ):
        history = client.get_metric_history(run.info.run_id, name)
        assert [point.step for point in history] == [100, 120], name
        assert all(math.isfinite(point.value) for point in history)
    (elbo, recon, kl) = (run.data.metrics[f"fit/{name}"] for name in ("elbo", "recon", "kl"))
    assert elbo == pytest.approx(-(recon + kl))


def test_calibration_and_test_are_numbers_of_the_run(run: Run, connected: Registry) -> None:
    metrics = run.data.metrics

    assert metrics["calib/threshold"] == connected.answer["threshold"]
    assert metrics["calib/alpha"] == 0.05
    assert metrics["calib/n"] == connected.answer["calibration_scores"]
    for name, value in connected.answer["metrics"].items():
        assert metrics[name] == value
    assert metrics["test/auroc"] > 0.95


def test_the_data_set_is_named_with_its_digest_and_no_row_of_it(
    run: Run, connected: Registry
) -> None:
    assert run.inputs is not None
    (used,) = run.inputs.dataset_inputs

    digest = file_digest(connected.training)
    assert digest.startswith(used.dataset.digest)
    assert len(used.dataset.digest) >= 32
    assert used.dataset.profile in (None, "null")
    assert anomaly.load(CHAMPION).card.data == {"name": "training.csv", "sha256": digest}
    first_load = connected.training.read_text().splitlines()[1].split(",")[2]
    assert first_load not in str(run.to_dictionary())


def test_card_and_pictures_are_there(run: Run) -> None:
    client = mlflow.MlflowClient()
    pictures = {item.path for item in client.list_artifacts(run.info.run_id, "figures")}

    of_latents = ("units", "reconstructions", "responses", "samples")
    names = ("loss", "scores", "latent", "features", "roc_pr", *(f"latent_{n}" for n in of_latents))
    assert pictures == {f"figures/{name}.png" for name in names}
    assert artifact_text(run, "card.md") == card_text(anomaly.load(CHAMPION))
    version = client.get_model_version_by_alias(NAME, "champion")
    assert version.description == artifact_text(run, "card.md")
    assert version.run_id == run.info.run_id


def test_a_block_that_fails_marks_the_run_as_failed(connected: Registry) -> None:
    def fail() -> None:
        with tracked_run(experiment="failing", run_name="x") as tracker:
            tracker.metrics({"a": 1.0})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    (found,) = mlflow.search_runs(experiment_names=["failing"], output_format="list")
    assert found.info.status == "FAILED"


def test_a_server_that_is_down_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri("http://127.0.0.1:1")

    with pytest.raises(DependencyDown, match="MLFLOW_TRACKING_URI"), tracked_run("x", "y"):
        pass
    mlflow.set_tracking_uri("")


def test_nested_settings_become_dotted_names() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {
        "a.b": 1,
        "a.c.d": [2],
        "e": None,
    }


def test_a_curve_of_early_stop_rows_has_the_name_of_held_out_rows(connected: Registry) -> None:
    look = Progress(
        held_out=True,
        step=7,
        of_steps=9,
        loss=1.5,
        reconstruction=1.0,
        kl=0.5,
        train_loss=1.4,
        train_reconstruction=0.9,
        train_kl=0.5,
        active_units=2,
        gradient_norm=0.1,
        best=True,
    )
    with tracked_run(experiment=NAME, run_name="early stop") as tracker:
        tracker.look(look)
        run = mlflow.active_run()

    assert run is not None
    metrics = mlflow.get_run(run.info.run_id).data.metrics
    assert metrics["val/loss"] == 1.5
    assert metrics["val/elbo"] == -1.5
    assert not any(name.startswith("fit/") for name in metrics)
