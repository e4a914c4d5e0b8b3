"""Which images are normal: told by the label, and a refusal that names what to set."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from anomaly.data.options import ReadOptions
from anomaly.errors import BadData
from training.image_data import ImageData, ImageTable, find_images

STATED = ImageTable("file", label="state")


def found(
    folder: Path, states: list[str | None], table: ImageTable, normal_label: str | None
) -> ImageData:
    """A table of empty files with these labels."""
    names = [f"{number:02d}.png" for number in range(len(states))]
    for name in names:
        (folder / name).touch()
    pd.DataFrame({"file": names, "state": states}).to_csv(folder / "photos.csv", index=False)
    return find_images(folder / "photos.csv", table, normal_label, ReadOptions(), None)


def test_in_a_table_good_is_the_normal_label_by_default(tmp_path: Path) -> None:
    data = found(tmp_path, ["bad", "good", None, "good"], STATED, None)

    assert data.normal.tolist() == [1, 3]
    assert data.anomalous.tolist() == [0], "one without a label is neither"


@pytest.mark.parametrize(
    ("normal_label", "told"),
    [
        (None, "'good', which is the default; the labels are 'OK', 'torn'. Say which"),
        ("ok", "'ok'; the labels are 'OK', 'torn'. Say which one is normal with --normal-label"),
    ],
)
def test_a_normal_label_that_no_row_has_is_refused_with_the_labels_there_are(
    tmp_path: Path, normal_label: str | None, told: str
) -> None:
    with pytest.raises(BadData, match=told):
        found(tmp_path, ["torn", "OK", None], STATED, normal_label)


def test_of_many_labels_some_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"'kind 18' and 21 more\. Say which") as refused:
        found(tmp_path, [f"kind {number}" for number in range(10, 40)], STATED, None)
    assert "kind 19" not in str(refused.value)


@pytest.mark.parametrize("table", [STATED, ImageTable("file")], ids=["empty", "no column"])
def test_a_normal_label_where_nothing_has_a_label_is_refused(
    tmp_path: Path, table: ImageTable
) -> None:
    with pytest.raises(BadData, match=r"no image has a label.*--label-column"):
        found(tmp_path, [None, None], table, "fine")
