"""Names of the arrays that every room passes to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Float64: TypeAlias = npt.NDArray[np.float64]
Float32: TypeAlias = npt.NDArray[np.float32]
Int64: TypeAlias = npt.NDArray[np.int64]
Bool: TypeAlias = npt.NDArray[np.bool_]
Objects: TypeAlias = npt.NDArray[np.object_]
Values: TypeAlias = npt.NDArray[Any]
"""One column of records, in the representation of its kind (see `anomaly.data.records`)."""

Tensor: TypeAlias = Any
"""A NumPy array or a torch tensor: the formulas of `anomaly.models` hold for both."""

Parameters: TypeAlias = dict[str, Tensor]
"""The learned numbers of a model, by name."""


@dataclass(frozen=True)
class Features:
    """Preprocessed rows: what the encoder sees and what the likelihood explains.

    Attributes:
        inputs: (N, P) float32, what the encoder sees; a missing entry is all zeros.
        targets: (N, D) float64, what the likelihood explains: standardised numbers, 0/1 for
            booleans, the code for categories. A missing entry holds 0 and is not observed.
        observed: (N, D), False where the entry is missing.
        context: (N, K) float32, what both networks are told; K is 0 without context columns.
    """

    inputs: Float32
    targets: Float64
    observed: Bool
    context: Float32

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: slice | Int64 | Bool) -> Features:
        """The given rows, in the given order."""
        return Features(
            self.inputs[rows], self.targets[rows], self.observed[rows], self.context[rows]
        )


@dataclass(frozen=True)
class TargetCounts:
    """How the D targets are made up, in this order.

    Attributes:
        gaussian: Numbers.
        bernoulli: Booleans.
        classes: The number of classes of each category, the unknown one included.
    """

    gaussian: int
    bernoulli: int
    classes: tuple[int, ...]
