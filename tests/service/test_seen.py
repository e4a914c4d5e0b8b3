"""What is kept of rows is as much as it says, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.detector import Detector
from service.seen import Seen, TableRows
from tests.service.pumps import normal_records


def kept(detector: Detector, rows: int, site: str | None = None) -> TableRows:
    records = normal_records(rows, seed=3)
    if site is not None:
        records.columns["site"][0] = site
    terms = detector.terms(records)
    return TableRows.of(records, terms, detector.verdicts(records, terms).warnings)


def test_a_text_that_is_not_known_counts_with_its_length(detector: Detector) -> None:
    usual, long = kept(detector, 5), kept(detector, 5, site="x" * 10**6)

    assert long.nbytes - usual.nbytes == 10**6


@pytest.mark.parametrize("rows", [1, 5, 300])
def test_terms_hold_no_memory_but_their_own(detector: Detector, rows: int) -> None:
    """Blocks are padded, and a view would hold the padding."""
    terms = kept(detector, rows).terms

    for array in (terms.per_target, terms.rest):
        base = array.base
        assert base is None or base.nbytes == array.nbytes


def test_what_is_seen_of_parts_is_what_is_seen_of_the_whole(detector: Detector) -> None:
    whole = kept(detector, 30)
    parts = [whole.take(np.arange(start, start + 10)) for start in (0, 10, 20)]

    together = Seen.of_table(detector, TableRows.together(parts))

    expected = Seen.of_table(detector, whole)
    np.testing.assert_array_equal(together.watched.numbers, expected.watched.numbers)
    np.testing.assert_array_equal(together.large, expected.large)
