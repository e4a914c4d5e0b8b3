"""What only a detector of tables has: its entry in the manifest and its tensors, and back."""

from __future__ import annotations

from anomaly.artifact.golden import golden_rows
from anomaly.artifact.manifest import TableEntry
from anomaly.artifact.tensors import Tensors, build_preprocessor, describe_preprocessor
from anomaly.backends.backend import Backend
from anomaly.calibration import Calibration
from anomaly.detector import Card, Detector
from anomaly.errors import ArtifactRejected
from anomaly.explain import Baseline
from anomaly.preprocessing.watched import WatchedColumns
from anomaly.reference import Reference

PER_COLUMN = "baseline.per_column"


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
    return entry, {**tensors, PER_COLUMN: baseline.per_column}


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
    if tensors[PER_COLUMN].shape != (len(entry.baseline_columns),):
        raise ArtifactRejected("the baseline has another shape than the model needs")
    baseline = Baseline(entry.baseline_columns, tensors[PER_COLUMN], entry.baseline_rest)
    watched = WatchedColumns.of(entry.schema)
    is_of_these = reference.features == (*watched.numbers, *watched.categories)
    if not is_of_these or len(reference.numbers) != len(watched.numbers):
        raise ArtifactRejected("the reference describes other columns than the schema has")
    return Detector(preprocessor, calibration, baseline, reference, card, backend)
