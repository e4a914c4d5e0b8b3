"""The numbers of a detector as named arrays, and back."""

from __future__ import annotations

import numpy as np

from anomaly.arrays import Values
from anomaly.artifact.manifest import (
    BooleanEntry,
    CategoricalEntry,
    ConstantEntry,
    CyclicEntry,
    EncoderEntry,
    Entry,
    NumericEntry,
    PreprocessorEntry,
)
from anomaly.data.schema import Schema
from anomaly.preprocessing.encodings import (
    BooleanEncoding,
    CategoricalEncoding,
    ConstantColumn,
    CyclicEncoding,
    Encoding,
    NumericEncoding,
)
from anomaly.preprocessing.preprocessor import Preprocessor, TableEncoder

Tensors = dict[str, Values]


def describe_preprocessor(preprocessor: Preprocessor) -> tuple[PreprocessorEntry, Tensors]:
    """Take a preprocessor apart into names and numbers."""
    features, feature_tensors = _describe_encoder("features", preprocessor.features)
    context, context_tensors = _describe_encoder("context", preprocessor.context)
    constants = tuple(ConstantEntry(c.name, c.value) for c in preprocessor.constants)
    entry = PreprocessorEntry(features, context, constants)
    return entry, {**feature_tensors, **context_tensors}


def build_preprocessor(schema: Schema, entry: PreprocessorEntry, tensors: Tensors) -> Preprocessor:
    """Put it together again.

    Raises:
        KeyError: an array is missing.
    """
    return Preprocessor(
        schema,
        _build_encoder("features", entry.features, tensors),
        _build_encoder("context", entry.context, tensors),
        tuple(ConstantColumn(c.name, c.value) for c in entry.constants),
    )


def _describe_encoder(prefix: str, encoder: TableEncoder) -> tuple[EncoderEntry, Tensors]:
    tensors: Tensors = {}
    entries: list[Entry] = []
    for position, encoding in enumerate(encoder.encodings):
        match encoding:
            case NumericEncoding():
                entries.append(NumericEntry(encoding.name))
                at = f"{prefix}.{position}"
                moments = (encoding.center, encoding.scale, encoding.low, encoding.high)
                tensors[f"{at}.moments"] = np.array(moments, dtype=np.float64)
                tensors[f"{at}.quantiles"] = encoding.quantiles
                tensors[f"{at}.normal_scores"] = encoding.normal_scores
            case BooleanEncoding():
                entries.append(BooleanEntry(encoding.name))
            case CategoricalEncoding():
                entries.append(CategoricalEntry(encoding.name, encoding.categories))
            case CyclicEncoding():
                entries.append(CyclicEntry(encoding.name, encoding.cycle))
    entry = EncoderEntry(
        tuple(entries), encoder.numeric_inputs, encoder.numeric_target, encoder.with_mask
    )
    return entry, tensors


def _build_encoder(prefix: str, entry: EncoderEntry, tensors: Tensors) -> TableEncoder:
    encodings: list[Encoding] = []
    for position, part in enumerate(entry.encodings):
        match part:
            case NumericEntry():
                at = f"{prefix}.{position}"
                center, scale, low, high = (float(x) for x in tensors[f"{at}.moments"])
                quantiles = tensors[f"{at}.quantiles"]
                normal_scores = tensors[f"{at}.normal_scores"]
                encodings.append(
                    NumericEncoding(part.name, center, scale, low, high, quantiles, normal_scores)
                )
            case BooleanEntry():
                encodings.append(BooleanEncoding(part.name))
            case CategoricalEntry():
                encodings.append(CategoricalEncoding(part.name, part.categories))
            case CyclicEntry():
                encodings.append(CyclicEncoding(part.name, part.cycle))
    return TableEncoder(
        tuple(encodings), entry.numeric_inputs, entry.numeric_target, entry.with_mask
    )
