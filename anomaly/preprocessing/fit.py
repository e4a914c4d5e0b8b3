"""Fit a preprocessor on the fit rows alone. scikit-learn fits; only constants are kept."""

from __future__ import annotations

import warnings

import numpy as np

from anomaly.arrays import Bool, Float64, Values
from anomaly.data.records import Records, is_missing
from anomaly.data.schema import Column, Kind, Schema
from anomaly.errors import SchemaMismatch
from anomaly.preprocessing.encodings import (
    BooleanEncoding,
    CategoricalEncoding,
    ConstantColumn,
    CyclicEncoding,
    Encoding,
    NumericEncoding,
)
from anomaly.preprocessing.numbers import LARGEST, power_of_two
from anomaly.preprocessing.preprocessor import (
    MOST_RANKED_COLUMNS,
    NumericInputs,
    PreprocessingConfig,
    Preprocessor,
    TableEncoder,
)

MOST_QUANTILES = 257
"""Points of the rank-normal map, as far as there are rows."""

RELATIVE_SPREAD = 1e-12
"""A standard deviation below this share of the largest value is rounding, not variation."""

VANISHING = 1e-250
"""Numbers below this share of the largest one count as 0."""

SMALLEST_SCALE = 1e-300
"""A standard deviation below this would make quotients overflow."""


class PreprocessingWarning(UserWarning):
    """A column that was dropped."""


def fit_preprocessor(
    schema: Schema, records: Records, config: PreprocessingConfig | None = None
) -> Preprocessor:
    """Constants of every feature and context column, from the fit rows.

    Raises:
        SchemaMismatch: every feature is constant, so that there is nothing to model.
    """
    config = config or PreprocessingConfig()
    constants: list[ConstantColumn] = []
    features = _encoder(schema.features, records, config, constants)
    context = _encoder(schema.context, records, config, constants)
    if not features.encodings:
        raise SchemaMismatch(
            "every feature has one and the same value on all rows, so there is nothing to model. "
            "Check the file, or give other columns the role `feature`.",
            code="all_constant",
        )
    if constants:
        names = ", ".join(repr(constant.name) for constant in constants)
        warnings.warn(
            f"{len(constants)} constant column(s) carry no information and are left out of the "
            f"model: {names}. A row where one of them changes is reported with its score.",
            PreprocessingWarning,
            stacklevel=2,
        )
    return Preprocessor(schema, features, context, tuple(constants))


def _encoder(
    columns: tuple[Column, ...],
    records: Records,
    config: PreprocessingConfig,
    constants: list[ConstantColumn],
) -> TableEncoder:
    numbers: list[Encoding] = []
    cycles: list[Encoding] = []
    booleans: list[Encoding] = []
    categories: list[Encoding] = []
    with_mask: list[str] = []
    for column in columns:
        values = records.columns[column.name]
        present = ~is_missing(values)
        if (constant := _constant(column, values, present)) is not None:
            constants.append(constant)
            continue
        match column.kind:
            case Kind.NUMERIC:
                numbers.append(fit_numeric(column.name, values[present]))
            case Kind.BOOLEAN:
                booleans.append(BooleanEncoding(column.name))
            case Kind.CATEGORICAL:
                names = tuple(sorted(set(values[present])))
                categories.append(CategoricalEncoding(column.name, names))
            case Kind.DATETIME:
                cycles += [CyclicEncoding(column.name, cycle) for cycle in column.cycles]
        if not present.all():
            with_mask.append(column.name)
    return TableEncoder(
        encodings=(*numbers, *cycles, *booleans, *categories),
        numeric_inputs=config.numeric_inputs or default_numeric_inputs(len(numbers)),
        numeric_target=config.numeric_target,
        with_mask=tuple(with_mask),
    )


def default_numeric_inputs(n_numbers: int) -> NumericInputs:
    """Both copies of every number up to 256 numeric columns, else the standardised one."""
    return NumericInputs.BOTH if n_numbers <= MOST_RANKED_COLUMNS else NumericInputs.STANDARDISED


def _constant(column: Column, values: Values, present: Bool) -> ConstantColumn | None:
    """The column as a constant if it has one value, or is a number that varies by rounding only."""
    there = values[present]
    if not len(there):
        return ConstantColumn(column.name, None)
    if column.kind is Kind.DATETIME:
        return None
    if column.kind is Kind.CATEGORICAL:
        return ConstantColumn(column.name, there[0]) if len(set(there)) == 1 else None
    size = float(np.abs(there).max())
    if there.min() == there.max() or (there / size).std() <= RELATIVE_SPREAD:
        return ConstantColumn(column.name, float(there[0]))
    return None


def fit_numeric(name: str, values: Float64) -> NumericEncoding:
    """Mean, standard deviation, range and rank-normal map of the observed values (n,)."""
    from scipy.stats import norm
    from sklearn.preprocessing import QuantileTransformer, StandardScaler

    # Numbers near the limit of float64 overflow when they are squared or summed, so the moments
    # are taken in units of the largest one: a power of two, which changes no digit. What is
    # vanishing beside it is 0, for slopes between such neighbours overflow.
    unit = power_of_two(float(np.abs(values).max()))
    in_units = (values / unit)[:, None]
    in_units[np.abs(in_units) < VANISHING] = 0.0
    scaler = StandardScaler().fit(in_units)
    n_quantiles = min(MOST_QUANTILES, len(values))
    ranks = QuantileTransformer(n_quantiles=n_quantiles, subsample=None).fit(in_units)
    quantiles = ranks.quantiles_[:, 0] * unit
    # The outermost ranks are half a row from the end, not infinitely far out.
    edge = 0.5 / len(values)
    normal_scores = norm.ppf(np.clip(ranks.references_, edge, 1 - edge))
    return NumericEncoding(
        name=name,
        center=float(scaler.mean_[0]) * unit,
        scale=min(max(float(scaler.scale_[0]) * unit, SMALLEST_SCALE), LARGEST),
        low=float(values.min()),
        high=float(values.max()),
        quantiles=quantiles,
        normal_scores=_mean_over_ties(quantiles, normal_scores),
    )


def _mean_over_ties(values: Float64, scores: Float64) -> Float64:
    """Each score replaced by the mean over equal values, so that the map is a function."""
    _, group = np.unique(values, return_inverse=True)
    return (np.bincount(group, scores) / np.bincount(group))[group]
