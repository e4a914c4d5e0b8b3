"""The detector as a service of BentoML.

bentoml serve benchmarks.serving_peers.bentoml_service:DetectorService
"""

from __future__ import annotations

import os

import bentoml
import numpy as np

from benchmarks.serving_peers.scoring import open_scorer

BATCHING = "SERVED_BATCHING"
"""Environment variable: 1 lets BentoML merge requests."""

MOST_ROWS = 1024


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class DetectorService:
    """`POST /score` with `{"rows": [[...]]}`; the answer is a list."""

    def __init__(self) -> None:
        self._score = open_scorer()

    @bentoml.api(batchable=os.environ[BATCHING] == "1", max_batch_size=MOST_ROWS)  # type: ignore[untyped-decorator]
    def score(self, rows: np.ndarray) -> np.ndarray:
        """Scores (N,) of rows (N, D)."""
        return self._score(rows)
