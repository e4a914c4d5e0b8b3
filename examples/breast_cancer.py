"""Write scikit-learn's breast-cancer table (569 x 30) as CSV files.

Benign tumours are the normal rows. `training.csv` holds every row with its diagnosis; a tenth of
them, malignant ones included, is set aside without it as `new.csv`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer


def write(folder: Path) -> None:
    """Write `training.csv`, `new.csv` and `new_truth.csv`."""
    data = load_breast_cancer(as_frame=True)
    frame = data.frame.rename(columns=lambda name: name.replace(" ", "_"))
    frame.insert(0, "sample", [f"S{i:04d}" for i in range(len(frame))])
    frame["diagnosis"] = np.where(frame.pop("target") == 1, "benign", "malignant")
    new = frame.sample(frac=0.1, random_state=0)
    folder.mkdir(parents=True, exist_ok=True)
    frame.drop(new.index).to_csv(folder / "training.csv", index=False)
    new.drop(columns="diagnosis").to_csv(folder / "new.csv", index=False)
    new[["sample", "diagnosis"]].to_csv(folder / "new_truth.csv", index=False)


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
