"""train, calibrate, evaluate, promote, config: as a user runs them, on a real registry."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml

import anomaly
from anomaly.assembly import as_plain
from anomaly.cli import run
from anomaly.presets import PRESETS
from tests import machines
from tests.command import CHAMPION, NAME, Registry

QUICK = ("--set", "detector.fit.steps=5", "--set", "detector.fit.check_every=5")


@pytest.fixture
def own(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an empty registry of its own and a table of 200 machines at 40 sites."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(uri)
    machines.written(
        machines.records(200),
        tmp_path / "rows.csv",
        site=np.array([f"site {i // 5}" for i in range(200)], object),
    )
    yield tmp_path
    mlflow.set_tracking_uri("")


def answer_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    code = run([*arguments, "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed
    answer: dict[str, Any] = json.loads(printed.out)
    return answer


def names() -> list[str]:
    return [model.name for model in mlflow.MlflowClient().search_registered_models()]


def test_train_says_where_to_go_next_and_the_advice_works(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", "rows.csv", "--name", "m", "--alpha", "0.1", *QUICK]
    assert run(train) == 0
    first = capsys.readouterr()
    assert run(train) == 0
    second = capsys.readouterr()

    assert "m version 1 (champion)" in first.out
    assert "m version 2\n" in second.out
    assert first.err.count("note: column 'serial'") == 1
    advised = {line.split(":")[0]: line for line in second.out.splitlines() if "anomaly " in line}
    score = advised["score"].split("anomaly ")[1].replace("ROWS.csv", "rows.csv").split()
    assert run(score) == 0
    assert (own / "scored.csv").exists()
    assert run(advised["promote"].split("anomaly ")[1].split()) == 0
    assert "is version 2 now (was 1)" in capsys.readouterr().out


def test_groups_are_the_unit_of_the_promise(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = answer_of(
        *(capsys, "train", "rows.csv", "--name", "m", "--alpha", "0.2", *QUICK),
        *("--group-column", "site"),
    )

    card = anomaly.load("models:/m@champion").card
    assert card.unit_of_calibration == "group"
    assert answer["unit_of_calibration"] == "group"
    assert answer["calibration_scores"] < answer["rows"]["calibration"]
    assert answer["rows"]["calibration"] == 5 * answer["calibration_scores"]
    assert "groups" in card.exchangeability


def test_a_split_by_time_states_its_assumption(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer_of(
        *(capsys, "train", "rows.csv", "--name", "m", "--alpha", "0.2", *QUICK),
        *("--time-column", "taken"),
    )

    assert "drifts" in anomaly.load("models:/m@champion").card.exchangeability


def test_alerts_a_day_are_another_way_to_say_alpha(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = answer_of(
        *(capsys, "train", "rows.csv", "--name", "m", *QUICK),
        *("--alerts-per-day", "5", "--rows-per-day", "100"),
    )

    assert answer["alpha"] == 0.05


def test_the_default_alpha_is_lowered_with_a_note_in_the_card(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "rows.csv", "--name", "m", *QUICK]) == 0

    said = capsys.readouterr()
    detector = anomaly.load("models:/m@champion")
    assert detector.calibration.alpha == detector.calibration.smallest_alpha > 0.01
    assert "instead of 0.01" in said.err
    assert any("instead of 0.01" in note for note in detector.card.notes)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (["--alpha", "0.0001"], 65),
        (["--set", "detector.fit.learning_rate=1e30"], 70),
        (["--preset", "autoencoder", "--set", "detector.score={kind: negative_elbo}"], 78),
        (["--time-column", "mode"], 78),
        (["--group-column", "nothing"], 65),
        (["--label-column", "mode", "--normal-label", "none"], 65),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_run_that_fails_registers_nothing(
    own: Path, capsys: pytest.CaptureFixture[str], wrong: list[str], code: int
) -> None:
    found = run(["train", "rows.csv", "--name", "m", *QUICK, *wrong])

    assert found == code, capsys.readouterr().err
    assert names() == []
    assert not list(own.glob("m-unregistered*"))
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert all(found.info.status == "FAILED" for found in runs)


def test_calibrate_makes_a_new_version_of_the_same_weights(
    connected: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    before = anomaly.load(CHAMPION)

    answer = answer_of(capsys, "calibrate", CHAMPION, "--alpha", "0.2")

    after = anomaly.load(f"models:/{NAME}/{answer['version']}")
    assert int(answer["version"]) > int(connected.answer["version"])
    assert after.calibration.alpha == answer["alpha"] == 0.2
    assert after.calibration.threshold == answer["threshold"] < before.calibration.threshold
    for name, value in before.model.first.items():
        np.testing.assert_array_equal(after.model.first[name], value)
    # The champion is not moved by it.
    assert anomaly.load(CHAMPION).calibration.alpha == 0.05
    run_of = mlflow.MlflowClient().get_model_version(NAME, answer["version"]).run_id
    assert run_of is not None
    assert mlflow.get_run(run_of).data.metrics["calib/alpha"] == 0.2


def test_calibrate_on_new_rows_of_a_directory_writes_a_directory(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = machines.written(machines.records(300, seed=8), tmp_path / "new.csv")

    answer = answer_of(
        *(capsys, "calibrate", str(artifact), "--data", str(new)),
        *("--alpha", "0.01", "--output", str(tmp_path / "again")),
    )

    after = anomaly.load(tmp_path / "again")
    assert (after.calibration.n, after.calibration.alpha) == (300, 0.01)
    assert after.calibration.threshold == answer["threshold"]


def test_the_smallest_alpha_that_calibrate_names_works(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["calibrate", str(artifact), "--output", str(tmp_path / "again"), "--alpha"]
    assert run([*arguments, "0.00001"]) == 65
    advice = capsys.readouterr().err.split("ask for ")[1].split(" or more")[0]

    assert run([*arguments, advice]) == 0


def test_evaluate_measures_by_label_and_by_missing_entries(
    connected: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", str(connected.training), "--model", CHAMPION]

    answer = answer_of(capsys, *arguments, "--label-column", "fault")
    assert run([*arguments, "--label-column", "fault"]) == 0
    text = capsys.readouterr().out

    assert answer["metrics"]["test/normal_rows"] == 500
    assert answer["metrics"]["test/auroc"] > 0.95
    assert set(answer["by_missing"]) == {"0", "1"}
    assert sum(part["normal_rows"] for part in answer["by_missing"].values()) == 500
    assert "missing entries" in text


def test_promote_verifies_the_model_before_it_moves_the_alias(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert run(["train", "rows.csv", "--name", "m", "--alpha", "0.1", *QUICK]) == 0
    for weights in own.rglob("weights.safetensors"):
        weights.write_bytes(b"")

    assert run(["promote", "m", "2"]) == 78
    assert mlflow.MlflowClient().get_model_version_by_alias("m", "champion").version in ("1", 1)


def test_another_alias_may_be_moved(
    connected: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    version = str(connected.answer["version"])

    first = answer_of(capsys, "promote", NAME, version, "--alias", "challenger")
    again = answer_of(capsys, "promote", NAME, version, "--alias", "challenger")

    assert (first["before"], again["before"]) == (None, version)
    assert anomaly.load(f"models:/{NAME}@challenger").calibration.alpha == 0.05


def test_the_configuration_is_shown_resolved_and_described(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["config", "show", "--set", "preset=fast", "--set", "seed=7"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert run(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)

    assert (shown["preset"], shown["seed"]) == ("fast", 7)
    assert set(shown) == set(schema["properties"])


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_shown_by_name(capsys: pytest.CaptureFixture[str], preset: str) -> None:
    assert run(["config", "show", "--preset", preset, "--set", "seed=7"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)

    assert (shown["preset"], shown["seed"]) == (preset, 7)
    assert shown["detector"] == as_plain(PRESETS[preset])


def test_the_help_names_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "show", "--help"]) == 0
    words = re.findall(r"[a-z_]+", capsys.readouterr().out)

    assert set(PRESETS) <= set(words)


@pytest.mark.parametrize("preset", ["vamp", "vq"])
def test_models_that_start_from_rows_train_and_register(
    own: Path, capsys: pytest.CaptureFixture[str], preset: str
) -> None:
    machines.written(machines.records(150), own / "some.csv")
    options = ("--name", preset, "--preset", preset, *QUICK)
    answer = answer_of(capsys, "train", "some.csv", *options)
    assert sum(answer["rows"].values()) == 150


@pytest.mark.parametrize("rows", [10, 11, 12])
def test_the_smallest_tables_train_and_register(
    own: Path, capsys: pytest.CaptureFixture[str], rows: int
) -> None:
    machines.written(machines.records(rows), own / "few.csv")
    answer = answer_of(capsys, "train", "few.csv", "--name", "few", *QUICK)
    assert answer["rows"]["fit"] >= 5
    assert sum(answer["rows"].values()) == rows
    assert "few" in names()


@pytest.mark.parametrize("name", ["a/b", "a@b", "models:/m", "", "a\nb"])
def test_a_name_under_which_no_model_can_be_found_is_refused_before_the_work(
    own: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run(["train", "rows.csv", "--name", name]) == 78
    assert "cannot name a model" in capsys.readouterr().err
    assert names() == []


def test_rows_are_not_split_by_time_and_by_group_at_once(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", "rows.csv", "--name", "m", "--time-column", "taken", "--group-column", "site"]
    assert run(train) == 78
    assert "either by time or by group" in capsys.readouterr().err


def test_a_group_column_of_the_configuration_is_no_feature_either(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("--set", "split.by=group", "--set", "split.group_column=site")
    answer_of(capsys, "train", "rows.csv", "--name", "m", *settings, *QUICK)
    assert "site" not in {c.name for c in anomaly.load("models:/m/1").schema.required}


def test_the_rows_of_the_training_do_not_calibrate(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer_of(capsys, "train", "rows.csv", "--name", "m", *QUICK)
    assert run(["calibrate", "models:/m/1", "--data", "rows.csv"]) == 65
    assert "took no part in training" in capsys.readouterr().err


def test_a_model_of_groups_is_measured_and_calibrated_by_groups(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = answer_of(
        capsys, "train", "rows.csv", "--name", "m", "--group-column", "site", *QUICK
    )
    assert {"test/false_alarm_rate", "test/row_false_alarm_rate"} <= set(trained["metrics"])
    machines.written(
        machines.records(60, seed=9),
        own / "new.csv",
        site=np.array([f"place {i // 6}" for i in range(60)], object),
    )
    again = ("calibrate", "models:/m/1", "--data", "new.csv", "--alpha", "0.2")
    assert run([*again]) == 78
    assert "name the groups with --group-column" in capsys.readouterr().err
    answer_of(capsys, *again, "--group-column", "site")
    detector = anomaly.load("models:/m/2")
    assert detector.calibration.n == 10
    assert detector.calibration.unit == detector.card.unit_of_calibration == "group"
    assert detector.card.notes[-1] == "calibrated anew on 10 groups of new.csv"
    measure = ("evaluate", "new.csv", "--model", "models:/m/2")
    assert run([*measure]) == 78
    assert "name the groups with --group-column" in capsys.readouterr().err
    found = answer_of(capsys, *measure, "--group-column", "site")
    assert {"test/false_alarm_rate", "test/row_false_alarm_rate"} <= set(found["metrics"])


def test_a_row_without_a_group_is_refused_when_calibrating_anew(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer_of(capsys, "train", "rows.csv", "--name", "m", "--group-column", "site", *QUICK)
    places = np.array([f"place {i // 6}" for i in range(60)], object)
    places[17] = None
    machines.written(machines.records(60, seed=9), own / "new.csv", site=places)
    again = ("calibrate", "models:/m/1", "--data", "new.csv", "--alpha", "0.2")
    assert run([*again, "--group-column", "site"]) == 65
    assert "has no group" in capsys.readouterr().err


def test_what_was_measured_at_another_alpha_leaves_the_card(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer_of(capsys, "train", "rows.csv", "--name", "m", "--alpha", "0.1", *QUICK)
    answer_of(capsys, "calibrate", "models:/m/1", "--alpha", "0.3")
    card = anomaly.load("models:/m/2").card
    assert "test/false_alarm_rate" not in card.metrics
    assert "alpha was 0.1" in card.notes[-1]


@pytest.mark.parametrize("command", [("train", "--name", "m"), ("evaluate", "--model", "m")])
def test_a_normal_label_without_its_column_is_refused(
    own: Path, artifact: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    verb, option, value = command
    named = str(artifact) if verb == "evaluate" else value
    assert run([verb, "rows.csv", option, named, "--normal-label", "ok"]) == 78
    assert "name its --label-column" in capsys.readouterr().err
