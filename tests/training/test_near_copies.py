"""Other photographs of a known object are near-copies; other objects of one kind are not."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.data.pixels import Pixels
from tests.textiles import normal_images
from training.near_copies import SIDE, share_of_near_copies, thumbnails


def photographed_again(pixels: Pixels, seed: int) -> Pixels:
    """In other light, with noise, a little larger."""
    rng = np.random.default_rng(seed)
    light = rng.uniform(0.6, 1.0)
    larger = np.kron(pixels[..., 0], np.ones((2, 2)))[..., None]
    return np.clip(light * larger + rng.normal(0, 3, larger.shape), 0, 255).astype(np.uint8)


def test_the_same_piece_in_other_light_is_a_near_copy() -> None:
    pieces = normal_images(20, seed=0)
    again = [photographed_again(pixels, seed) for seed, pixels in enumerate(pieces)]
    assert share_of_near_copies(thumbnails(pieces), thumbnails(again)) > 0.9


def test_other_images_are_not() -> None:
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (40, 40, 1)).astype(np.uint8) for _ in range(60)]
    fit, held_out = thumbnails(images[:40]), thumbnails(images[40:])
    assert share_of_near_copies(fit, held_out) == 0.0


def test_what_all_images_have_in_common_does_not_make_copies_of_them() -> None:
    """One frame around all of them, and something of its own in each."""
    rng = np.random.default_rng(2)
    images = []
    for _ in range(60):
        image = np.full((48, 48, 1), 60, np.uint8)
        image[4:-4, 4:-4] = 200
        image[8:-8, 8:-8] = rng.integers(100, 160, (8, 8)).repeat(4, 0).repeat(4, 1)[..., None]
        images.append(image)
    assert share_of_near_copies(thumbnails(images[:40]), thumbnails(images[40:])) < 0.1


@pytest.mark.parametrize("shape", [(5, 300, 3), (1, 1, 1), (200, 200, 1)])
def test_a_thumbnail_has_one_size(shape: tuple[int, int, int]) -> None:
    assert thumbnails([np.zeros(shape, np.uint8)]).shape == (1, SIDE * SIDE)


def test_without_images_there_is_no_copy() -> None:
    some, none = thumbnails(normal_images(3)), np.zeros((0, SIDE * SIDE), np.float32)
    assert share_of_near_copies(some, none) == share_of_near_copies(none, some) == 0.0
