"""Categories, cycles and constants, one column at a time."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.data.schema import Cycle
from anomaly.preprocessing.encodings import (
    CategoricalEncoding,
    ConstantColumn,
    CyclicEncoding,
    cycle_share,
)


class TestCategories:
    ENCODING = CategoricalEncoding("site", ("a", "b", "c"))

    def test_known_names_have_their_code_others_the_last_and_missing_none(self) -> None:
        values = np.array(["b", "a", "new", None, "c", ""], dtype=object)
        assert self.ENCODING.codes(values).tolist() == [1, 0, 3, -1, 2, 3]
        assert self.ENCODING.classes == 4

    @given(st.lists(st.one_of(st.none(), st.text()), max_size=10))
    def test_any_text_has_a_code(self, values: list[str | None]) -> None:
        array = np.array([*values, None], dtype=object)[:-1]
        codes = self.ENCODING.codes(array)
        assert ((codes >= -1) & (codes <= 3)).all()


def times(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[us]")


class TestCycles:
    def test_a_minute_before_midnight_is_close_to_midnight(self) -> None:
        encoding = CyclicEncoding("t", Cycle.HOUR_OF_DAY)
        late, early, noon = encoding.phases(
            times("2024-01-01T23:59", "2024-01-02T00:00", "2024-01-02T12:00")
        )
        assert np.linalg.norm(late - early) < 0.01
        assert np.linalg.norm(noon - early) == pytest.approx(2.0)

    @pytest.mark.parametrize(
        ("cycle", "time", "share"),
        [
            (Cycle.HOUR_OF_DAY, "2024-03-05T06:00", 0.25),
            (Cycle.HOUR_OF_DAY, "1955-03-05T18:00", 0.75),
            (Cycle.DAY_OF_YEAR, "2023-01-01T00:00", 0.0),
            (Cycle.DAY_OF_YEAR, "2023-12-31T00:00", 364 / 365),
            (Cycle.DAY_OF_YEAR, "2024-12-31T00:00", 365 / 366),
            (Cycle.DAY_OF_YEAR, "1931-07-02T12:00", 0.5),
        ],
    )
    def test_the_share_of_a_cycle_that_has_passed(
        self, cycle: Cycle, time: str, share: float
    ) -> None:
        assert cycle_share(times(time), cycle)[0] == pytest.approx(share)

    def test_a_week_later_is_the_same_phase_and_weekdays_are_evenly_spaced(self) -> None:
        days = times(*(f"2024-01-{day:02d}T09:00" for day in range(1, 16)))
        share = cycle_share(days, Cycle.DAY_OF_WEEK)
        np.testing.assert_allclose(share[7:], share[:8])
        np.testing.assert_allclose(np.diff(np.sort(share[:7])), 1 / 7)

    @pytest.mark.parametrize("cycle", list(Cycle))
    @given(
        st.datetimes(),
    )
    def test_phases_lie_on_the_unit_circle(self, cycle: Cycle, time: object) -> None:
        moment = np.array([time], dtype="datetime64[us]")
        assert 0 <= cycle_share(moment, cycle)[0] < 1
        phases = CyclicEncoding("t", cycle).phases(moment)
        np.testing.assert_allclose((phases**2).sum(), 1.0)

    @pytest.mark.parametrize("cycle", list(Cycle))
    def test_a_missing_time_has_no_phase(self, cycle: Cycle) -> None:
        assert np.isnan(CyclicEncoding("t", cycle).phases(times("NaT"))).all()


class TestConstants:
    @pytest.mark.parametrize(
        ("value", "same", "other"),
        [
            (3.0, [3.0, np.nan, 3.0 * (1 + 1e-12)], [3.1, -3.0, 1e308]),
            (0.0, [0.0, -0.0, np.nan], [5e-324, 1.0]),
            (1e308, [1e308], [-1e308, 0.0]),
            (None, [np.nan], [0.0, 1.0]),
        ],
    )
    def test_a_number_has_changed_where_it_is_present_and_another_one(
        self, value: float | None, same: list[float], other: list[float]
    ) -> None:
        constant = ConstantColumn("x", value)
        assert not constant.changed(np.array(same)).any()
        assert constant.changed(np.array(other)).all()

    def test_a_name_has_changed_where_it_is_present_and_another_one(self) -> None:
        values = np.array(["a", "b", None], dtype=object)
        assert ConstantColumn("x", "a").changed(values).tolist() == [False, True, False]
        assert ConstantColumn("x", None).changed(values).tolist() == [True, True, False]

    def test_a_time_has_changed_where_the_column_was_always_empty(self) -> None:
        changed = ConstantColumn("x", None).changed(times("NaT", "2024-01-01"))
        assert changed.tolist() == [False, True]


def test_encoding_needs_neither_scikit_learn_nor_scipy_nor_pandas() -> None:
    """What was fitted is constants: the service computes with them alone."""
    program = """
import sys
import numpy as np
from anomaly.preprocessing.encodings import NumericEncoding
from anomaly.preprocessing.preprocessor import NumericInputs, NumericTarget, TableEncoder
from anomaly.data.records import Records
points = np.array([0.0, 1.0])
number = NumericEncoding("x", 0.5, 0.5, 0.0, 1.0, points, points)
encoder = TableEncoder((number,), NumericInputs.BOTH, NumericTarget.STANDARDISED, ())
inputs, targets, observed = encoder.transform(Records({"x": points}, 2))
assert targets.tolist() == [[-1.0], [1.0]]
heavy = {"sklearn", "scipy", "pandas", "torch", "pyarrow"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True)
