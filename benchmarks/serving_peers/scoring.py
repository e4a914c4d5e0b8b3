"""What every peer's handler calls; runs in the peers' own virtual environments."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from anomaly.arrays import Float64
from anomaly.artifact import load
from anomaly.data.records import Records

MODEL = "SERVED_MODEL"
"""Environment variable with the directory of the detector."""

Scorer: TypeAlias = Callable[[npt.ArrayLike], Float64]


def open_scorer() -> Scorer:
    """Rows (N, D) to scores (N,), by the detector that the environment names.

    The rows become records without the checks of `records_from_array`, which take longer than the
    network: peers get the shortest way there is.
    """
    detector = load(os.environ[MODEL])
    names = [column.name for column in detector.schema.required]

    def score(rows: npt.ArrayLike) -> Float64:
        values = np.array(rows, dtype=np.float64, order="F")
        columns = dict(zip(names, values.T, strict=True))
        return detector.anomaly_score(Records(columns, len(values)))

    return score
