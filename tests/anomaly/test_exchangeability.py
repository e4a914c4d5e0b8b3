"""A bettor against exchangeability gains only where there is a change, and never by luck alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from anomaly.arrays import Float64
from anomaly.exchangeability import CHUNK, ConformalMartingale, Start, bets


def stream(seed: int, n_calibration: int = 200) -> ConformalMartingale:
    rng = np.random.default_rng(seed)
    return ConformalMartingale(Start.of(rng.normal(size=n_calibration), rng), rng)


def test_no_bet_is_expected_to_gain() -> None:
    """The integral of each over uniform p-values is 1, by quadrature."""
    edges = np.linspace(0, 1, 2_000_001)
    middles = (edges[1:] + edges[:-1]) / 2

    np.testing.assert_allclose(bets(middles).mean(axis=1), 1, rtol=3e-3)


def test_bets_are_never_negative() -> None:
    assert (bets(np.linspace(0, 1, 1001)) >= 0).all()


def test_ranks_among_all_before_are_uniform_whatever_the_scores() -> None:
    """Ties included: half of these scores are equal."""
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        scores = np.maximum(rng.normal(size=600), 0.0)
        martingale = ConformalMartingale(Start.of(scores[:200], rng), rng)
        found.append(martingale._ranked(np.searchsorted(martingale._edges, scores[200:])))

    assert stats.kstest(np.concatenate(found), "uniform").pvalue > 0.01


def plainly(martingale: ConformalMartingale, p: Float64, n: int) -> float:
    """The same capital, row by row and without logarithms."""
    waiting, betting = 1.0, np.zeros(len(bets(np.zeros(0))))
    for row, value in enumerate(p):
        share = min(0.5, 1 / (row + n + 1))
        betting = (betting + waiting * share / len(betting)) * bets(np.array([value]))[:, 0]
        waiting *= 1 - share
    return float(np.log10(waiting + betting.sum()))


def test_the_capital_is_that_of_betting_row_by_row() -> None:
    martingale = stream(0)
    p = np.random.default_rng(1).random(500) ** 1.3
    n = martingale._begin

    for start in range(0, 500, 77):
        martingale.bet(p[start : start + 77])

    assert martingale.log10 == pytest.approx(plainly(martingale, p, n), abs=1e-9)


def test_how_rows_are_batched_changes_nothing() -> None:
    scores = np.random.default_rng(2).normal(size=3 * CHUNK + 5)
    whole, parts = stream(7), stream(7)

    whole.update(scores)
    for score in scores:
        parts.update(np.array([score]))

    assert parts.log10 == pytest.approx(whole.log10, abs=1e-9)
    assert parts.highest_log10 >= whole.highest_log10 - 1e-9
    assert parts.rows == whole.rows == len(scores)


def ever(n_calibration: int, rows: int, runs: int, threshold: float) -> float:
    """The share of exchangeable streams that ever reach the threshold."""
    reached = 0
    for seed in range(runs):
        martingale = stream(1000 + seed, n_calibration)
        martingale.update(np.random.default_rng(seed).normal(size=rows))
        reached += martingale.highest_log10 >= np.log10(threshold)
    return reached / runs


def test_without_a_change_the_alarm_is_as_rare_as_promised() -> None:
    """P(ever) <= 1/20: of 300 runs of 30 times the calibration rows, a binomial bound at 1e-3."""
    share = ever(n_calibration=100, rows=3_000, runs=300, threshold=20)

    assert share * 300 <= stats.binom.ppf(0.999, 300, 1 / 20)


def test_ranks_among_the_calibration_scores_alone_would_alarm_without_a_change() -> None:
    """The negative control of the test above: the same bets, on p-values that share their luck;
    2 of 40 are promised, and 25 come."""
    reached = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        martingale = stream(seed, 100)
        calibration = np.sort(rng.normal(size=100))
        below = np.searchsorted(calibration, rng.normal(size=10_000))
        p = (100 - below + rng.random(10_000)) / 101
        for start in range(0, len(p), CHUNK):
            martingale.bet(p[start : start + CHUNK])
        reached += martingale.highest_log10 >= np.log10(20)

    assert reached >= 15


@pytest.mark.parametrize(
    "changed",
    [
        lambda rng, n: rng.normal(size=n) + 1.0,
        lambda rng, n: rng.normal(size=n) - 1.0,
        lambda rng, n: np.where(rng.random(n) < 0.1, 9.0, rng.normal(size=n)),
        lambda rng, n: np.full(n, 0.1),
        lambda rng, n: np.full(n, np.nan),
    ],
    ids=["higher", "lower", "a tenth far out", "all the same", "not finite"],
)
@pytest.mark.parametrize("before", [0, 20_000], ids=["at once", "late"])
def test_a_change_is_found(changed: object, before: int) -> None:
    rng = np.random.default_rng(3)
    martingale = stream(3, 1000)
    martingale.update(rng.normal(size=before))
    assert martingale.highest_log10 < 3

    martingale.update(changed(rng, 600))  # type: ignore[operator]

    assert martingale.highest_log10 > 3


def test_the_end_of_the_world_is_a_finite_number() -> None:
    martingale = stream(4, 1000)
    martingale.update(np.full(100_000, 1e300))

    assert np.isfinite(martingale.log10)
    assert martingale.highest_log10 > 20


def test_edges_come_from_scores_that_are_counted_in_no_bin() -> None:
    calibration = np.arange(1000.0)

    start = Start.of(calibration, np.random.default_rng(0))

    assert start.counts.sum() == 750
    assert len(start.counts) == len(start.edges) + 1


@pytest.mark.parametrize("n", [1, 3, 9])
def test_few_calibration_scores_are_enough_to_begin(n: int) -> None:
    martingale = stream(5, n)
    martingale.update(np.random.default_rng(0).normal(size=50))

    assert np.isfinite(martingale.log10)
