"""Images through the command line, as a user runs it, on a real registry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import anomaly
from anomaly.cli import CANNOT_WRITE, CONFIG, DATA, run
from tests.textiles import QUICK, mvtec, normal_images, torn, written


@pytest.fixture(scope="module")
def trained(
    empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A folder with a registry, in which a model of cloth was trained; and what was printed."""
    folder = tmp_path_factory.mktemp("images")
    shutil.copy(empty_database, folder / "mlflow.db")
    mvtec(folder / "cloth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.chdir(folder)
        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        printed = StringIO()
        with redirect_stdout(printed):
            code = run(["train", "cloth", "--name", "cloth", "--alpha", "0.1", *QUICK, "--json"])
        mlflow.set_tracking_uri("")
    assert code == 0, printed.getvalue()
    return folder, json.loads(printed.getvalue())


@pytest.fixture
def here(trained: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder as this process's own."""
    uri = f"sqlite:///{trained[0] / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(trained[0])
    mlflow.set_tracking_uri(uri)
    yield trained[0]
    mlflow.set_tracking_uri("")


def answer_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    code = run([*arguments, "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed
    answer: dict[str, Any] = json.loads(printed.out)
    return answer


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = CONFIG) -> str:
    capsys.readouterr()
    assert run([*arguments]) == code
    return capsys.readouterr().err


def test_a_folder_of_mvtec_is_understood(trained: tuple[Path, dict[str, Any]]) -> None:
    answer = trained[1]

    assert answer["champion"]
    assert answer["rows"]["test"] == 0, "the test images are those that the layout keeps"
    assert not any(note.startswith("only") for note in answer["notes"]), "36 images fit"
    metrics = answer["metrics"]
    assert metrics["test/normal_rows"] == 10
    assert metrics["test/anomalies"] == 8
    assert metrics["test/auroc"] > 0.9
    assert metrics["test/pixel_auroc"] > 0.75
    assert 0 < metrics["test/pixel_aupro"] <= 1


def test_the_run_holds_card_curves_and_pictures(here: Path, trained: tuple[Path, Any]) -> None:
    client = mlflow.MlflowClient()
    run_id = trained[1]["run_id"]
    names = {file.path for file in client.list_artifacts(run_id, "figures")}
    expected = ("loss", "scores", "heatmaps", "roc_pr", "latent_units", "latent_reconstructions")
    assert {f"figures/{name}.png" for name in expected} <= names
    logged = client.get_run(run_id).data
    assert logged.metrics["test/pixel_auroc"] == trained[1]["metrics"]["test/pixel_auroc"]
    assert logged.params["preset"] == "tiles"
    assert len(client.get_metric_history(run_id, "val/loss")) >= 1


def test_the_registered_model_scores_through_mlflow_without_pickle(here: Path) -> None:
    model = mlflow.pyfunc.load_model("models:/cloth@champion")
    files = sorted((here / "cloth/test/hole").glob("*.png"))
    found = model.predict(pd.DataFrame({"image": [file.read_bytes() for file in files]}))

    detector = anomaly.load_images("models:/cloth@champion")
    expected = detector.anomaly_score(np.asarray(Image.open(file))[..., None] for file in files)
    assert found.score.tolist() == expected.tolist()
    assert not list(here.rglob("*.pkl"))


def test_score_writes_verdicts_and_heatmaps(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = answer_of(
        *(capsys, "score", "cloth/test", "--model", "models:/cloth@champion"),
        *("--output", "scored.csv", "--heatmaps", "heat"),
    )
    found = pd.read_csv(here / "scored.csv")

    assert answer["images"] == len(found) == 18
    holes = found[found.image.str.startswith("hole/")]
    assert holes.is_anomaly.mean() > 0.7
    assert answer["heatmaps"] == int(found.is_anomaly.sum())
    assert {f"{name}.png" for name in found.image[found.is_anomaly]} == {
        path.relative_to(here / "heat").as_posix() for path in (here / "heat").rglob("*.png")
    }


def test_fail_on_anomaly_is_exit_code_3(here: Path) -> None:
    model = ("--model", "models:/cloth@champion", "--output", "x.csv", "--fail-on-anomaly")
    assert run(["score", "cloth/test/hole", *model]) == 3


def test_evaluate_and_calibrate_take_folders(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = "models:/cloth@champion"
    evaluated = answer_of(capsys, "evaluate", "cloth", "--model", model)
    assert evaluated["metrics"]["test/anomalies"] == 8
    assert evaluated["metrics"]["test/normal_rows"] == 10, "the training images measure nothing"
    assert "test/pixel_aupro" in evaluated["metrics"]

    written(normal_images(30, seed=8), here / "more")
    other = answer_of(capsys, "calibrate", model, "--data", "more", "--alpha", "0.2")
    detector = anomaly.load_images(f"models:/cloth/{other['version']}")
    assert detector.calibration.n == 30
    assert detector.calibration.alpha == 0.2
    assert any("calibrated anew on 30 images of more" in note for note in detector.card.notes)
    assert detector.card.created <= detector.card.calibrated
    smaller = answer_of(capsys, "calibrate", model, "--alpha", "0.3")
    assert anomaly.load_images(f"models:/cloth/{smaller['version']}").calibration.alpha == 0.3


def test_the_images_it_was_trained_on_do_not_calibrate(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor do some of them, in another folder and under other names."""
    (here / "renamed").mkdir(exist_ok=True)
    for number, path in enumerate(sorted((here / "cloth/train/good").glob("*.png"))[::3]):
        shutil.copy(path, here / f"renamed/{number}.png")
    for folder in ("cloth", "cloth/train/good", "renamed"):
        said = refusal(capsys, "calibrate", "models:/cloth@champion", "--data", folder, code=DATA)
        assert "trained on" in said


def test_a_table_of_paths_with_labels_and_groups(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = written(normal_images(60, seed=5), here / "photos/a")
    holes = written([torn(p) for p in normal_images(4, seed=6)], here / "photos/b")
    rows = [(f"a/{p.name}", "fine", f"roll {n // 3}") for n, p in enumerate(whole)]
    rows += [(f"b/{p.name}", "hole", "") for p in holes]
    pd.DataFrame(rows, columns=["file", "state", "roll"]).to_csv(here / "photos.csv", index=False)

    answer = answer_of(
        *(capsys, "train", "photos.csv", "--name", "rolls", "--image-column", "file"),
        *("--image-root", "photos", "--label-column", "state", "--normal-label", "fine"),
        *("--group-column", "roll", "--alpha", "0.3", *QUICK),
    )

    assert answer["rows"]["test"] % 3 == 0, "whole rolls"
    assert answer["metrics"]["test/anomalies"] == 4
    assert answer["calibration_scores"] == answer["rows"]["calibration"] // 3
    scored = answer_of(
        *(capsys, "score", "photos.csv", "--image-column", "file", "--image-root", "photos"),
        *("--model", "models:/rolls@champion", "--output", "rolls.parquet"),
    )
    assert scored["images"] == 64
    assert pd.read_parquet(here / "rolls.parquet").image.tolist() == [row[0] for row in rows]


def test_near_copies_between_training_and_test_are_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each piece photographed six times, divided at random."""
    rng = np.random.default_rng(0)
    pieces = [
        np.clip(p + rng.normal(0, 2, p.shape), 0, 255).astype(np.uint8)
        for p in normal_images(10, seed=12)
        for _ in range(6)
    ]
    written(pieces, here / "copies")
    answer = answer_of(capsys, "train", "copies", "--name", "copies", "--alpha", "0.2", *QUICK)
    assert any("near-copies" in note for note in answer["notes"])


def test_unreadable_files_stop_or_are_skipped(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(normal_images(40, seed=13), here / "some")
    (here / "some/broken.png").write_bytes(b"no image")

    said = refusal(capsys, "train", "some", "--name", "some", *QUICK, code=DATA)
    assert "broken.png" in said

    skipping = ("--on-error", "skip", "--alpha", "0.3")
    assert run(["train", "some", "--name", "some", *skipping, *QUICK]) == 0
    printed = capsys.readouterr()
    assert "skipped broken.png" in printed.err
    assert "note: only 19 of 40 normal images fit the model" in printed.err
    assert "some version 1 (champion)" in printed.out
    model = ("--model", "models:/some@champion", "--output", "some.csv", "--on-error", "skip")
    assert run(["score", "some", *model]) == 0
    assert "1 files could not be read and are listed in some.csv.rejects.csv" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("train", "cloth", "--name", "x", "--id-column", "a"), "--id-column"),
        (("train", "cloth", "--name", "x", "--label-column", "a"), "--image-column"),
        (("train", "cloth", "--name", "x", "--normal-label", "perfect"), "'good'"),
        (("train", "cloth", "--name", "x", "--preset", "nearest"), "tiles, whole"),
        (("train", "cloth", "--name", "x", "--on-error", "maybe"), "`fail` or `skip`"),
        (("train", "cloth", "--name", "x", "--set", "split.early_stop_share=0"), "cannot be 0"),
        (("score", "cloth", "--output", "a.csv", "--keep-input"), "--keep-input"),
        (("score", "cloth", "--output", "a.csv", "--every-heatmap"), "--heatmaps"),
        (("score", "cloth", "--output", "a.txt"), ".parquet"),
        (("score", "photos.csv", "--output", "a.csv", "--heatmaps", "h"), "--image-column"),
        (("explain", "cloth"), "--heatmaps"),
        (("score", "cloth", "--output", "a.csv", "--heatmaps", "cloth/heat"), "next run"),
        (("evaluate", "cloth", "--delimiter", ";"), "--delimiter"),
        (("score", "photos.csv", "--output", "a.csv", "--image-pixels", "9"), "--image-pixels"),
        (("evaluate", "photos.csv", "--image-bytes", "9"), "--image-bytes"),
        (("latent", "photos.csv", "--output", "x", "--image-bytes", "9"), "--image-bytes"),
        (("evaluate", "photos.csv", "--mask-column", "m"), "--image-column"),
    ],
)
def test_what_makes_no_sense_is_refused_with_advice(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    (here / "photos.csv").touch()
    model = () if arguments[0] == "train" else ("--model", "models:/cloth@champion")
    code = DATA if "perfect" in arguments else CONFIG
    assert told in refusal(capsys, *arguments, *model, code=code)


@pytest.mark.parametrize("folder", ["taken", "taken/below"])
def test_heatmaps_are_not_written_to_a_file_and_nothing_is_done_before(
    here: Path, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    (here / "taken").write_text("mine")
    output = ("--model", "models:/cloth@champion", "--output", "none.csv", "--heatmaps", folder)

    said = refusal(capsys, "score", "cloth/test", *output, code=CANNOT_WRITE)

    assert said.startswith("error: taken is a file")
    assert not (here / "none.csv").exists()


@pytest.mark.parametrize("limit", ["pixels", "bytes"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "cloth", "--name", "x"),
        ("score", "cloth/test", "--model", "models:/cloth@champion", "--output", "x.csv"),
        ("evaluate", "cloth", "--model", "models:/cloth@champion"),
        ("calibrate", "models:/cloth@champion", "--data", "cloth/test/good"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_limits_of_an_image_are_set_where_images_are_read(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], limit: str
) -> None:
    """Of 48 x 48 pixels each."""
    said = refusal(capsys, *arguments, f"--image-{limit}", "500", code=DATA)

    assert "weave-000.png" in said
    assert "500 are allowed" in said
    assert f"`image_{limit}`" in said


def test_what_is_drawn_of_latents_skips_images_beyond_the_limits(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("--model", "models:/cloth@champion", "--output", "latents")
    said = refusal(capsys, "latent", "cloth", *model, "--image-pixels", "500", code=DATA)

    assert "2,304" in said or "48 x 48" in said
    assert "no image that can be read" in said


def test_an_empty_folder_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "nothing").mkdir(exist_ok=True)
    assert "no image" in refusal(capsys, "train", "nothing", "--name", "x", code=DATA)


@pytest.mark.filterwarnings("always::anomaly.data.image_files.FilesPassedOver")
def test_train_score_and_evaluate_tell_of_files_with_another_suffix(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(normal_images(30, seed=14), here / "mixed")
    (here / "mixed/scan.bmp").touch()
    model = ("--model", "models:/cloth@champion")
    for arguments in (
        ("train", "mixed", "--name", "mixed", *QUICK),
        ("score", "mixed", *model, "--output", "mixed.csv"),
        ("evaluate", "mixed", *model),
    ):
        assert run([*arguments]) == 0
        assert "1 (1 .bmp)" in capsys.readouterr().err


def test_inspect_tells_of_images(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = answer_of(capsys, "inspect", "models:/cloth@champion")
    assert answer["images"]["channels"] == 1
    assert "schema" not in answer
