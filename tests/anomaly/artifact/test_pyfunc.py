"""What MLflow calls, for images: bytes in, verdicts out, and a refusal that names the row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anomaly.artifact.pyfunc import PyfuncImages
from anomaly.errors import ImageRejected, SchemaMismatch
from anomaly.image_detector import ImageDetector
from tests.textiles import normal_images, written

IMAGES = normal_images(3, seed=21)


@pytest.fixture
def files(tmp_path: Path) -> list[bytes]:
    """Three pieces of cloth as PNG files."""
    return [path.read_bytes() for path in written(IMAGES, tmp_path)]


def test_verdicts_keep_the_index_of_the_frame(
    image_detector: ImageDetector, files: list[bytes]
) -> None:
    frame = pd.DataFrame({"image": files}, index=["a", "b", "c"])

    found = PyfuncImages(image_detector).predict(frame, {"alpha": 0.5})

    assert found.index.tolist() == ["a", "b", "c"]
    assert found.score.tolist() == image_detector.anomaly_score(IMAGES).tolist()
    assert found.is_anomaly.tolist() == (found.p_value <= 0.5).tolist()


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        (b"", "image_empty"),
        (b"no image", "image_format"),
        ("piece.png", "image_format"),
        (None, "image_format"),
        (np.nan, "image_format"),
    ],
)
def test_a_cell_without_an_image_is_refused_by_its_row(
    image_detector: ImageDetector, files: list[bytes], cell: Any, code: str
) -> None:
    frame = pd.DataFrame({"image": [*files[:2], cell, files[2]]})

    with pytest.raises(ImageRejected, match=r"^row 2, column 'image': ") as refused:
        PyfuncImages(image_detector).predict(frame)

    assert (refused.value.row, refused.value.code) == (2, code)


def test_a_file_that_is_cut_off_is_refused_by_its_row(
    image_detector: ImageDetector, files: list[bytes]
) -> None:
    frame = pd.DataFrame({"image": [files[0], files[1][:-30]]})

    with pytest.raises(ImageRejected, match=r"^row 1, "):
        PyfuncImages(image_detector).predict(frame)


def test_a_frame_without_the_column_is_refused(image_detector: ImageDetector) -> None:
    with pytest.raises(SchemaMismatch, match="'image'"):
        PyfuncImages(image_detector).predict(pd.DataFrame({"file": [b""]}))
