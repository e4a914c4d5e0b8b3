from __future__ import annotations

from anomaly.data.splits import split_sizes
from benchmarks.peer_speed import comparison, medians, steps_for


def test_both_sides_show_their_network_equally_many_rows() -> None:
    fit_rows = split_sizes(100_000).fit
    steps = steps_for(100_000, epochs=10, batch_rows=1024)
    steps_an_epoch = -(-fit_rows // 1024)

    ours = steps / steps_an_epoch * fit_rows
    theirs = 10 * 97 * 1024

    assert abs(ours / theirs - 1) < 1e-3


def test_medians_are_taken_over_repeats() -> None:
    records = [{"side": "ours", "fit_s": s} for s in (1.0, 9.0, 2.0)]

    assert medians(records) == {"fit_s": 2.0}


def test_a_ratio_above_one_means_that_we_are_faster() -> None:
    sides = ("equal_fast", "equal_elbo", "default", "fast")
    ours = {
        f"{s}_{key}": v
        for s in sides
        for key, v in {"fit_s": 2.0, "rows_per_s": 300.0, "one_row_ms": 0.5}.items()
    }
    theirs = {"fit_s": 6.0, "rows_per_s_default": 10.0, "rows_per_s_best": 100.0, "one_row_ms": 1.0}

    rows = {row["what"]: row["ratio"] for row in comparison(ours, theirs)}

    assert rows["fit, equal work"] == 3.0
    assert rows["score: same network, one decode; PyOD's best batch"] == 3.0
    assert rows["one row: same network, one decode"] == 2.0
