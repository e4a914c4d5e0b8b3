"""Columns of any kind as numbers on one scale, observed and expected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomaly.arrays import Features, Float32, Float64
from anomaly.data.records import Records
from anomaly.detector import Detector
from anomaly.preprocessing.encodings import CategoricalEncoding, CyclicEncoding
from anomaly.preprocessing.preprocessor import NumericTarget

SMALLEST_SPREAD = 0.05
"""Of a category: one that nearly all rows have, or none, must not fill a figure."""


@dataclass(frozen=True)
class Measures:
    """E numbers that tell a row.

    A numeric column is one, in standard deviations of the fit rows from their mean; a truth value
    and each category are one, the probability, in standard deviations of the rows that are shown.

    Attributes:
        detector: Whose columns these are.
        names: (E,).
        unit: Of all of them.
        center, spread: (E,) what is subtracted and divided by; 0 and 1 for numeric columns.
    """

    detector: Detector
    names: tuple[str, ...]
    unit: str
    center: Float64
    spread: Float64

    @staticmethod
    def of(detector: Detector, rows: Records) -> Measures:
        """The measures of a detector, probabilities on the scale of the rows."""
        likelihood = detector.model.vae.likelihood
        plain = _told_apart(detector, detector.features(rows))
        center, spread = np.zeros(plain.shape[1]), np.ones(plain.shape[1])
        seen = np.where(np.isnan(plain), 0.0, plain)
        share = seen.sum(0) / np.maximum((~np.isnan(plain)).sum(0), 1)
        others = slice(likelihood.gaussian, None)
        center[others] = share[others]
        deviation = np.sqrt(np.maximum(share * (1 - share), 0.0))
        spread[others] = np.maximum(deviation, SMALLEST_SPREAD)[others]
        is_ranked = detector.preprocessor.features.numeric_target is NumericTarget.RANK_NORMAL
        unit = "normal scores" if is_ranked else "standard deviations"
        return Measures(detector, _names(detector), unit, center, spread)

    def observed(self, features: Features) -> Float64:
        """(N, E), NaN where missing."""
        return (_told_apart(self.detector, features) - self.center) / self.spread

    def decoded(self, z: Float64, context: Float32) -> Float64:
        """(N, E) what rows with latents z (N, L) are expected to be."""
        means, probabilities, *classes = self.detector.backend.decode(z, context)
        # The class of unseen categories has no name.
        found = np.concatenate([means, probabilities, *(c[:, :-1] for c in classes)], axis=1)
        return (found - self.center) / self.spread


def _told_apart(detector: Detector, features: Features) -> Float64:
    """(N, E) targets with each category as its own 0 or 1; NaN where missing."""
    likelihood = detector.model.vae.likelihood
    targets = np.where(features.observed, features.targets, np.nan)
    first = likelihood.gaussian + likelihood.bernoulli
    parts = [targets[:, :first]]
    for column, count in enumerate(likelihood.classes, start=first):
        code = targets[:, [column]]
        parts.append(np.where(np.isnan(code), np.nan, code == np.arange(count - 1)))
    return np.concatenate(parts, axis=1)


def _names(detector: Detector) -> tuple[str, ...]:
    found: list[str] = []
    for encoding in detector.preprocessor.features.encodings:
        match encoding:
            case CyclicEncoding():
                found += [
                    f"{encoding.name} {encoding.cycle} ({part})" for part in ("sine", "cosine")
                ]
            case CategoricalEncoding():
                found += [f"{encoding.name} = {category}" for category in encoding.categories]
            case _:
                found.append(encoding.name)
    return tuple(found)
