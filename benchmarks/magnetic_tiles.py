"""The magnetic tiles of Huang et al. (2018), divided so that no tile is in two parts.

Each tile was photographed at about six exposures. On a random split recognition alone ("have I seen
this tile?") looks like detection, so whole groups of photographs are divided (split G): groups,
shuffled by the seed, go to the test until it has at least 190 normal images, then to calibration
until at least 112, then to early stopping until 15 % of what is left; the rest fits. Groups of more
than 60 images always fit.
"""

from __future__ import annotations

import csv
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomaly.arrays import Int64
from anomaly.data.image_files import ImageFile
from anomaly.data.splits import Splits

KINDS = ("Blowhole", "Break", "Crack", "Fray", "Uneven")
NORMAL = "Free"
TEST, CALIBRATION, EARLY_STOP_SHARE = 190, 112, 0.15
LARGEST_GROUP = 60


@dataclass(frozen=True)
class Tiles:
    """All photographs.

    Attributes:
        normal, defective: Ascending numbers of files.
        for_tuning: Of the defective ones, those by which settings may be chosen: the CRC-32 of
            their file name is even. The others only judge.
    """

    files: tuple[ImageFile, ...]
    normal: Int64
    defective: Int64
    for_tuning: Int64

    @property
    def for_judging(self) -> Int64:
        """The defective ones that nothing was chosen by."""
        return np.setdiff1d(self.defective, self.for_tuning)


def load(root: Path) -> Tiles:
    """Find the photographs and their masks."""
    with (root / "groups.csv").open(encoding="utf-8") as file:
        groups = {row["file"]: row["group"] for row in csv.DictReader(file)}
    files = []
    for kind in (NORMAL, *KINDS):
        for path in sorted((root / f"MT_{kind}").rglob("*.jpg")):
            mask = None if kind == NORMAL else path.with_suffix(".png")
            group = groups.get(path.name) if kind == NORMAL else None
            files.append(ImageFile(path, path.name, kind, group, mask))
    normal = np.array([n for n, file in enumerate(files) if file.label == NORMAL])
    defective = np.setdiff1d(np.arange(len(files)), normal)
    even = [zlib.crc32(files[n].name.encode()) % 2 == 0 for n in defective]
    return Tiles(tuple(files), normal, defective, defective[even])


def grouped_split(tiles: Tiles, seed: int) -> Splits:
    """Split G of the normal photographs, by their number among all files."""
    members: dict[int, list[int]] = {}
    for number in tiles.normal.tolist():
        members.setdefault(int(str(tiles.files[number].group)), []).append(number)
    order = sorted(members)
    random.Random(seed).shuffle(order)
    test: list[int] = []
    calibration: list[int] = []
    small: list[int] = []
    fit: list[int] = []
    for group in order:
        if len(members[group]) > LARGEST_GROUP:
            fit += members[group]
        elif len(test) < TEST:
            test += members[group]
        elif len(calibration) < CALIBRATION:
            calibration += members[group]
        else:
            small.append(group)
    wanted = EARLY_STOP_SHARE * (len(fit) + sum(len(members[group]) for group in small))
    early_stop: list[int] = []
    # In another order than the test was chosen in.
    small.sort()
    random.Random(1000 + seed).shuffle(small)
    for group in small:
        (early_stop if len(early_stop) < wanted else fit).extend(members[group])
    return Splits(*(np.sort(np.array(part)) for part in (fit, early_stop, calibration, test)))


def kinds_of(tiles: Tiles, numbers: Sequence[int] | Int64) -> list[str]:
    """What each photograph shows."""
    return [str(tiles.files[number].label) for number in numbers]
