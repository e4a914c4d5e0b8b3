"""What only a detector of tables has: its entry in the manifest and its tensors, and back."""

from __future__ import annotations

import numpy as np

from anomaly.artifact.golden import golden_rows
from anomaly.artifact.manifest import TableEntry
from anomaly.artifact.tensors import Tensors, build_preprocessor, describe_preprocessor
from anomaly.backends.backend import Backend
from anomaly.baseline import Baseline, Parts
from anomaly.calibration import Calibration
from anomaly.detector import Card, Detector
from anomaly.errors import ArtifactRejected
from anomaly.preprocessing.watched import WatchedColumns
from anomaly.reference import Reference
from anomaly.scores import DividedScore, Score

PER_COLUMN = "baseline.per_column"
LIMITS = "baseline.limits"
PARTS = ("baseline.reconstruction", "baseline.kl")


def describe_table(detector: Detector) -> tuple[TableEntry, Tensors]:
    """Take a detector apart into what JSON and what tensors hold."""
    preprocessor, tensors = describe_preprocessor(detector.preprocessor)
    baseline = detector.baseline
    entry = TableEntry(
        schema=detector.schema,
        preprocessor=preprocessor,
        baseline_columns=baseline.columns,
        baseline_rest=baseline.rest,
        golden=golden_rows(detector),
    )
    tensors = {**tensors, PER_COLUMN: baseline.per_column, LIMITS: baseline.limits}
    if (parts := baseline.parts) is not None:
        tensors |= dict(zip(PARTS, (parts.reconstruction, parts.kl), strict=True))
    return entry, tensors


def build_table(
    entry: TableEntry,
    tensors: Tensors,
    calibration: Calibration,
    reference: Reference,
    card: Card,
    backend: Backend,
) -> Detector:
    """Put it together again.

    Raises:
        ArtifactRejected: the parts do not fit each other.
        KeyError: an array is missing.
    """
    preprocessor = build_preprocessor(entry.schema, entry.preprocessor, tensors)
    counts, likelihood = preprocessor.features.counts, backend.model.vae.likelihood
    declared = (likelihood.gaussian, likelihood.bernoulli, likelihood.classes)
    if declared != (counts.gaussian, counts.bernoulli, counts.classes):
        raise ArtifactRejected("the model explains other columns than the schema has")
    baseline = _build_baseline(entry, tensors, backend.model.score)
    watched = WatchedColumns.of(entry.schema)
    is_of_these = reference.features == (*watched.numbers, *watched.categories)
    if not is_of_these or len(reference.numbers) != len(watched.numbers):
        raise ArtifactRejected("the reference describes other columns than the schema has")
    return Detector(preprocessor, calibration, baseline, reference, card, backend)


def _build_baseline(entry: TableEntry, tensors: Tensors, score: Score) -> Baseline:
    per_column, limits = tensors[PER_COLUMN], tensors[LIMITS]
    parts = None
    if isinstance(score, DividedScore):
        parts = Parts(*(tensors[name] for name in PARTS))
    columns = len(entry.baseline_columns)
    are_sound = parts is None or (
        parts.reconstruction.ndim == 1
        and len(parts.reconstruction)
        and parts.reconstruction.shape == parts.kl.shape
        and all((np.diff(found) >= 0).all() for found in (parts.reconstruction, parts.kl))
    )
    if {per_column.shape, limits.shape} != {(columns,)} or not are_sound:
        raise ArtifactRejected("the baseline has another shape than the model needs")
    return Baseline(entry.baseline_columns, per_column, limits, entry.baseline_rest, parts)
