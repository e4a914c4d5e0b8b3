"""`anomaly latent`: from a model and its data to a folder of figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anomaly.artifact import save
from anomaly.cli import run
from tests import machines, pictured
from training.latent import chosen


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 12 digits."""
    folder = tmp_path_factory.mktemp("digits")
    for number, pixels in enumerate(pictured.digits()[:12]):
        Image.fromarray(pixels[..., 0]).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def model_of_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "digits"
    save(pictured.whole(), folder)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return machines.written(machines.records(60, 4), tmp_path_factory.mktemp("rows") / "rows.csv")


def latent(data: Path, model: Path, output: Path, *further: str) -> int:
    return run(["latent", str(data), "--model", str(model), "--output", str(output), *further])


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_exactly_the_figures_that_are_named_are_written(
    rows: Path, artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert latent(rows, artifact, tmp_path / "figures") == 0

    named = capsys.readouterr().out.split()
    assert sorted(named) == sorted(str(path) for path in (tmp_path / "figures").iterdir())
    assert str(tmp_path / "figures" / "latent_responses.png") in named
    for name in named:
        with Image.open(name) as picture:
            assert picture.format == "PNG"


def test_images_are_drawn_and_replace_the_figures_of_a_table(
    rows: Path,
    artifact: Path,
    digits: Path,
    model_of_digits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert latent(rows, artifact, tmp_path) == 0
    capsys.readouterr()

    assert latent(digits, model_of_digits, tmp_path, "--json", "--rows", "9") == 0

    found = answer(capsys)
    assert found["output"] == str(tmp_path)
    assert sorted(found["figures"]) == sorted(path.name for path in tmp_path.iterdir())
    assert "latent_traversal.png" in found["figures"]
    assert "latent_responses.png" not in found["figures"]


def test_a_folder_with_anything_else_is_left_alone(
    rows: Path, artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")

    assert latent(rows, artifact, tmp_path, "--json") == 74

    assert "'thesis.tex'" in answer(capsys)["error"]["message"]
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert latent(rows, artifact, tmp_path / "thesis.tex") == 74


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(
    rows: Path, artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert latent(rows, artifact, tmp_path / "file" / "figures", "--json") == 74

    assert str(tmp_path / "file" / "figures") in answer(capsys)["error"]["message"]


def test_a_model_wants_its_own_kind_of_data(
    rows: Path,
    artifact: Path,
    digits: Path,
    model_of_digits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert latent(digits, artifact, tmp_path / "a", "--json") == 78
    assert "not at images" in answer(capsys)["error"]["message"]
    assert latent(rows, model_of_digits, tmp_path / "b", "--json") == 66
    assert not list(tmp_path.iterdir())


def test_an_image_that_cannot_be_read_is_noted_and_left_out(
    digits: Path, model_of_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    for path in digits.iterdir():
        (tmp_path / "images" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "images" / "broken.png").write_bytes(b"no picture")

    assert latent(tmp_path / "images", model_of_digits, tmp_path / "figures") == 0
    assert "note: broken.png" in capsys.readouterr().err


def test_nothing_to_draw_is_said(
    artifact: Path,
    model_of_digits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    empty = machines.written(machines.records(1).take(slice(0)), tmp_path / "empty.csv")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.png").write_bytes(b"no picture")

    assert latent(empty, artifact, tmp_path / "a", "--json") == 65
    assert answer(capsys)["error"]["code"] == "no_rows"
    assert latent(tmp_path / "images", model_of_digits, tmp_path / "b", "--json") == 65
    assert answer(capsys)["error"]["code"] == "no_images"


def test_the_choice_of_rows_follows_the_seed_and_the_order_of_the_file() -> None:
    some = chosen(1000, 10, seed=0)

    assert len(some) == 10
    assert (np.diff(some) > 0).all()
    np.testing.assert_array_equal(some, chosen(1000, 10, seed=0))
    assert (some != chosen(1000, 10, seed=1)).any()
    np.testing.assert_array_equal(chosen(3, 10, seed=0), [0, 1, 2])
