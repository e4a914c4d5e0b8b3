"""The frozen preprocessor: records in, features out, and what is remarkable about the input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from pydantic.dataclasses import dataclass as config_dataclass

from anomaly.arrays import Bool, Features, Float32, Float64, Int64, Objects, TargetCounts
from anomaly.data.records import Records
from anomaly.data.schema import STRICT, Schema
from anomaly.preprocessing.encodings import (
    BooleanEncoding,
    CategoricalEncoding,
    ConstantColumn,
    CyclicEncoding,
    Encoding,
    NumericEncoding,
)
from anomaly.preprocessing.numbers import NumericColumns, compressed

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

    # That of an enumeration is a call of Python, and every remark is counted by its code.
    __hash__ = str.__hash__

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
    """The encodings of a set of columns, ordered numbers, cycles, booleans, categories.

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

    @cached_property
    def numbers(self) -> NumericColumns:
        """The numeric columns, side by side."""
        return NumericColumns.of([e for e in self.encodings if isinstance(e, NumericEncoding)])

    @cached_property
    def number_names(self) -> tuple[str, ...]:
        """The names of the numeric columns."""
        return tuple(e.name for e in self.encodings if isinstance(e, NumericEncoding))

    @property
    def input_targets(self) -> tuple[Int64, Bool]:
        """Which target each input belongs to, (P,), and whether it is a number, (P,)."""
        owners = [*range(len(self.numbers.ranks))] * self._numeric_copies
        is_number = [True] * len(owners)
        for encoding, target in self._first_targets():
            match encoding:
                case CyclicEncoding():
                    owners += [target, target + 1]
                    is_number += [True, True]
                case BooleanEncoding():
                    owners.append(target)
                    is_number.append(False)
                case CategoricalEncoding():
                    owners += [target] * encoding.classes
                    is_number += [False] * encoding.classes
        masks = self._masks
        return (
            np.array(owners + masks, dtype=np.int64),
            np.array(is_number + [False] * len(masks), dtype=bool),
        )

    def transform(self, records: Records) -> tuple[Float32, Float64, Bool]:
        """Inputs (N, P), targets (N, D), observed (N, D)."""
        if not self.encodings:
            none = np.zeros((len(records), 0))
            return none.astype(np.float32), none, none.astype(bool)
        values = self.values(records)
        present = ~np.isnan(values)
        complete = bool(present.all())
        numeric_inputs, numeric_targets = self._numbers(values)
        inputs = [x if complete else np.where(present, x, 0.0) for x in numeric_inputs]
        targets = [numeric_targets if complete else np.where(present, numeric_targets, 0.0)]
        observed: list[Bool] = [present]
        for encoding in self.encodings[values.shape[1] :]:
            seen, target, there = _encode(encoding, records)
            inputs.append(np.where(there[:, None], seen, 0.0))
            targets.append(np.where(there[:, None], target, 0.0))
            observed.append(np.repeat(there[:, None], target.shape[1], axis=1))
        all_observed = np.concatenate(observed, axis=1)
        if self._masks:
            inputs.append(all_observed[:, self._masks].astype(np.float64))
        return (
            np.concatenate(inputs, axis=1, dtype=np.float32, casting="same_kind"),
            np.concatenate(targets, axis=1),
            all_observed,
        )

    def values(self, records: Records) -> Float64:
        """(N, G) the numeric columns of the records."""
        return records.numbers(self.number_names)

    @property
    def _numeric_copies(self) -> int:
        return 2 if self.numeric_inputs is NumericInputs.BOTH else 1

    def _numbers(self, values: Float64) -> tuple[list[Float64], Float64]:
        """What the encoder sees of numbers, one (N, G) for each copy, and the targets (N, G)."""
        numbers, seen = self.numbers, self.numeric_inputs
        standardised = numbers.standardised(values)
        inputs = []
        if seen is not NumericInputs.RANK_NORMAL:
            inputs.append(numbers.saturated_standardised(standardised))
        if seen is not NumericInputs.STANDARDISED:
            inputs.append(numbers.ranked(numbers.saturated(values)))
        match self.numeric_target:
            case NumericTarget.STANDARDISED:
                return inputs, compressed(standardised)
            case NumericTarget.RANK_NORMAL:
                return inputs, compressed(numbers.ranked(values))

    def _first_targets(self) -> Iterator[tuple[Encoding, int]]:
        """Each encoding with the position of its first target."""
        target = 0
        for encoding in self.encodings:
            yield encoding, target
            target += 2 if isinstance(encoding, CyclicEncoding) else 1

    @cached_property
    def _masks(self) -> list[int]:
        """The targets of which the encoder is told whether they are there."""
        return [
            target for encoding, target in self._first_targets() if encoding.name in self.with_mask
        ]


def _encode(encoding: Encoding, records: Records) -> tuple[Float64, Float64, Bool]:
    """What the encoder sees (N, p), the targets (N, d), and where they are present (N,)."""
    values = records.columns[encoding.name]
    match encoding:
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
        case NumericEncoding():
            raise AssertionError("numbers stand first and are encoded together")


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
        found += [
            ColumnWarning(WarningCode.MISSING_VALUE, column.name, np.flatnonzero(absent))
            for column, absent in records.gaps(self.schema.required)
        ]
        for encoder in (self.features, self.context):
            found += _remarks(encoder, records)
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
        encoder = self.features
        numbers = means[:, : len(encoder.numbers.ranks)]
        match encoder.numeric_target:
            case NumericTarget.STANDARDISED:
                values = encoder.numbers.restore(numbers)
            case NumericTarget.RANK_NORMAL:
                values = encoder.numbers.restore_ranked(numbers)
        restored: dict[str, Float64 | Objects] = {
            encoder.encodings[column].name: values[:, column] for column in range(values.shape[1])
        }
        booleans = [e for e in encoder.encodings if isinstance(e, BooleanEncoding)]
        for column, boolean in enumerate(booleans):
            restored[boolean.name] = probabilities[:, column]
        categories = [e for e in encoder.encodings if isinstance(e, CategoricalEncoding)]
        for category, shares in zip(categories, classes, strict=True):
            # The unknown class never is the expectation: it has no name to show.
            likeliest = shares[:, :-1].argmax(axis=1)
            restored[category.name] = np.array(category.categories, dtype=object)[likeliest]
        return restored


def _remarks(encoder: TableEncoder, records: Records) -> list[ColumnWarning]:
    if not encoder.encodings:
        return []
    outside = encoder.numbers.out_of_range(encoder.values(records))
    found = [
        ColumnWarning(
            WarningCode.OUT_OF_RANGE,
            encoder.encodings[column].name,
            np.flatnonzero(outside[:, column]),
        )
        for column in np.flatnonzero(outside.any(axis=0))
    ]
    for encoding in encoder.encodings:
        if isinstance(encoding, CategoricalEncoding):
            codes = encoding.codes(records.columns[encoding.name])
            rows = np.flatnonzero(codes == len(encoding.categories))
            if len(rows):
                found.append(ColumnWarning(WarningCode.UNSEEN_CATEGORY, encoding.name, rows))
    return found
