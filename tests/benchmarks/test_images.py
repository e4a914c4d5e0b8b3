"""The split that does not leak, and the peers, on images whose truth is known."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from anomaly.data.pixels import Pixels
from benchmarks.digits import divided, images
from benchmarks.image_peers import PEERS
from benchmarks.images import digits_table, tiles_table
from benchmarks.magnetic_tiles import KINDS, LARGEST_GROUP, Tiles, grouped_split, load
from tests.textiles import normal_images, torn

REAL = Path(os.environ.get("ANOMALY_DATA", "../shared/data")) / "mtd"


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Tiles:
    """A folder as the real one: 952 normal photographs of 126 tiles, and two defects of a kind."""
    root = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(0)
    groups = np.concatenate([np.repeat([0, 1], [184, 66]), 2 + rng.integers(0, 124, 702)])
    lines = ["file,group"]
    for kind, count in {"Free": 952, **dict.fromkeys(KINDS, 2)}.items():
        folder = root / f"MT_{kind}" / "Imgs"
        folder.mkdir(parents=True)
        for number in range(count):
            path = folder / f"{kind}_{number:03d}.jpg"
            path.touch()
            if kind == "Free":
                lines.append(f"{path.name},{groups[number]}")
            else:
                Image.new("L", (4, 4)).save(path.with_suffix(".png"))
    (root / "groups.csv").write_text("\n".join(lines) + "\n")
    return load(root)


def check(tiles: Tiles, seed: int) -> None:
    splits = grouped_split(tiles, seed)
    parts = [splits.fit, splits.early_stop, splits.calibration, splits.test]
    assert sorted(np.concatenate(parts).tolist()) == tiles.normal.tolist()
    groups = [{tiles.files[n].group for n in part} for part in parts]
    assert sum(map(len, groups)) == len(set.union(*groups)), "no tile is in two parts"
    assert len(splits.test) >= 190
    assert len(splits.calibration) >= 112
    sizes = dict.fromkeys(set.union(*groups), 0)
    for number in tiles.normal:
        sizes[tiles.files[number].group] += 1
    large = {group for group, size in sizes.items() if size > LARGEST_GROUP}
    assert large <= groups[0]


@pytest.mark.parametrize("seed", range(3))
def test_no_tile_is_in_two_parts(tiles: Tiles, seed: int) -> None:
    check(tiles, seed)


def test_another_seed_divides_in_another_way(tiles: Tiles) -> None:
    first, second = (grouped_split(tiles, seed).test.tolist() for seed in (0, 1))
    assert first != second


def test_defects_choose_or_judge_but_not_both(tiles: Tiles) -> None:
    assert not set(tiles.for_tuning) & set(tiles.for_judging)
    assert set(tiles.for_tuning) | set(tiles.for_judging) == set(tiles.defective)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no magnetic tiles at {REAL}")
def test_the_real_tiles_are_those_that_were_described() -> None:
    tiles = load(REAL)
    assert (len(tiles.normal), len(tiles.defective)) == (952, 392)
    assert all(tiles.files[n].mask is not None for n in tiles.defective)
    for seed in range(5):
        check(tiles, seed)


@pytest.mark.parametrize("name", [name for name in PEERS if name != "recognition"])
def test_peers_find_holes(name: str) -> None:
    def large(images: list[Pixels]) -> list[Pixels]:
        return [pixels.repeat(4, axis=0).repeat(4, axis=1) for pixels in images]

    score = PEERS[name](large(normal_images(50, seed=0)), 0)
    whole, holes = normal_images(20, seed=1), [torn(p) for p in normal_images(20, seed=2)]
    assert roc_auc_score(np.arange(40) >= 20, score(large([*whole, *holes]))) > 0.8


def test_recognition_knows_what_it_has_seen() -> None:
    train = normal_images(30, seed=0)
    score = PEERS["recognition"](train, 0)
    assert score(train).max() < 1e-5
    assert score(normal_images(10, seed=9)).min() > 1e-3


@pytest.mark.parametrize("digit", [0, 8])
def test_digits_train_on_half_of_one_and_meet_all_others(digit: int) -> None:
    train, asked, truth = divided(digit, 0)
    assert not set(train) & set(asked)
    assert len(train) + len(asked) == len(images()) == 1797
    assert abs(len(train) - (~truth).sum()) <= 1


def test_the_tables_are_means_over_seeds() -> None:
    of_tiles = [
        {"method": "m", "seed": seed, "odd": value, "all": value, "ap": 0.9, "Crack": 0.5}
        for seed, value in enumerate((0.8, 0.9))
    ]
    assert "0.850 ± 0.071" in tiles_table(of_tiles)
    of_digits = [
        {"method": "m", "digit": digit, "auroc": 0.9 + 0.1 * seed, "fit_s": 1.0}
        for digit in range(10)
        for seed in range(2)
    ]
    assert "| m | 0.9500 | 0.9500 |" in digits_table(of_digits)
