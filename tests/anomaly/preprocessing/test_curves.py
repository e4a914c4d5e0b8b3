"""Curves of many columns are `np.interp` of each, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.arrays import Float64
from anomaly.preprocessing.curves import Curves

RNG = np.random.default_rng(0)
SAMPLES: dict[str, Float64] = {
    "normal": RNG.normal(size=5000),
    "two far heaps": np.append(RNG.normal(size=2500), 1e6 + RNG.normal(size=2500)),
    "many scales": np.exp(5 * RNG.normal(size=5000)),
    "no moments": RNG.standard_cauchy(5000),
    "few values": RNG.integers(0, 5, 5000).astype(float),
    "mostly zero": np.where(RNG.random(5000) < 0.9, 0.0, RNG.lognormal(0, 2, 5000)),
    "two values": np.array([0.25, 0.5]),
    "one value": np.array([0.75]),
    "neighbours in float64": np.linspace(1.0, 1.0 + 49 * 2.0**-52, 50),
}

finite = st.floats(-2, 2, allow_subnormal=True)


def curve_of(sample: Float64) -> tuple[Float64, Float64]:
    """Quantiles and levels that rise with them, equal where they are equal."""
    knots = np.quantile(sample, np.linspace(0, 1, min(257, len(sample))), method="lower")
    return knots, np.searchsorted(knots, knots) / 7.0


def around(knots: Float64) -> Float64:
    """Knots, their neighbours in float64, and what lies between, within the range."""
    between = (knots[1:] + knots[:-1]) / 2
    positions: Float64 = np.concatenate(
        [knots, between, np.nextafter(knots, np.inf), np.nextafter(knots, -np.inf)]
    )
    return positions.clip(knots[0], knots[-1])


@pytest.mark.parametrize("name", SAMPLES)
def test_a_curve_is_numpys_interpolation(name: str) -> None:
    curve = curve_of(SAMPLES[name])
    positions = around(curve[0])

    found = Curves.through([curve]).at(positions[:, None])[:, 0]

    np.testing.assert_array_equal(found, np.interp(positions, *curve))


def test_curves_side_by_side_do_not_see_each_other() -> None:
    curves = [curve_of(sample) for sample in SAMPLES.values()]
    positions = [RNG.choice(around(knots), 200) for knots, _ in curves]

    found = Curves.through(curves).at(np.stack(positions, axis=1))

    for column, (where, curve) in enumerate(zip(positions, curves, strict=True)):
        np.testing.assert_array_equal(found[:, column], np.interp(where, *curve))


@given(sample=st.lists(finite, min_size=1, max_size=40), shares=st.lists(st.floats(0, 1)))
def test_levels_are_finite_and_as_numpys_wherever_those_are(
    sample: list[float], shares: list[float]
) -> None:
    knots, levels = curve_of(np.sort(np.array(sample)))
    inner = knots[0] + np.array(shares) * (knots[-1] - knots[0])
    positions = np.clip(np.append(inner, around(knots)), knots[0], knots[-1])
    expected = np.interp(positions, knots, levels)

    found = Curves.through([(knots, levels)]).at(positions[:, None])[:, 0]

    assert np.isfinite(found).all()
    there = np.isfinite(expected)
    np.testing.assert_array_equal(found[there], expected[there])


def test_no_curve_gives_no_level() -> None:
    assert Curves.through([]).at(np.zeros((3, 0))).shape == (3, 0)
