"""Features: rows that stay together."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.arrays import Bool, Features, Int64

FEATURES = Features(
    inputs=np.arange(12, dtype=np.float32).reshape(4, 3),
    targets=np.arange(8.0).reshape(4, 2),
    observed=np.arange(8).reshape(4, 2) % 3 > 0,
    context=np.arange(4, dtype=np.float32)[:, None],
)


@pytest.mark.parametrize(
    "rows", [slice(1, 3), np.array([2, 0, 2]), np.array([True, False, False, True])]
)
def test_taken_rows_are_the_same_rows_of_every_array(rows: slice | Int64 | Bool) -> None:
    taken = FEATURES.take(rows)
    chosen = np.arange(4)[rows]
    assert len(taken) == len(chosen)
    for name in ("inputs", "targets", "observed", "context"):
        whole, part = getattr(FEATURES, name), getattr(taken, name)
        assert part.tolist() == [whole[row].tolist() for row in chosen]
        assert part.dtype == whole.dtype
