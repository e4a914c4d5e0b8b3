"""The frozen whole: what training makes and everything else uses. It does no I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as config_dataclass

from anomaly.arrays import Bool, Features, Float64, Values
from anomaly.backends.backend import Backend, BackendName, Device, ScoringModel, open_backend
from anomaly.baseline import Baseline, Parts
from anomaly.calibration import Calibration, Rule
from anomaly.data.records import Records, check_nullability
from anomaly.data.schema import STRICT, Schema
from anomaly.errors import BadData
from anomaly.explain import Attributions, attribute
from anomaly.models.ops import NumpyOps
from anomaly.preprocessing.preprocessor import ColumnWarning, Preprocessor
from anomaly.preprocessing.watched import WatchedColumns
from anomaly.reference import Reference, Watched
from anomaly.scores import ScoreTerms

if TYPE_CHECKING:
    import pandas as pd

Rows: TypeAlias = "Records | pd.DataFrame | Float64"
"""Rows as users have them: records, a DataFrame with the columns of the schema, or an array (N, D)
of the feature and context columns in the order of the schema."""


MARKS = "marks"
"""Key of `Card.data` under which fit images are known again; not for people."""


@config_dataclass(frozen=True, config=STRICT)
class Card:
    """What a reader of the model must know; becomes the model card.

    Attributes:
        created: UTC, ISO 8601.
        rows: How many rows went into each split.
        unit_of_calibration: `row` or `image`, or `group` where one object was measured several
            times.
        exchangeability: What the false-alarm rate assumes, in words.
        metrics: Measured on the test rows.
        notes: What the user was warned of, in words.
        data: Name and digest of the training data.
        config: The resolved configuration, everything that shaped the model.
        versions: Of the libraries that made it.
        calibrated: When it was calibrated anew, as `created`; empty if it never was.
    """

    created: str
    rows: dict[str, Annotated[int, Field(ge=0)]]
    unit_of_calibration: str
    exchangeability: str
    metrics: dict[str, float]
    notes: tuple[str, ...]
    data: dict[str, str]
    config: dict[str, Any]
    versions: dict[str, str]
    calibrated: str = ""


@dataclass(frozen=True)
class Verdicts:
    """What the detector says of N rows, in their order.

    Attributes:
        scores: (N,) float64, higher is more anomalous; unit as in `anomaly.scores`.
        p_values: (N,) in (0, 1].
        is_anomaly: (N,) p <= alpha, and nothing else.
        alpha: The false-alarm rate that was applied.
        warnings: What is remarkable about the input; none of it changes a verdict.
    """

    scores: Float64
    p_values: Float64
    is_anomaly: Bool
    alpha: float
    warnings: tuple[ColumnWarning, ...]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Detector:
    """A fitted model with its threshold. Equal input gives equal output, whatever the batch.

    Attributes:
        preprocessor: Records to features.
        calibration: Scores to p-values, and alpha.
        baseline: Usual terms, for explanations.
        reference: What the fit rows looked like, for drift.
        card: What a reader must know.
        backend: The model on its device.
    """

    preprocessor: Preprocessor
    calibration: Calibration
    baseline: Baseline
    reference: Reference
    card: Card
    backend: Backend

    @property
    def schema(self) -> Schema:
        """The contract of the records."""
        return self.preprocessor.schema

    @property
    def unit(self) -> str:
        """Of scores and threshold."""
        return self.model.score.unit

    @property
    def model(self) -> ScoringModel:
        """The arrays behind the backend."""
        return self.backend.model

    def detect(self, rows: Rows, alpha: float | None = None) -> Verdicts:
        """Score rows and decide.

        Args:
            rows: At least the feature and context columns.
            alpha: Another false-alarm rate, for this call only.

        Raises:
            SchemaMismatch: a column is missing, or empty although it must not be.
            AlphaNotSupported: the calibration scores cannot support that alpha.
        """
        records = self.records(rows)
        return self.verdicts(records, self.terms(records), alpha)

    def terms(self, records: Records) -> ScoreTerms:
        """The scores of records, taken apart.

        Raises:
            SchemaMismatch: a column is missing, or empty although it must not be.
        """
        return self.backend.score_features(self.features(records))

    def verdicts(self, records: Records, terms: ScoreTerms, alpha: float | None = None) -> Verdicts:
        """What the terms of records amount to.

        Raises:
            AlphaNotSupported: the calibration scores cannot support that alpha.
        """
        scores = terms.scores
        p_values = self.calibration.p_values(scores)
        return Verdicts(
            scores,
            p_values,
            self.calibration.is_anomaly(p_values, alpha),
            self.calibration.alpha if alpha is None else alpha,
            self.preprocessor.warnings(records),
        )

    def anomaly_score(self, rows: Rows) -> Float64:
        """(N,) float64, higher is more anomalous."""
        return self.terms(self.records(rows)).scores

    def explain(self, rows: Rows) -> Attributions:
        """Which columns make each row's score what it is."""
        records = self.records(rows)
        features = self.features(records)
        terms = self.backend.score_features(features)
        observed = {column.name: records.columns[column.name] for column in self.schema.features}
        targets = self._target_columns
        found = attribute(targets, self.baseline, terms, observed)
        leads = found.leading()[:, [found.columns.index(name) for name in targets]]
        owner, _ = self.preprocessor.features.input_targets
        told = replace(features, inputs=np.where(leads[:, owner], np.float32(0), features.inputs))
        return replace(found, expected=self._reconstruct(told))

    def reconstruct(self, rows: Rows) -> dict[str, Values]:
        """What the model expects in each column, from the posterior mean, in the records' units.

        Numbers as numbers, booleans as the probability of true, categories as the likeliest name;
        cyclic parts of dates have no entry.
        """
        return self._reconstruct(self.features(self.records(rows)))

    def encode(self, rows: Rows) -> Float64:
        """Posterior means, (N, L)."""
        return self.backend.encode(self.features(self.records(rows)))[0]

    def sample(self, n: int, seed: int = 0) -> dict[str, Values]:
        """n rows that the model holds for normal: decoded draws from the prior.

        Raises:
            BadData: the schema has context columns, without which nothing can be drawn.
        """
        if self.schema.context:
            raise BadData(
                "rows cannot be drawn from the prior alone, because the model is told context "
                f"columns ({', '.join(c.name for c in self.schema.context)}). Use `interpolate`.",
                code="needs_context",
            )
        prior = self.model.vae.latent_prior(NumpyOps(), self.model.first)
        z = prior.sample(n, np.random.default_rng(seed))
        return self._decode(z, np.zeros((n, 0), np.float32))

    def interpolate(self, start: Rows, end: Rows, steps: int = 8) -> dict[str, Values]:
        """Decoded rows on the line between the latents of two rows, both ends included.

        Context is that of the first row.

        Raises:
            BadData: not exactly one row each.
        """
        start, end = self.records(start), self.records(end)
        if len(start) != 1 or len(end) != 1:
            raise BadData(
                f"interpolation runs between two single rows, got {len(start)} and {len(end)} rows",
                code="not_one_row",
            )
        features = self.features(start)
        first, last = self.backend.encode(features)[0], self.encode(end)
        context = np.repeat(features.context, steps, axis=0)
        return self._decode(between(first, last, steps), context)

    def records(self, rows: Rows) -> Records:
        """Rows in any of their forms as records.

        Raises:
            SchemaMismatch: a frame or an array does not fit the schema.
        """
        if isinstance(rows, Records):
            return rows
        # pandas and Arrow are imported by those who use frames or arrays, not by the service.
        from anomaly.data.frames import records_from_array, records_from_frame

        if isinstance(rows, np.ndarray):
            return records_from_array(rows, self.schema)
        return records_from_frame(rows, self.schema)

    def features(self, records: Records) -> Features:
        """Check the records against the schema and preprocess them.

        Raises:
            SchemaMismatch: a column is missing, or empty although it must not be.
        """
        self.schema.check_names(tuple(records.columns))
        check_nullability(self.schema.required, records)
        return self.preprocessor.transform(records)

    def watched(self, records: Records) -> Watched:
        """The records as the reference counts them."""
        return self._watched_columns.watched(records)

    @property
    def explained(self) -> tuple[str, ...]:
        """The names of the columns that scores are taken apart by."""
        return self.baseline.columns

    @property
    def usually_missing(self) -> dict[str, float]:
        """By column of features and context, the share of the fit rows that lacked a value."""
        shares = self.reference.missing_shares
        return dict(zip(self._watched_columns.columns, shares, strict=True))

    @property
    def explained_features(self) -> dict[str, int]:
        """Of what is watched of columns that are explained, the place of the column among them."""
        place = {name: number for number, name in enumerate(self.explained)}
        pairs = zip(self.reference.features, self._watched_columns.columns, strict=True)
        return {feature: place[column] for feature, column in pairs if column in place}

    def large_errors(self, terms: ScoreTerms) -> Bool:
        """(N, C) see `Baseline.large`; the columns are those `explained`."""
        return self.baseline.large(self._target_columns, terms)

    def part_ranks(self, terms: ScoreTerms) -> Parts | None:
        """See `Baseline.ranks`."""
        return self.baseline.ranks(terms)

    @property
    def _target_columns(self) -> tuple[str, ...]:
        return self.preprocessor.features.target_columns

    @cached_property
    def _watched_columns(self) -> WatchedColumns:
        return WatchedColumns.of(self.schema)

    def with_alpha(self, alpha: float, rule: Rule | None = None) -> Detector:
        """The same model at another false-alarm rate."""
        return replace(self, calibration=self.calibration.with_alpha(alpha, rule))

    def on(self, name: BackendName | None = None, device: Device = Device.AUTO) -> Detector:
        """The same detector on another backend or device, with the same block size."""
        backend = open_backend(self.model, name, device, self.backend.block_rows)
        return replace(self, backend=backend)

    def _reconstruct(self, features: Features) -> dict[str, Values]:
        return self._decode(self.backend.encode(features)[0], features.context)

    def _decode(self, z: Float64, context: Values) -> dict[str, Values]:
        means, probabilities, *classes = self.backend.decode(z, context)
        return {**self.preprocessor.restore(means, probabilities, classes)}


def between(first: Float64, last: Float64, steps: int) -> Float64:
    """(steps, L) on the line from latents (1, L) to others, both ends included."""
    along = np.linspace(0.0, 1.0, steps)[:, None]
    return (1 - along) * first + along * last
