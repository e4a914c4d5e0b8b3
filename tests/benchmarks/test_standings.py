from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import wilcoxon

from benchmarks.record import Record
from benchmarks.standings import duel, paired, per_table, signed_rank_p, summary


def result(table: str, seed: int, auroc: float, **further: object) -> Record:
    return {
        "method": "m",
        "table": table,
        "seed": seed,
        "auroc": auroc,
        "average_precision": auroc / 2,
        "fit_s": 1.0,
        "score_s": 0.5,
        "test_rows": 100,
        **further,
    }


def test_the_signed_rank_test_is_that_of_all_signs_counted_out() -> None:
    differences = np.array([0.3, -0.1, 0.7, 0.2, 0.5, -0.4, 0.6])
    ranks = np.array([3, 1, 7, 2, 5, 4, 6])
    positive = ranks[differences > 0].sum()

    # Under the null every sign is a toss of a coin: 2^7 sums of positive ranks, equally likely.
    sums = np.array([ranks @ signs for signs in product((0, 1), repeat=7)])
    by_hand = 2 * min((sums >= positive).mean(), (sums <= positive).mean())

    assert signed_rank_p(differences) == pytest.approx(by_hand)
    assert signed_rank_p(differences) == pytest.approx(wilcoxon(differences).pvalue)


def test_nothing_differs_means_no_evidence() -> None:
    assert signed_rank_p(np.zeros(5)) == 1


def test_methods_are_compared_on_common_tables_only() -> None:
    ours = {"a": 0.9, "b": 0.8, "only ours": 0.1}
    theirs = {"a": 0.7, "b": 0.8, "only theirs": 1.0}

    found = paired(ours, theirs)

    assert found is not None
    assert (found.wins, found.tables) == (1, 2)
    assert found.points == pytest.approx(10)
    assert paired(ours, {}) is None


def test_a_mean_is_over_tables_however_many_seeds_each_has() -> None:
    records = [result("a", 0, 0.5), result("a", 1, 0.7), result("b", 0, 0.8)]

    line = summary(records, reference=[])

    assert line["AUROC"] == pytest.approx((60 + 80) / 2)
    assert line["AP"] == pytest.approx(35)
    assert line["tables"] == 2


def test_the_spread_is_that_of_the_means_of_seeds() -> None:
    records = [result(t, seed, 0.5 + 0.1 * seed) for t in "ab" for seed in (0, 1, 2)]

    line = summary(records, reference=[])

    assert line["AUROC seeds"] == "50.00 / 60.00 / 70.00"
    assert line["AUROC sd"] == pytest.approx(10)
    assert summary(records[:1], reference=[])["AUROC sd"] is None


def test_speed_is_all_rows_over_all_seconds_and_a_slow_first_fit_does_not_count() -> None:
    records = [
        result("a", 0, 0.5, fit_s=9.0),
        result("a", 1, 0.5, fit_s=2.0),
        result("a", 2, 0.5, fit_s=2.0, score_s=4.0, test_rows=800),
    ]

    line = summary(records, reference=[])

    assert line["fit_s"] == 2
    assert line["rows_per_s"] == pytest.approx(1_000 / 5)


def test_false_alarms_stand_beside_what_was_asked_for() -> None:
    records = [
        result("a", 0, 0.5, alpha=0.01, false_alarm_rate=0.02),
        result("b", 0, 0.5, alpha=0.05, false_alarm_rate=0.04),
    ]

    assert summary(records, reference=[])["false_alarms"] == "0.0300 of 0.0300"


def test_a_duel_is_won_table_by_table_on_means_over_seeds() -> None:
    ours = [result("a", 0, 0.6), result("a", 1, 0.9), result("b", 0, 0.5)]
    theirs = [result("a", 0, 0.7), result("b", 0, 0.6)]

    line = duel(ours, theirs)

    assert line["AUROC"].wins == 1
    assert line["AUROC"].points == pytest.approx(-2.5)
    assert line["AP"].points == pytest.approx(-1.25)


def test_every_table_has_a_line_and_every_method_a_column() -> None:
    lines = per_table({"x": [result("b", 0, 0.5), result("a", 0, 0.6)], "y": []}, "auroc")

    assert lines == [{"table": "a", "x": 60.0}, {"table": "b", "x": 50.0}]
