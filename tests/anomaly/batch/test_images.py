"""A folder of images in, a table of verdicts and pictures of heat out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from anomaly.batch.images import score_images
from anomaly.data.image_files import images_below
from anomaly.errors import BadData, CannotWrite
from anomaly.image_detector import ImageDetector
from tests.textiles import normal_images, torn, written

PIXELS = [*normal_images(9, seed=20), *(torn(p) for p in normal_images(3, seed=21))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    written(PIXELS[:9], tmp_path / "in/whole")
    written(PIXELS[9:], tmp_path / "in/torn")
    return tmp_path


def test_one_line_for_each_image_in_the_order_of_names(
    image_detector: ImageDetector, folder: Path
) -> None:
    files = images_below(folder / "in")
    done: list[int] = []

    report = score_images(
        image_detector, files, folder / "out.csv", alpha=0.2, on_images=done.append
    )

    found = pd.read_csv(folder / "out.csv")
    assert found.image.tolist() == sorted(file.name for file in files)
    assert found.columns.tolist() == [
        *("image", "score", "p_value", "is_anomaly", "hottest", "boxes", "widespread")
    ]
    expected = image_detector.anomaly_score([*PIXELS[9:], *PIXELS[:9]])
    assert found.score.tolist() == expected.tolist(), "to the bit, through the file"
    assert (found.is_anomaly == (found.p_value <= 0.2)).all()
    assert (report.images, report.flagged) == (12, int(found.is_anomaly.sum()))
    assert sum(done) == 12


def test_csv_and_parquet_hold_the_same(image_detector: ImageDetector, folder: Path) -> None:
    files = images_below(folder / "in")
    for name in ("out.csv", "out.parquet"):
        score_images(image_detector, files, folder / name)
    pd.testing.assert_frame_equal(
        pd.read_csv(folder / "out.csv"), pd.read_parquet(folder / "out.parquet")
    )


def test_boxes_surround_the_hole_in_pixels_of_the_file(
    image_detector: ImageDetector, folder: Path
) -> None:
    score_images(image_detector, images_below(folder / "in/torn"), folder / "out.csv")

    for boxes in pd.read_csv(folder / "out.csv").boxes:
        left, top, right, bottom, heat = json.loads(boxes)[0]
        assert left < 32 < right, "the middle of the hole"
        assert top < 16 < bottom
        assert heat > 1


def test_flagged_images_get_a_heatmap_that_can_be_seen(
    image_detector: ImageDetector, folder: Path
) -> None:
    files = images_below(folder / "in")
    report = score_images(
        image_detector, files, folder / "out.csv", alpha=0.2, heatmaps=folder / "heat"
    )
    every = score_images(
        *(image_detector, files, folder / "out.csv"),
        heatmaps=folder / "every",
        every_heatmap=True,
    )

    assert report.heatmaps == report.flagged >= 3
    assert every.heatmaps == 12
    for path in (folder / "heat").rglob("*.png"):
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((3 * 48, 3 * 48), "RGB")
    assert {
        p.relative_to(folder / "every").as_posix() for p in (folder / "every").rglob("*.png")
    } == {f"{file.name}.png" for file in files}


def test_a_broken_file_stops_or_is_listed(image_detector: ImageDetector, folder: Path) -> None:
    (folder / "in/whole/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    files = images_below(folder / "in")

    with pytest.raises(BadData, match=r"broken\.png"):
        score_images(image_detector, files, folder / "out.csv")
    assert not (folder / "out.csv").exists()

    report = score_images(image_detector, files, folder / "out.csv", rejects=folder / "rejects.csv")
    assert (report.images, report.rejected) == (12, 1)
    rejects = pd.read_csv(folder / "rejects.csv")
    assert rejects.image.tolist() == ["whole/broken.png"]
    assert rejects.code.str.startswith("image_").all()


def test_an_image_of_too_many_tiles_is_refused_before_it_takes_memory(
    image_detector: ImageDetector, folder: Path
) -> None:
    Image.fromarray(np.zeros((1, 200_000), np.uint8)).save(folder / "in/whole/long.png")
    files = images_below(folder / "in")
    with pytest.raises(BadData, match=r"long\.png.*tiles"):
        score_images(image_detector, files, folder / "out.csv")
    report = score_images(image_detector, files, folder / "out.csv", rejects=folder / "r.csv")
    assert (report.images, report.rejected) == (12, 1)
    assert pd.read_csv(folder / "r.csv").code.tolist() == ["image_too_many_tiles"]


def test_a_heatmap_does_not_follow_a_link(image_detector: ImageDetector, folder: Path) -> None:
    files = images_below(folder / "in/torn")
    (folder / "heat").mkdir()
    (folder / "victim.txt").write_text("mine")
    (folder / f"heat/{files[0].name}.png").symlink_to(folder / "victim.txt")
    score_images(
        *(image_detector, files, folder / "out.csv"), heatmaps=folder / "heat", every_heatmap=True
    )
    assert (folder / "victim.txt").read_text() == "mine"


def test_if_no_file_can_be_read_the_output_is_empty(
    image_detector: ImageDetector, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/broken.jpg").write_bytes(b"\xff\xd8\xff")
    report = score_images(
        image_detector,
        images_below(tmp_path / "in"),
        tmp_path / "out.parquet",
        rejects=tmp_path / "rejects.csv",
    )
    assert (report.images, report.rejected) == (0, 1)
    assert len(pd.read_parquet(tmp_path / "out.parquet")) == 0


def test_a_heatmap_that_cannot_be_written_is_an_error_that_says_so(
    image_detector: ImageDetector, folder: Path
) -> None:
    (folder / "heat").write_text("a file where a folder should be")
    with pytest.raises(CannotWrite, match="heat"):
        score_images(
            *(image_detector, images_below(folder / "in/torn"), folder / "out.csv"),
            heatmaps=folder / "heat",
            every_heatmap=True,
        )
    assert not (folder / "out.csv").exists()


def test_names_that_leave_their_folder_cannot_be(
    image_detector: ImageDetector, folder: Path
) -> None:
    """They are relative and have no detours, so that heatmaps stay where they belong."""
    for file in images_below(folder / "in"):
        assert not Path(file.name).is_absolute()
        assert ".." not in Path(file.name).parts
    assert np.isfinite(image_detector.calibration.threshold)
