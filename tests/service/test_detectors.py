"""What is served is what was saved: verified, warm, and without what only training needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from anomaly.artifact.directory import digest
from anomaly.backends.backend import Device
from anomaly.detector import Detector
from anomaly.errors import ArtifactRejected, ModelNotFound
from anomaly.image_detector import ImageDetector, of_images, of_tables
from service.detectors import UNREGISTERED, Served, open_directory
from tests.service.pumps import SCHEMA, normal_records
from tests.textiles import normal_images


def test_a_directory_is_served_under_its_name(served: Served, artifact: Path) -> None:
    assert (served.name, served.version, served.run_id, served.alias) == (
        "pumps",
        UNREGISTERED,
        "",
        None,
    )
    assert served.digest == digest(artifact)
    assert served.device == "cpu"


@pytest.mark.parametrize(
    ("created", "calibrated", "expected"),
    [
        ("2026-05-01T00:00:00+00:00", "", 1777593600.0),
        ("2026-05-01T00:00:00+00:00", "2026-05-01T00:00:05+00:00", 1777593605.0),
        ("in spring", "", float("nan")),
    ],
)
def test_a_version_is_as_old_as_its_calibration(
    served: Served, created: str, calibrated: str, expected: float
) -> None:
    old = of_tables(served.detector)
    card = replace(old.card, created=created, calibrated=calibrated)

    found = replace(served, detector=replace(old, card=card)).calibrated_at

    assert found == pytest.approx(expected, nan_ok=True)


def test_the_served_detector_scores_as_the_saved_one(served: Served, detector: Detector) -> None:
    records = normal_records(100, seed=4)

    found = of_tables(served.detector).anomaly_score(records)

    assert found.tolist() == detector.anomaly_score(records).tolist()


def test_the_example_has_two_values_of_the_right_kind_for_each_needed_column(
    served: Served,
) -> None:
    assert list(served.example) == [column.name for column in SCHEMA.required]
    kinds = {name: {type(v) for v in values} for name, values in served.example.items()}
    assert kinds == {
        "pressure": {float},
        "flow": {float},
        "valve_open": {bool},
        "site": {str},
        "taken": {str},
    }


def test_an_altered_artifact_is_not_served(artifact: Path, tmp_path: Path) -> None:
    altered = tmp_path / "pumps"
    shutil.copytree(artifact, altered)
    weights = altered / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    with pytest.raises(ArtifactRejected):
        open_directory(altered, Device.CPU)


def test_a_model_of_images_is_served_like_any_other(
    served_images: Served, image_detector: ImageDetector
) -> None:
    images = normal_images(3, seed=4)
    found = of_images(served_images.detector).anomaly_score(images)

    assert (served_images.name, served_images.unit, served_images.example) == (
        "weave",
        "images",
        {},
    )
    assert found.tolist() == image_detector.anomaly_score(images).tolist()


def test_a_directory_without_a_model_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        open_directory(tmp_path, Device.CPU)


def test_serving_from_a_directory_imports_nothing_that_only_training_needs(
    artifact: Path,
) -> None:
    program = f"""
import sys
from dataclasses import replace
from pathlib import Path
from anomaly.backends.backend import Device
from service.app.server import Server
from service.detectors import open_directory
from service.origin import Opened
from service.settings import Settings
served = open_directory(Path({str(artifact)!r}), Device.CPU)
Server(Settings(models=("pumps",), port=0, metrics_port=0), [Opened(served, None, False)])
heavy = {{"torch", "pandas", "sklearn", "scipy", "matplotlib", "mlflow"}} & set(sys.modules)
print(sorted(heavy))
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )

    assert answer.stdout.strip() == "[]"
