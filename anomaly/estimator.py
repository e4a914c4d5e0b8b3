"""scikit-learn's face of the detector."""

from __future__ import annotations

import warnings
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OutlierMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from anomaly.arrays import Bool, Float64, Int64, Values
from anomaly.artifact import load, save
from anomaly.assembly import DetectorConfig, assemble
from anomaly.backends.backend import device_named
from anomaly.calibration import DEFAULT_ALPHA, rows_needed
from anomaly.data.frames import (
    records_from_array,
    records_from_frame,
    schema_of_array,
    table_from_frame,
)
from anomaly.data.infer import infer_schema
from anomaly.data.records import Records
from anomaly.data.schema import Role, Schema
from anomaly.data.splits import split_rows
from anomaly.detector import Detector
from anomaly.explain import Attributions
from anomaly.presets import preset_config


class SchemaWarning(UserWarning):
    """A column of a DataFrame that is not used as a feature."""


class VAEDetector(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    OutlierMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """Variational autoencoder with a split-conformal threshold.

    Fit on normal rows only. The rows are split, at random and disjoint, into rows to fit on and
    rows to calibrate on (`anomaly.data.splits.split_sizes` states the shares); a new normal row is
    then flagged with probability at most `alpha`.

    Args:
        preset: Which choice of parts and score; see `anomaly.presets`.
        alpha: The false-alarm rate. None is 0.01, or the smallest that the rows support.
        device: `auto`, `cpu` or `cuda`.
        random_state: Of the split and the fit. None draws a fresh seed.
        schema: Kinds and roles of the columns of a DataFrame. None infers them, with every column
            that is not a number, a boolean or a category of few values left out.

    Attributes:
        detector_: The `anomaly.Detector`.
        offset_: Minus the threshold in force: `decision_function = score_samples - offset_`.
        n_features_in_, feature_names_in_: As in scikit-learn.

    As a transformer it gives the latents: `make_pipeline(VAEDetector(), LogisticRegression())`.

    Direction: `score_samples` and `decision_function` are higher for normal rows and `predict` is
    +1 for them, as everywhere in scikit-learn; `anomaly_score` is higher for anomalies.
    """

    def __init__(
        self,
        *,
        preset: str = "default",
        alpha: float | None = None,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        schema: Schema | None = None,
    ) -> None:
        self.preset = preset
        self.alpha = alpha
        self.device = device
        self.random_state = random_state
        self.schema = schema

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit, and calibrate on rows held out from the fit.

        Args:
            X: (N, D) array of finite numbers or NaN for missing, or a DataFrame; normal rows.
            y: Ignored; there for scikit-learn's pipelines.

        Raises:
            NotEnoughRows: fewer than 10 rows.
            AlphaNotSupported: alpha was given and the rows cannot support it.
        """
        config = self._config()
        if _is_frame(X) and (self.schema is not None or not _all_numbers(X)):
            schema = self.schema or _inferred(X)
            validate_data(self, X, skip_check_array=True)
            records = records_from_frame(X, schema)
        else:
            X = validate_data(
                self, X, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=10
            )
            schema = schema_of_array(X.shape[1], getattr(self, "feature_names_in_", None))
            records = records_from_array(X, schema)
        seed = _seed(self.random_state)
        assembled = assemble(
            schema,
            records,
            split_rows(len(records), seed=seed, needed=rows_needed(self.alpha or DEFAULT_ALPHA)),
            config,
            seed=seed,
            device=device_named(self.device),
        )
        self.detector_: Detector = assembled.detector
        self.history_ = assembled.fitted.history
        self.offset_ = -self.detector_.calibration.threshold - self.detector_.calibration.tolerance
        return self

    def score_samples(self, X: Any) -> Float64:
        """(N,) minus the anomaly score: higher is more normal."""
        return -self.anomaly_score(X)

    def decision_function(self, X: Any) -> Float64:
        """(N,) score_samples - offset_: negative is an anomaly."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> Int64:
        """(N,) +1 for normal rows, -1 for anomalies (p <= alpha)."""
        return np.where(self.is_anomaly(X), -1, 1)

    def anomaly_score(self, X: Any) -> Float64:
        """(N,) higher is more anomalous; in the unit of the preset's score."""
        return self._fitted().anomaly_score(self._records(X))

    def p_values(self, X: Any) -> Float64:
        """(N,) in (0, 1]; small is anomalous."""
        return self._fitted().calibration.p_values(self.anomaly_score(X))

    def is_anomaly(self, X: Any) -> Bool:
        """(N,) p <= alpha."""
        return self._fitted().calibration.is_anomaly(self.p_values(X))

    def explain(self, X: Any) -> Attributions:
        """Which columns make each row's score what it is."""
        return self._fitted().explain(self._records(X))

    def encode(self, X: Any) -> Float64:
        """Posterior means, (N, L)."""
        return self._fitted().encode(self._records(X))

    def transform(self, X: Any) -> Any:
        """Posterior means, (N, L), for the next step of a pipeline; a frame after `set_output`."""
        return self.encode(X)

    def reconstruct(self, X: Any) -> Any:
        """What the model expects in each column, as X was given: an array or a DataFrame."""
        records = self._records(X)
        return self._like_input(self._fitted().reconstruct(records), as_frame=_is_frame(X))

    def sample(self, n: int = 1, seed: int = 0) -> Any:
        """n rows that the model holds for normal: (n, D), or a DataFrame if fitted on one."""
        rows = self._fitted().sample(n, seed)
        return self._like_input(rows, as_frame=hasattr(self, "feature_names_in_"))

    def interpolate(self, start: Any, end: Any, steps: int = 8) -> Any:
        """Decoded rows between the latents of two rows, each (1, D), both ends included."""
        rows = self._fitted().interpolate(self._records(start), self._records(end), steps)
        return self._like_input(rows, as_frame=_is_frame(start))

    def save(self, directory: str | Path) -> None:
        """Write the artifact that `VAEDetector.load`, `anomaly.load` and the service read."""
        save(self._fitted(), Path(directory))

    @classmethod
    def load(cls, source: str | Path, device: str = "auto") -> VAEDetector:
        """A fitted estimator from a saved detector or a `models:/` URI."""
        detector = load(source, device_named(device))
        estimator = cls(alpha=detector.calibration.alpha, device=device, schema=detector.schema)
        estimator.detector_ = detector
        estimator.offset_ = -detector.calibration.threshold - detector.calibration.tolerance
        names = [column.name for column in detector.schema.required]
        estimator.n_features_in_ = len(names)
        if detector.schema != schema_of_array(len(names)):
            estimator.feature_names_in_ = np.array(names, dtype=object)
        return estimator

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    @property
    def _n_features_out(self) -> int:
        """L, which scikit-learn names the columns of `transform` by."""
        return self._fitted().model.vae.sizes.latent

    def _config(self) -> DetectorConfig:
        return preset_config(self.preset, alpha=self.alpha)

    def _fitted(self) -> Detector:
        check_is_fitted(self, "detector_")
        return self.detector_

    def _records(self, X: Any) -> Records:
        schema = self._fitted().schema
        if _is_frame(X) and (self.schema is not None or not _all_numbers(X)):
            return records_from_frame(X, schema)
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        return records_from_array(X, schema)

    def _like_input(self, columns: dict[str, Values], *, as_frame: bool) -> Any:
        # Constant columns are not modelled: they are expected to stay what they were.
        detector = self._fitted()
        n = len(next(iter(columns.values())))
        constants = {
            c.name: np.full(n, np.nan if c.value is None else c.value)
            for c in detector.preprocessor.constants
        }
        known = {**columns, **constants}
        ordered = {c.name: known[c.name] for c in detector.schema.features if c.name in known}
        if as_frame:
            import pandas as pd

            return pd.DataFrame(ordered)
        return np.column_stack(list(ordered.values()))


def _seed(random_state: int | np.random.RandomState | None) -> int:
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _is_frame(X: Any) -> bool:
    return hasattr(X, "dtypes") and hasattr(X, "columns")


def _all_numbers(frame: Any) -> bool:
    return all(getattr(dtype, "kind", "O") in "iuf" for dtype in frame.dtypes)


def _inferred(frame: Any) -> Schema:
    """The schema of a frame of mixed kinds; numbers stay features, whatever they look like."""
    schema, proposals = infer_schema(table_from_frame(frame))
    numbers = {str(name) for name, dtype in frame.dtypes.items() if dtype.kind in "iuf"}
    for name in numbers & {c.name for c in schema.columns if c.role is Role.ID}:
        schema = schema.with_column(name, role=Role.FEATURE)
    for proposal in proposals:
        if proposal.column not in numbers:
            warnings.warn(f"column {proposal.column!r} {proposal.message}", SchemaWarning, 3)
    return schema
