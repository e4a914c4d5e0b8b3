"""Scikit-learn's digits, one of which is normal. Needs NumPy and scikit-learn alone, so that the
virtual environments of all sides can import it."""

from __future__ import annotations

from functools import cache

import numpy as np
from sklearn.datasets import load_digits

from anomaly.arrays import Bool, Int64, Values


@cache
def images() -> Values:
    """(1797, 8, 8, 1) uint8."""
    found: Values = np.round(load_digits().images / 16 * 255).astype(np.uint8)[..., None]
    return found


def divided(digit: int, seed: int) -> tuple[Int64, Int64, Bool]:
    """Numbers of half of the images of that digit; of the other half and all other digits; and
    which of these are anomalous."""
    target = load_digits().target
    own = np.random.default_rng([seed, digit]).permutation(np.flatnonzero(target == digit))
    train, kept = np.split(own, [len(own) // 2])
    asked = np.concatenate([kept, np.flatnonzero(target != digit)])
    return train, asked, np.asarray(target[asked] != digit)
