"""A saved detector comes back to the bit, or not at all; no file in it can run code."""

from __future__ import annotations

import json
import os
import pickle  # noqa: TID251 - the attack, not the format
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anomaly import load
from anomaly.arrays import Values
from anomaly.artifact.directory import (
    CALIBRATION,
    CARD,
    FILES,
    LARGEST_MANIFEST_BYTES,
    MANIFEST,
    WEIGHTS,
    digest,
    load_directory,
    save,
)
from anomaly.artifact.manifest import UNSEALED
from anomaly.backends.backend import Backend, BackendName
from anomaly.detector import Detector
from anomaly.errors import ArtifactRejected, CannotWrite, ModelNotFound
from tests import machines
from tests.anomaly.artifact.sealing import copied, manifest_of, seal, seal_text, with_tensors


def refused(directory: Path) -> str:
    """The reason for which loading is refused; any other exception fails the test."""
    with pytest.raises((ArtifactRejected, ModelNotFound)) as caught:
        load_directory(directory)
    return str(caught.value)


# What comes back


@pytest.mark.parametrize("preset", ["default", "fast", "iw", "autoencoder", "vae"])
def test_a_detector_comes_back_to_the_bit(
    every_preset: dict[str, Detector], preset: str, tmp_path: Path
) -> None:
    detector = every_preset[preset]
    save(detector, tmp_path / "saved")
    loaded = load(tmp_path / "saved")
    found = machines.both(50, 20, seed=3)

    before, after = detector.detect(found), loaded.detect(found)

    np.testing.assert_array_equal(after.scores, before.scores)
    np.testing.assert_array_equal(after.p_values, before.p_values)
    np.testing.assert_array_equal(after.is_anomaly, before.is_anomaly)
    assert [(w.code, w.column) for w in after.warnings] == [
        (w.code, w.column) for w in before.warnings
    ]
    np.testing.assert_array_equal(loaded.explain(found).share, detector.explain(found).share)
    assert loaded.card == detector.card
    assert loaded.schema == detector.schema
    assert loaded.calibration.threshold == detector.calibration.threshold
    assert loaded.calibration.tolerance == detector.calibration.tolerance


def test_saving_again_gives_the_same_bytes(artifact: Path, tmp_path: Path) -> None:
    save(load_directory(artifact), tmp_path / "again")

    for name in (MANIFEST, *FILES):
        assert (tmp_path / "again" / name).read_bytes() == (artifact / name).read_bytes()
    assert digest(tmp_path / "again") == digest(artifact)


def test_the_artifact_is_five_files_and_none_of_them_a_pickle(artifact: Path) -> None:
    assert {path.name for path in artifact.iterdir()} == {MANIFEST, *FILES}
    for path in artifact.iterdir():
        with pytest.raises((pickle.UnpicklingError, ValueError, KeyError, EOFError, IndexError)):
            pickle.loads(path.read_bytes())


def test_the_backend_may_be_chosen_when_loading(artifact: Path) -> None:
    assert load_directory(artifact).backend.name is BackendName.NUMPY
    assert load_directory(artifact, backend=BackendName.TORCH).backend.name is BackendName.TORCH


def test_all_calibration_scores_are_kept_so_that_any_rate_can_be_derived_again(
    artifact: Path, detector: Detector
) -> None:
    np.testing.assert_array_equal(
        load_directory(artifact).with_alpha(0.3).calibration.scores, detector.calibration.scores
    )


# What is refused


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_one_flipped_bit_anywhere_is_refused(artifact: Path, tmp_path: Path, name: str) -> None:
    directory = copied(artifact, tmp_path / "copy")
    sound = (directory / name).read_bytes()
    rng = np.random.default_rng(0)
    places = {0, 1, 8, len(sound) - 1, *rng.integers(0, len(sound), 60).tolist()}

    for place in places:
        flipped = bytearray(sound)
        flipped[place] ^= 1 << int(rng.integers(8))
        (directory / name).write_bytes(flipped)
        refused(directory)

    (directory / name).write_bytes(sound)
    load_directory(directory)


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
@pytest.mark.parametrize("damage", ["missing", "empty", "longer", "shorter", "link", "folder"])
def test_a_damaged_file_is_refused(artifact: Path, tmp_path: Path, name: str, damage: str) -> None:
    directory = copied(artifact, tmp_path / "copy")
    path, sound = directory / name, (directory / name).read_bytes()
    path.unlink()
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "longer":
            path.write_bytes(sound + b"\0")
        case "shorter":
            path.write_bytes(sound[:-1])
        case "link":
            path.symlink_to(artifact / name)
        case "folder":
            path.mkdir()

    assert len(refused(directory)) > 40


def test_a_pipe_in_place_of_a_file_does_not_block(artifact: Path, tmp_path: Path) -> None:
    directory = copied(artifact, tmp_path / "copy")
    for name in (WEIGHTS, MANIFEST):
        (directory / name).unlink()
        os.mkfifo(directory / name)
        refused(directory)


def test_further_files_are_never_opened(artifact: Path, tmp_path: Path) -> None:
    directory = copied(artifact, tmp_path / "copy")
    os.mkfifo(directory / "model.pkl")
    (directory / "MLmodel").write_text("loader_module: os")

    load_directory(directory)


def test_a_manifest_that_names_another_file_is_refused(artifact: Path, tmp_path: Path) -> None:
    directory = copied(artifact, tmp_path / "copy")
    manifest = manifest_of(directory)
    manifest["files"]["../../secret"] = manifest["files"][CARD]
    seal(directory, manifest)

    assert "no other file" in refused(directory)


class Marker:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("name", [WEIGHTS, CALIBRATION, CARD])
def test_a_pickle_under_the_name_of_a_file_is_never_executed(
    artifact: Path, tmp_path: Path, name: str
) -> None:
    directory = copied(artifact, tmp_path / "copy")
    mark = tmp_path / "executed"
    (directory / name).write_bytes(pickle.dumps(Marker(mark)))
    seal(directory, manifest_of(directory))

    if name == CARD:  # text that nobody parses
        load_directory(directory)
    else:
        refused(directory)

    assert not mark.exists()
    pickle.loads(pickle.dumps(Marker(mark)))
    assert mark.exists(), "the payload works, so its silence above means something"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "1",
        '"x"',
        "\ufeff{}",
        "{" * 100_000,
        "[" * 1_000_000,
        '{"format_version": 5, "schema": ' + "[" * 900 + "]" * 900 + "}",
        '{"format_version": ' + "9" * 5000 + "}",
        '{"format_version": 4}',
        '{"format_version": 1}',
        '{"format_version": true}',
        '{"format_version": 5}',
        '{"format_version": 5, "sha256": 5}',
        '{"sha256": "", "format_version": 5}',
        '{"sha256": "' + UNSEALED + '", "format_version": 5}',
        '{"sha256": "' + UNSEALED + '", "format_version": 5, "card": ' + '"x"' + "}",
    ],
    ids=lambda text: text[:20],
)
def test_a_manifest_that_is_none_is_refused(artifact: Path, tmp_path: Path, text: str) -> None:
    directory = copied(artifact, tmp_path / "copy")
    seal_text(directory, text)

    refused(directory)


def test_a_manifest_of_any_size_is_not_read_whole(artifact: Path, tmp_path: Path) -> None:
    directory = copied(artifact, tmp_path / "copy")
    with (directory / MANIFEST).open("wb") as file:
        file.truncate(LARGEST_MANIFEST_BYTES + 1)  # sparse: takes no space

    assert "larger than" in refused(directory)


def test_a_file_larger_than_the_manifest_says_is_not_read_whole(
    artifact: Path, tmp_path: Path
) -> None:
    directory = copied(artifact, tmp_path / "copy")
    with (directory / WEIGHTS).open("r+b") as file:
        file.truncate(2**40)

    assert "larger than" in refused(directory)


def test_declared_sizes_are_compared_before_anything_is_allocated(
    artifact: Path, tmp_path: Path
) -> None:
    """Each of these would ask for terabytes."""
    for key, value in {
        ("vae", "sizes", "latent"): 10**12,
        ("vae", "sizes", "inputs"): 10**12,
        ("vae", "sizes", "outputs"): 10**12,
        ("vae", "likelihood", "gaussian"): 10**12,
        ("vae", "likelihood", "bernoulli"): 10**12,
        ("vae", "networks", "hidden"): [65_536] * 1000,
    }.items():
        directory = copied(artifact, tmp_path / "-".join(key))
        manifest = manifest_of(directory)
        inner = manifest
        for part in key[:-1]:
            inner = inner[part]
        inner[key[-1]] = value
        seal(directory, manifest)
        refused(directory)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found: list[tuple[Any, ...]] = []
    for key, part in inner:
        found.append((*path, key))
        if isinstance(part, dict | list):
            found += _paths(part, (*path, key))
    return found


ODD = st.sampled_from(
    [None, True, 0, -1, 3, 2**63, 1e308, "", "x", "\x00", [], {}, [1], {"a": 1}, "__gone__"]
)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(data=st.data(), odd=ODD)
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_manifest_whatever_ends_in_another_exception(
    artifact: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, odd: Any
) -> None:
    """Any one value of the manifest replaced, its digest made right: loaded or refused."""
    directory = copied(artifact, tmp_path_factory.mktemp("odd") / "copy")
    manifest = manifest_of(directory)
    *outer, key = data.draw(st.sampled_from(_paths(manifest)))
    inner = manifest
    for part in outer:
        inner = inner[part]
    if odd == "__gone__":
        del inner[key]
    else:
        inner[key] = odd
    seal(directory, manifest)

    try:
        loaded = load(directory)
    except (ArtifactRejected, ModelNotFound):
        return
    assert np.isfinite(loaded.anomaly_score(machines.records(3))).all()


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("key", ["fill_rest", "baseline_rest", "tolerance"])
def test_a_number_that_is_not_finite_is_refused(
    artifact: Path, tmp_path: Path, key: str, number: str
) -> None:
    directory = copied(artifact, tmp_path / "copy")
    text = json.dumps({**manifest_of(directory), "sha256": UNSEALED})
    before = text.index(f'"{key}": ') + len(f'"{key}": ')
    after = min(text.index(mark, before) for mark in ",}")
    seal_text(directory, text[:before] + number + text[after:])

    refused(directory)


def _nan(tensors: dict[str, Values]) -> None:
    tensors["member.0.decoder.0.weight"][3, 2] = np.nan


def _infinite(tensors: dict[str, Values]) -> None:
    tensors["fill.per_target"][0] = np.inf


def _other_shape(tensors: dict[str, Values]) -> None:
    tensors["member.0.decoder.0.weight"] = tensors["member.0.decoder.0.weight"].T


def _other_type(tensors: dict[str, Values]) -> None:
    tensors["member.0.decoder.0.bias"] = tensors["member.0.decoder.0.bias"].astype(np.float16)


def _gone(tensors: dict[str, Values]) -> None:
    del tensors["member.0.encoder.0.bias"]


def _one_more(tensors: dict[str, Values]) -> None:
    tensors["member.0.encoder.9.bias"] = np.zeros(3, np.float32)


def _no_quantiles(tensors: dict[str, Values]) -> None:
    tensors["features.0.quantiles"] = tensors["features.0.quantiles"][:0]


def _other_fill(tensors: dict[str, Values]) -> None:
    tensors["fill.per_target"] = tensors["fill.per_target"][:1]


@pytest.mark.parametrize(
    "change",
    [
        _nan,
        _infinite,
        _other_shape,
        _other_type,
        _gone,
        _one_more,
        _no_quantiles,
        _other_fill,
    ],
)
def test_tensors_that_do_not_fit_are_refused_although_every_digest_is_right(
    artifact: Path, tmp_path: Path, change: Any
) -> None:
    directory = copied(artifact, tmp_path / "copy")

    refused(with_tensors(directory, WEIGHTS, change))


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("encoder.0.weight", 1.1),
        ("encoder.2.weight", 1.1),
        ("decoder.0.weight", 1.1),
        ("likelihood.raw_sigma", 1.01),
    ],
)
def test_a_weight_that_was_changed_a_little_fails_the_golden_rows(
    artifact: Path, tmp_path: Path, name: str, factor: float
) -> None:
    directory = copied(artifact, tmp_path / "copy")

    def change(tensors: dict[str, Values]) -> None:
        weights = tensors[f"member.0.{name}"]
        weights[np.unravel_index(np.abs(weights).argmax(), weights.shape)] *= factor

    assert "golden row" in refused(with_tensors(directory, WEIGHTS, change))


@pytest.mark.parametrize("scores", [[], [2.0, 1.0], [[1.0, 2.0]], [1.0, np.nan]])
def test_calibration_scores_that_are_none_are_refused(
    artifact: Path, tmp_path: Path, scores: list[Any]
) -> None:
    directory = copied(artifact, tmp_path / "copy")

    def change(tensors: dict[str, Values]) -> None:
        tensors["scores"] = np.array(scores, np.float64)

    refused(with_tensors(directory, CALIBRATION, change))


@pytest.mark.parametrize("name", ["baseline.per_column", "baseline.limits"])
def test_usual_terms_of_other_columns_are_refused(
    artifact: Path, tmp_path: Path, name: str
) -> None:
    directory = copied(artifact, tmp_path / "copy")

    def change(tensors: dict[str, Values]) -> None:
        tensors[name] = tensors[name][:-1]

    assert "baseline" in refused(with_tensors(directory, WEIGHTS, change))


def test_an_alpha_that_the_scores_cannot_support_is_refused(artifact: Path, tmp_path: Path) -> None:
    """With it the detector would be blind: no row whatever could be flagged."""
    directory = copied(artifact, tmp_path / "copy")
    manifest = manifest_of(directory)
    manifest["calibration"]["alpha"] = 1e-6
    seal(directory, manifest)

    assert "needs at least" in refused(directory)


def test_a_folder_that_holds_no_artifact_is_not_found(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nothing", tmp_path / "no" / "where"):
        with pytest.raises(ModelNotFound, match="holds no manifest"):
            load(place)


# Saving


def test_a_folder_that_is_not_empty_is_never_written_to(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(CannotWrite, match="not empty"):
        save(detector, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("place", ["file", "file/model", "x" * 300])
def test_an_impossible_place_is_refused(detector: Detector, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")

    with pytest.raises(CannotWrite):
        save(detector, tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_empty_folder_and_missing_parents_are_fine(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    save(detector, tmp_path / "empty")
    save(detector, tmp_path / "a" / "b")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    save(detector, Path())

    for place in ("empty", "a/b", "here"):
        load(tmp_path / place)


@pytest.fixture
def full_disk(tmp_path: Path) -> Any:
    """A file system of 16 KiB."""
    place = tmp_path / "full"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_nothing_behind(detector: Detector, full_disk: Path) -> None:
    with pytest.raises(CannotWrite, match="No space left"):
        save(detector, full_disk / "model")

    assert list(full_disk.iterdir()) == []


def test_the_backend_is_not_part_of_what_is_saved(artifact: Path, tmp_path: Path) -> None:
    on_torch = load_directory(artifact, backend=BackendName.TORCH)
    assert isinstance(on_torch.backend, Backend)
    save(on_torch, tmp_path / "saved")

    # Torch scored the golden rows, NumPy scores them again: within the tolerance.
    assert load_directory(tmp_path / "saved").backend.name is BackendName.NUMPY
