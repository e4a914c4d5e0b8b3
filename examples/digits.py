"""Write scikit-learn's digits (1,797 of 8 x 8 pixels) as PNG files.

One digit is normal. `training/` holds most of its images and nothing else; `new/` holds the rest of
them and some of every other digit, each named by what it shows.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

NORMAL = 3
NEW_NORMAL, NEW_OTHERS = 30, 3
"""Images in `new/`: of the normal digit, and of each other one."""


def write(folder: Path) -> None:
    """Write `training/` and `new/`."""
    data = load_digits()
    rng = np.random.default_rng(0)
    for digit in range(10):
        numbers = rng.permutation(np.flatnonzero(data.target == digit))
        new = NEW_NORMAL if digit == NORMAL else NEW_OTHERS
        parts = {"new": numbers[:new]}
        if digit == NORMAL:
            parts["training"] = numbers[new:]
        for part, chosen in parts.items():
            (folder / part).mkdir(parents=True, exist_ok=True)
            for number in chosen:
                pixels = np.round(data.images[number] / 16 * 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / f"{digit}-{number:04d}.png")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-images"))
