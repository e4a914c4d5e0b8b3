"""A preprocessor taken apart into names and numbers is put together as it was."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.artifact.tensors import build_preprocessor, describe_preprocessor
from anomaly.detector import Detector
from tests import machines


def test_the_same_features_come_out(detector: Detector) -> None:
    preprocessor = detector.preprocessor
    entry, tensors = describe_preprocessor(preprocessor)

    rebuilt = build_preprocessor(detector.schema, entry, tensors)

    found = machines.both(50, 10, seed=3)
    before, after = preprocessor.transform(found), rebuilt.transform(found)
    np.testing.assert_array_equal(after.inputs, before.inputs)
    np.testing.assert_array_equal(after.targets, before.targets)
    np.testing.assert_array_equal(after.observed, before.observed)
    assert rebuilt.constants == preprocessor.constants


def test_numbers_live_in_tensors_and_names_in_the_entry(detector: Detector) -> None:
    entry, tensors = describe_preprocessor(detector.preprocessor)

    assert [part.name for part in entry.features.encodings] == [
        encoding.name for encoding in detector.preprocessor.features.encodings
    ]
    assert [constant.name for constant in entry.constants] == ["voltage"]
    assert all(array.dtype == np.float64 for array in tensors.values())


def test_a_missing_tensor_is_a_key_error(detector: Detector) -> None:
    entry, tensors = describe_preprocessor(detector.preprocessor)
    del tensors["features.0.moments"]

    with pytest.raises(KeyError, match=r"features\.0\.moments"):
        build_preprocessor(detector.schema, entry, tensors)
