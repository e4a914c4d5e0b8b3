"""A detector of images on disk: comes back to the bit, and nothing that was altered is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import anomaly
from anomaly.arrays import Values
from anomaly.artifact.card import card_text
from anomaly.artifact.directory import MANIFEST, WEIGHTS, load_directory, save
from anomaly.artifact.images import golden_images
from anomaly.errors import ArtifactRejected, ConfigInvalid, ModelNotFound
from anomaly.image_detector import ImageDetector
from tests.anomaly.artifact.sealing import copied, manifest_of, seal, with_tensors
from tests.textiles import normal_images, torn

IMAGES = [*normal_images(3, seed=9), torn(normal_images(1, seed=10)[0])]


def test_scores_heat_and_verdicts_come_back_to_the_bit(
    image_detector: ImageDetector, image_artifact: Path
) -> None:
    loaded = anomaly.load_images(image_artifact)

    np.testing.assert_array_equal(
        loaded.anomaly_score(IMAGES), image_detector.anomaly_score(IMAGES)
    )
    for ours, theirs in zip(loaded.explain(IMAGES), image_detector.explain(IMAGES), strict=True):
        np.testing.assert_array_equal(ours.values, theirs.values)
    assert loaded.card == image_detector.card
    assert loaded.calibration.threshold == image_detector.calibration.threshold
    assert loaded.calibration.unit == "image"


def test_saving_what_was_loaded_gives_the_same_files(image_artifact: Path, tmp_path: Path) -> None:
    save(anomaly.load_images(image_artifact), tmp_path / "again")

    for name in (MANIFEST, WEIGHTS, "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (image_artifact / name).read_bytes()


def test_loading_it_as_a_table_says_what_it_is(image_artifact: Path) -> None:
    with pytest.raises(ConfigInvalid, match="looks at images"):
        anomaly.load(image_artifact)


def test_a_table_is_no_model_of_images(artifact: Path) -> None:
    with pytest.raises(ConfigInvalid, match="columns of a table"):
        anomaly.load_images(artifact)


def test_golden_images_are_made_and_not_taken(image_detector: ImageDetector) -> None:
    for golden in golden_images(image_detector):
        assert golden.dtype == np.uint8
        assert golden.shape[-1] == 1
    first, again = golden_images(image_detector), golden_images(image_detector)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    # The sum over all pixels is that of every machine: whole numbers from a fixed generator.
    assert len({pixels.shape for pixels in first}) == len(first)


def _slightly(tensors: dict[str, Values]) -> None:
    tensors["defects.logit.bias"] = tensors["defects.logit.bias"] + np.float32(0.2)


def _nan(tensors: dict[str, Values]) -> None:
    tensors["member.0.decoder.0.weight"][0, 0, 0, 0] = np.nan


def _of_another_shape(tensors: dict[str, Values]) -> None:
    tensors["defects.0.weight"] = tensors["defects.0.weight"][:, :-1]


def _of_another_type(tensors: dict[str, Values]) -> None:
    tensors["maps.guess"] = tensors["maps.guess"].astype(np.float32)


def _gone(tensors: dict[str, Values]) -> None:
    del tensors["maps.look_mean"]


@pytest.mark.parametrize("change", [_slightly, _nan, _of_another_shape, _of_another_type, _gone])
def test_changed_tensors_are_refused(
    image_artifact: Path, tmp_path: Path, change: Callable[[dict[str, Values]], None]
) -> None:
    directory = with_tensors(copied(image_artifact, tmp_path / "copy"), WEIGHTS, change)

    with pytest.raises(ArtifactRejected):
        load_directory(directory)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found: list[tuple[Any, ...]] = []
    for key, part in inner:
        found.append((*path, key))
        if isinstance(part, dict | list):
            found += _paths(part, (*path, key))
    return found


ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -1, 3, 2**63, 1e308, "", "x", [], {}, [1], "__gone__"]
)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(data=st.data(), odd=ODD)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_manifest_whatever_ends_in_another_exception(
    image_artifact: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, odd: Any
) -> None:
    """Any one value of what describes the images replaced, its digest made right."""
    directory = copied(image_artifact, tmp_path_factory.mktemp("odd") / "copy")
    manifest = manifest_of(directory)
    of = {"of": manifest["of"], "vae": manifest["vae"], "score": manifest["score"]}
    *outer, key = data.draw(st.sampled_from(_paths(of)))
    inner = manifest
    for part in outer:
        inner = inner[part]
    if odd == "__gone__":
        del inner[key]
    else:
        inner[key] = odd
    seal(directory, manifest)

    try:
        loaded = load_directory(directory)
    except (ArtifactRejected, ModelNotFound):
        return
    assert isinstance(loaded, ImageDetector)
    assert np.isfinite(loaded.anomaly_score(IMAGES)).all()


def test_the_card_tells_what_it_looks_at(image_detector: ImageDetector) -> None:
    text = card_text(image_detector)

    assert "Flag images" in text
    assert "seen in grey, at 1 of their size, in tiles of 32 x 32 pixels" in text
    assert f"{image_detector.calibration.n} calibration images" in text
    assert "stores no training image" in text
    assert "**Images.** fit 30, early_stop 6, calibration 24." in text
