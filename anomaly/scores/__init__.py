"""Scores: how badly the model explains a row.

Sign and unit, for every score here: higher is more anomalous, float64, in nats, except errors and
distances, which are squares in units of variances. Each score is a sum of one term for each target
and a rest that belongs to no column, so that an explanation is the score itself, taken apart.

What a score needs besides the model (draws, masks, remembered rows) is made once for each detector
from rows that trained, and saved with it: the same row gets the same score alone, in any
batch, and on the next call.
"""

from anomaly.scores.bounds import (
    NegativeELBO,
    NegativeIWBound,
    ReconstructionError,
    SquaredError,
)
from anomaly.scores.cells import HiddenCells
from anomaly.scores.masked import MaskedReconstruction
from anomaly.scores.memory import ROWS, ExemplarKL, NearestRow, Space
from anomaly.scores.terms import MissingFill, ScoreTerms

RememberingScore = ExemplarKL | NearestRow
"""Scores that compare with rows seen in training, and so carry them."""

DividedScore = NegativeELBO | ExemplarKL
"""Scores whose rest is a KL."""

Score = (
    SquaredError
    | ReconstructionError
    | NegativeELBO
    | NegativeIWBound
    | MaskedReconstruction
    | HiddenCells
    | ExemplarKL
    | NearestRow
)

DEFAULT_SCORE = ReconstructionError(draws=0)

__all__ = [
    "DEFAULT_SCORE",
    "ROWS",
    "DividedScore",
    "ExemplarKL",
    "HiddenCells",
    "MaskedReconstruction",
    "MissingFill",
    "NearestRow",
    "NegativeELBO",
    "NegativeIWBound",
    "ReconstructionError",
    "RememberingScore",
    "Score",
    "ScoreTerms",
    "Space",
    "SquaredError",
]
