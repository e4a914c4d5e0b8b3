"""What a run on images tells of itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.data.image_files import ImageFile
from anomaly.data.splits import Splits
from training.config import ImageRunConfig
from training.image_data import ImageData, divide_images
from training.image_pipeline import FEW, few_note


def divided(n: int, **split: Any) -> Splits:
    """The parts of n normal images."""
    files = tuple(ImageFile(Path(f"{number}.png"), f"{number}.png") for number in range(n))
    none = np.arange(0)
    data = ImageData(files, np.arange(n), none, none, None)
    config = ImageRunConfig("tiles")
    return divide_images(data, replace(config, split=replace(config.split, **split)))[0]


def test_few_images_to_fit_are_told_with_what_became_of_the_others_and_what_to_do() -> None:
    note = few_note(divided(15))

    assert note is not None
    assert note.startswith(
        "only 4 of 15 normal images fit the model (5 tell which errors are usual, 3 calibrate, "
        "3 test)."
    )
    assert "Add normal images" in note
    assert "split.test_share=0" in note


def test_where_nothing_is_held_out_for_a_test_no_test_is_given_up() -> None:
    note = few_note(divided(15, test_share=0.0))

    assert note is not None
    assert "0 test" in note
    assert "test_share" not in note


def test_enough_images_are_not_told_of() -> None:
    splits = divided(100)

    assert len(splits.fit) >= FEW
    assert few_note(splits) is None
