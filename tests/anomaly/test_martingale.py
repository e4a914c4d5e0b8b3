"""The martingale: fair bets, uniform ranks, few false alarms, an alarm when the stream changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from anomaly.arrays import Float64
from anomaly.martingale import BETAS, BETS, FEW, ROWS_BETWEEN_STARTS, Bag, Martingale, log_bets
from anomaly.reference import score_edges
from benchmarks.drift_alarm import false_alarms, fixed, online

EDGES = score_edges(np.asarray(stats.norm.ppf((np.arange(1_000) + 0.5) / 1_000)))


def test_the_bets_are_densities_of_beta_distributions_and_shares_at_both_ends() -> None:
    p = np.linspace(0.0005, 0.9995, 1000)

    betas = [stats.beta(a, b).pdf(p) for a, b in BETAS]
    few = [
        1 - share + share * stats.uniform(begin, width).pdf(p)
        for share, width, begin in [(s, w, 0.0) for s, w in FEW] + [(s, w, 1 - w) for s, w in FEW]
    ]

    np.testing.assert_allclose(np.exp(log_bets(p)), np.stack([*betas, *few], axis=1))


def test_every_bet_is_fair() -> None:
    """A density: what is won with uniform ranks is what was staked."""
    p = (np.arange(10**6) + 0.5) / 10**6

    np.testing.assert_allclose(np.exp(log_bets(p)).mean(axis=0), 1.0, atol=2e-3)


def test_there_is_a_bet_on_low_scores_for_each_on_high_ones() -> None:
    p = np.random.default_rng(0).random(50)

    assert sorted(log_bets(p).sum(axis=0)) == pytest.approx(sorted(log_bets(1 - p).sum(axis=0)))


@given(st.lists(st.floats(-3, 3), max_size=30), st.lists(st.floats(-3, 3), max_size=30))
def test_a_rank_counts_the_rows_before_and_itself(before: list[float], scores: list[float]) -> None:
    """As a loop over rows would."""
    bag = Bag(EDGES, np.array(before), seed=3)
    found = bag.ranks(np.array(scores))

    ties = 1 - np.random.default_rng(3).random(len(scores))
    seen = np.searchsorted(EDGES, before).tolist()
    for score, tie, p in zip(scores, ties, found, strict=True):
        own = int(np.searchsorted(EDGES, score))
        seen.append(own)
        higher, same = sum(bin_ > own for bin_ in seen), sum(bin_ == own for bin_ in seen)
        assert p == pytest.approx((higher + tie * same) / len(seen), abs=1e-12)
    assert len(bag) == len(seen)


@pytest.mark.parametrize("digits", [0, 8], ids=["many ties", "no ties"])
def test_ranks_of_exchangeable_scores_are_uniform_and_independent(digits: int) -> None:
    rng = np.random.default_rng(0)
    calibration, stream = np.split(np.round(rng.exponential(size=20_050), digits), [50])

    p = Bag(np.array([0.1, 0.5, 1.0, 2.0]), calibration, seed=1).ranks(stream)

    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert stats.pearsonr(p[:-1], p[1:]).pvalue > 0.01


@given(st.lists(st.integers(1, 60), max_size=6))
def test_how_rows_are_divided_among_calls_changes_nothing(parts: list[int]) -> None:
    p = np.random.default_rng(0).uniform(size=sum(parts))
    whole, divided = Martingale(), Martingale()

    whole.bet(p)
    for some in np.split(p, np.cumsum(parts)[:-1]) if parts else []:
        divided.bet(some)

    assert divided.log_capital == pytest.approx(whole.log_capital, abs=1e-9)


def test_the_capital_is_what_a_row_by_row_account_says() -> None:
    p = np.random.default_rng(1).beta(0.6, 1, size=100)
    waiting, betting = 1.0, np.zeros(BETS)
    for row, bets in enumerate(np.exp(log_bets(p))):
        if row % ROWS_BETWEEN_STARTS == 0:
            begins = waiting / (row // ROWS_BETWEEN_STARTS + 2)
            waiting -= begins
            betting += begins / BETS
        betting *= bets

    martingale = Martingale()
    martingale.bet(p)

    assert martingale.log_capital == pytest.approx(np.log(waiting + betting.sum()))


def test_few_runs_without_a_change_ever_alarm() -> None:
    """A small version of `benchmarks.drift_alarm`."""
    assert not false_alarms(100, 300, "", online)["broken"]


def test_ranks_among_the_calibration_rows_alone_alarm() -> None:
    """The negative control: those ranks are not independent, because they share those rows."""
    assert false_alarms(100, 40, "", fixed)["at_20"] > 0.5


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s + 1,
        lambda s: s - 1,
        lambda s: 2 * s,
        lambda s: 0.3 * s,
        lambda s: np.where(np.arange(len(s)) % 20 == 0, 9.0, s),
        lambda s: np.where(np.arange(len(s)) % 20 == 0, -9.0, s),
    ],
    ids=["higher", "lower: it went blind", "wider", "narrower", "few far out", "few all alike"],
)
def test_a_change_alarms_even_after_a_long_time_without(
    change: Callable[[Float64], Float64],
) -> None:
    rng = np.random.default_rng(0)
    bag, martingale = Bag(EDGES, rng.normal(size=500), seed=0), Martingale()
    martingale.bet(bag.ranks(rng.normal(size=20_000)))
    assert not martingale.has_reached(1000)

    martingale.bet(bag.ranks(change(rng.normal(size=1_000))))

    assert martingale.has_reached(1000)


def test_the_alarm_stays_when_the_capital_is_lost_again() -> None:
    martingale = Martingale()
    martingale.bet(np.full(20, 0.01))
    martingale.bet(np.random.default_rng(0).uniform(size=20_000))

    assert martingale.log10_capital < 3 < martingale.log10_highest
    assert martingale.has_reached(1000)


def test_nothing_overflows() -> None:
    martingale = Martingale()
    for _ in range(20):
        martingale.bet(np.full(10_000, 1e-12))

    assert 1e5 < martingale.log10_capital < np.inf


def test_a_score_that_is_not_finite_ranks_highest() -> None:
    bag = Bag(EDGES, np.zeros(999), seed=0)

    assert (bag.ranks(np.array([np.nan, np.inf])) <= 0.002).all()
