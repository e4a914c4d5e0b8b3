"""The frozen preprocessor: records in, features out, and what is remarkable about the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from pydantic.dataclasses import dataclass as config_dataclass

from anomaly.arrays import Bool, Features, Float32, Float64, Int64, Objects, TargetCounts
from anomaly.data.records import Records, missing
from anomaly.data.schema import STRICT, Schema
from anomaly.preprocessing.encodings import (
    LARGEST,
    BooleanEncoding,
    CategoricalEncoding,
    ConstantColumn,
    CyclicEncoding,
    Encoding,
    NumericEncoding,
)

MOST_RANKED_COLUMNS = 256
"""Wider tables are shown to the encoder without the rank-normal copy: it would double the work."""


class NumericInputs(StrEnum):
    """What the encoder sees of a number."""

    STANDARDISED = "standardised"
    RANK_NORMAL = "rank_normal"
    BOTH = "both"


class NumericTarget(StrEnum):
    """What the likelihood explains of a number."""

    STANDARDISED = "standardised"
    RANK_NORMAL = "rank_normal"


@config_dataclass(frozen=True, config=STRICT)
class PreprocessingConfig:
    """The choices that hold for every column.

    Attributes:
        numeric_inputs: None is the rule: both up to 256 numeric columns, else standardised.
    """

    numeric_inputs: NumericInputs | None = None
    numeric_target: NumericTarget = NumericTarget.STANDARDISED


class WarningCode(StrEnum):
    """What can be remarkable about a value that is scored all the same."""

    MISSING_VALUE = "missing_value"
    UNSEEN_CATEGORY = "unseen_category"
    OUT_OF_RANGE = "out_of_range"
    CHANGED_CONSTANT = "changed_constant"


@dataclass(frozen=True)
class ColumnWarning:
    """One remark on one column, for the rows it concerns."""

    code: WarningCode
    column: str
    rows: Int64


@dataclass(frozen=True)
class TableEncoder:
    """The encodings of a set of columns, ordered numbers and cycles, booleans, categories.

    Attributes:
        with_mask: The names of columns that were sometimes missing in the fit rows: the encoder
            is told whether they are there.
    """

    encodings: tuple[Encoding, ...]
    numeric_inputs: NumericInputs
    numeric_target: NumericTarget
    with_mask: tuple[str, ...]

    @property
    def counts(self) -> TargetCounts:
        """How many targets of which kind."""
        gaussian = sum(
            {NumericEncoding: 1, CyclicEncoding: 2}.get(type(e), 0) for e in self.encodings
        )
        bernoulli = sum(isinstance(e, BooleanEncoding) for e in self.encodings)
        classes = tuple(e.classes for e in self.encodings if isinstance(e, CategoricalEncoding))
        return TargetCounts(gaussian, bernoulli, classes)

    @property
    def target_columns(self) -> tuple[str, ...]:
        """(D,) the column of each target; a cyclic part has two."""
        return tuple(
            encoding.name
            for encoding in self.encodings
            for _ in range(2 if isinstance(encoding, CyclicEncoding) else 1)
        )

    @property
    def input_targets(self) -> tuple[Int64, Bool]:
        """Which target each input belongs to, (P,), and whether it is a number, (P,)."""
        owners: list[int] = []
        numbers: list[bool] = []
        target = 0
        for encoding in self.encodings:
            match encoding:
                case NumericEncoding():
                    width = 2 if self.numeric_inputs is NumericInputs.BOTH else 1
                    owners += [target] * width
                    numbers += [True] * width
                case CyclicEncoding():
                    owners += [target, target + 1]
                    numbers += [True, True]
                    target += 1
                case BooleanEncoding():
                    owners.append(target)
                    numbers.append(False)
                case CategoricalEncoding():
                    owners += [target] * encoding.classes
                    numbers += [False] * encoding.classes
            if encoding.name in self.with_mask:
                owners.append(target)
                numbers.append(False)
            target += 1
        return np.array(owners, dtype=np.int64), np.array(numbers, dtype=bool)

    def transform(self, records: Records) -> tuple[Float32, Float64, Bool]:
        """Inputs (N, P), targets (N, D), observed (N, D)."""
        inputs: list[Float64] = []
        targets: list[Float64] = []
        observed: list[Bool] = []
        for encoding in self.encodings:
            seen, target, present = self._encode(encoding, records)
            inputs.append(np.where(present[:, None], seen, 0.0))
            targets.append(np.where(present[:, None], target, 0.0))
            observed.append(np.repeat(present[:, None], target.shape[1], axis=1))
            if encoding.name in self.with_mask:
                inputs.append(present[:, None].astype(np.float64))
        return (
            _side_by_side(inputs, len(records)).astype(np.float32),
            _side_by_side(targets, len(records)),
            _side_by_side(observed, len(records)).astype(bool),
        )

    def _encode(self, encoding: Encoding, records: Records) -> tuple[Float64, Float64, Bool]:
        """What the encoder sees (N, p), the targets (N, d), and where they are present (N,)."""
        values = records.columns[encoding.name]
        match encoding:
            case NumericEncoding():
                return self._encode_number(encoding, values.astype(np.float64))
            case CyclicEncoding():
                phases = encoding.phases(values)
                return phases, phases, ~np.isnat(values)
            case BooleanEncoding():
                signed = 2.0 * values[:, None] - 1.0
                return signed, values[:, None], ~np.isnan(values)
            case CategoricalEncoding():
                codes = encoding.codes(values)
                one_hot = (codes[:, None] == np.arange(encoding.classes)).astype(np.float64)
                return one_hot, codes[:, None].astype(np.float64), codes >= 0

    def _encode_number(
        self, encoding: NumericEncoding, values: Float64
    ) -> tuple[Float64, Float64, Bool]:
        z = encoding.standardised(values)
        seen_values = encoding.saturated(values)
        seen: list[Float64] = []
        if self.numeric_inputs is not NumericInputs.RANK_NORMAL:
            seen.append(encoding.standardised(seen_values))
        if self.numeric_inputs is not NumericInputs.STANDARDISED:
            seen.append(encoding.ranked(seen_values))
        match self.numeric_target:
            case NumericTarget.STANDARDISED:
                target = encoding.compressed(z)
            case NumericTarget.RANK_NORMAL:
                target = encoding.compressed(encoding.ranked(values))
        return np.stack(seen, axis=1), target[:, None], ~np.isnan(values)


@dataclass(frozen=True)
class Preprocessor:
    """Records to features, by constants alone.

    Attributes:
        schema: The contract of the records.
        features: What is explained.
        context: What is told.
        constants: Columns that were dropped because the fit rows had one value.
    """

    schema: Schema
    features: TableEncoder
    context: TableEncoder
    constants: tuple[ConstantColumn, ...]

    def transform(self, records: Records) -> Features:
        """Features of N records."""
        inputs, targets, observed = self.features.transform(records)
        context, _, _ = self.context.transform(records)
        return Features(inputs, targets, observed, context)

    def warnings(self, records: Records) -> tuple[ColumnWarning, ...]:
        """What is remarkable about the records; none of it changes a verdict."""
        found = [
            ColumnWarning(WarningCode.CHANGED_CONSTANT, constant.name, rows)
            for constant in self.constants
            if len(rows := np.flatnonzero(constant.changed(records.columns[constant.name])))
        ]
        for column in self.schema.required:
            absent = np.flatnonzero(missing(column, records.columns[column.name]))
            if len(absent):
                found.append(ColumnWarning(WarningCode.MISSING_VALUE, column.name, absent))
        for encoding in (*self.features.encodings, *self.context.encodings):
            found += _remarks(encoding, records)
        return tuple(found)

    def restore(
        self, means: Float64, probabilities: Float64, classes: Sequence[Float64]
    ) -> dict[str, Float64 | Objects]:
        """Expected values by column, in the units of the records.

        Args:
            means: (N, G); probabilities: (N, B); classes: one (N, C) for each category.

        Returns:
            Numbers as numbers, booleans as the probability of true, categories as the likeliest
            name. Cyclic parts and constant columns have no entry.
        """
        restored: dict[str, Float64 | Objects] = {}
        gaussian = bernoulli = categorical = 0
        for encoding in self.features.encodings:
            match encoding:
                case NumericEncoding():
                    restored[encoding.name] = self._restore_number(encoding, means[:, gaussian])
                    gaussian += 1
                case CyclicEncoding():
                    gaussian += 2
                case BooleanEncoding():
                    restored[encoding.name] = probabilities[:, bernoulli]
                    bernoulli += 1
                case CategoricalEncoding():
                    # The unknown class never is the expectation: it has no name to show.
                    likeliest = classes[categorical][:, :-1].argmax(axis=1)
                    restored[encoding.name] = np.array(encoding.categories, dtype=object)[likeliest]
                    categorical += 1
        return restored

    def _restore_number(self, encoding: NumericEncoding, targets: Float64) -> Float64:
        match self.features.numeric_target:
            case NumericTarget.STANDARDISED:
                return encoding.restore(targets)
            case NumericTarget.RANK_NORMAL:
                distinct, first = np.unique(encoding.normal_scores, return_index=True)
                inside = np.clip(targets, distinct[0], distinct[-1])
                quantiles = encoding.quantiles[first] / encoding.unit
                with np.errstate(over="ignore"):
                    beyond = (targets - inside) * encoding.scale
                    values = np.interp(inside, distinct, quantiles) * encoding.unit + beyond
                restored: Float64 = np.clip(values, -LARGEST, LARGEST)
                return restored


def _remarks(encoding: Encoding, records: Records) -> list[ColumnWarning]:
    values = records.columns[encoding.name]
    match encoding:
        case NumericEncoding():
            rows = np.flatnonzero(encoding.out_of_range(values))
            code = WarningCode.OUT_OF_RANGE
        case CategoricalEncoding():
            rows = np.flatnonzero(encoding.codes(values) == len(encoding.categories))
            code = WarningCode.UNSEEN_CATEGORY
        case _:
            return []
    return [ColumnWarning(code, encoding.name, rows)] if len(rows) else []


def _side_by_side(parts: Sequence[Float64 | Bool], n: int) -> Float64:
    return np.concatenate(parts, axis=1) if parts else np.zeros((n, 0))
