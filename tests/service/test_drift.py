"""Drift, as a scrape sees it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from anomaly.arrays import Float64
from anomaly.calibration import calibrate
from anomaly.detector import Detector
from anomaly.reference import Reference, Watched
from service.app.edge import Edge
from service.drift import PARTS, ROWS_WATCHED, DriftWatch, Window, drawn
from service.metrics import MOST_FEATURES, DriftFigures
from service.settings import DriftSettings
from tests.service.pumps import Caller, as_request, normal_records
from tests.service.weave import ImageCaller, files_of
from tests.textiles import normal_images

MODEL = ("model", "pumps")
ONE = DriftSettings(seed=0)


def reference(columns: int = 1) -> Reference:
    names = [f"x{i}" for i in range(columns)]
    rng = np.random.default_rng(0)
    return Reference.of(names, [], Watched(rng.normal(size=(2_000, columns))), rng.normal(size=500))


def watch(settings: DriftSettings = ONE, unit: str = "row") -> DriftWatch:
    scores = np.random.default_rng(1).normal(size=500)
    return DriftWatch(reference(), calibrate(scores, 0.05, unit=unit), settings, 0)


def send(to: DriftWatch, values: Float64, scores: Float64) -> DriftFigures:
    to.rows_scored(Watched(values[:, None]).take, scores, np.full(len(values), 0.05))
    return to.figures()


def test_a_window_holds_the_last_rows_in_bounded_memory() -> None:
    window, ones = Window(reference(), rows=100, seconds=np.inf), np.ones(5)
    sizes = []
    for value in range(100):
        window.add(Watched(np.full((5, 1), float(value))), ones)
        sizes.append(window.total()[0].rows)

    assert max(sizes) == 100
    assert min(sizes[20:]) >= 100 - 100 / PARTS


def test_a_window_forgets_what_is_too_old() -> None:
    clock = iter(np.arange(0, 1_000, 1.0))
    window = Window(reference(), rows=10**6, seconds=50.0, now=lambda: next(clock))
    for _ in range(200):
        window.add(Watched(np.zeros((1, 1))), np.ones(1))

    assert 0 < window.total()[0].rows <= 50


def test_few_rows_are_not_compared() -> None:
    rng, seen = np.random.default_rng(0), watch()

    few = send(seen, rng.normal(size=200), rng.normal(size=200))
    assert (few.window_rows, few.psi, few.calibration_ratio) == (200, {}, None)

    send(seen, rng.normal(size=200), rng.normal(size=200))
    enough = send(seen, rng.normal(size=200), rng.normal(size=200))
    assert enough.window_rows == 600
    assert 0 < enough.psi["x0"] < 0.1
    assert enough.calibration_ratio == pytest.approx(20)


@given(st.integers(1, 20_000), st.integers(0, 10))
def test_of_many_rows_at_once_some_are_drawn_from_all_of_them(rows: int, seed: int) -> None:
    found = drawn(rows, np.random.default_rng(seed))

    assert len(found) == min(rows, max(ROWS_WATCHED, rows // 16))
    assert 0 <= found[0] < found[-1] < rows or rows == 1
    assert np.diff(found, append=rows).max() <= 2 * -(-rows // len(found))
    assert (np.diff(found) > 0).all()


def test_every_row_is_as_likely_to_be_drawn() -> None:
    """Whatever the rhythm of a stream is, none of its beats is left out."""
    rng, rows = np.random.default_rng(0), 8 * ROWS_WATCHED

    drawn_often = np.bincount(np.concatenate([drawn(rows, rng) for _ in range(400)]))

    assert stats.chisquare(drawn_often).pvalue > 0.001


@pytest.mark.parametrize("shift", [3.0, -3.0], ids=["higher scores", "it went blind"])
def test_a_changed_stream_alarms_and_the_alarm_stays(shift: float) -> None:
    rng, seen = np.random.default_rng(0), watch()
    assert send(seen, rng.normal(size=250), rng.normal(size=250)).alarm is False

    assert send(seen, rng.normal(size=250), rng.normal(size=250) + shift).alarm is True
    for _ in range(20):
        last = send(seen, rng.normal(size=250), rng.normal(size=250))
    assert last.alarm is True


def test_the_log_tells_of_the_alarm_once_and_of_the_seed(caplog: pytest.LogCaptureFixture) -> None:
    seen = watch()
    for _ in range(5):
        send(seen, np.full(300, 9.0), np.full(300, 9.0))

    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 1
    assert "seed 0" in told[0]


def test_rows_are_not_ranked_among_scores_of_groups() -> None:
    found = send(watch(unit="group"), np.zeros(600), np.ones(600))

    assert (found.log10_martingale, found.alarm) == (None, None)


def test_features_beyond_the_cap_are_not_told_of() -> None:
    names = [f"x{i}" for i in range(MOST_FEATURES)]
    found = DriftFigures(600, dict.fromkeys([*names, "more"], 0.1), {}, 1.0, 0.0, False)

    told = [labels for name, labels, _ in found.readings(names) if labels]

    assert told == [(name,) for name in names]


def test_nothing_is_lost_while_threads_score_and_scrape() -> None:
    seen = watch(DriftSettings(window_rows=10**6))

    def score() -> None:
        for _ in range(100):
            seen.rows_scored(Watched(np.zeros((2, 1))).take, np.zeros(2), np.ones(2))
            seen.figures()

    threads = [Thread(target=score) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen.figures().window_rows == 800


def test_a_scrape_tells_of_every_column(make_app: Callable[..., Edge], detector: Detector) -> None:
    caller = Caller(make_app(drift={"min_rows": 200, "seed": 1}))
    records = normal_records(240, seed=5)
    for start in (0, 120):
        some = records.take(np.arange(start, start + 120))
        assert caller.score(as_request(some)).status_code == 200

    found = caller.samples()

    assert found[("anomaly_drift_window_rows", (MODEL,))] == 240
    assert found[("anomaly_exchangeability_alarm", (MODEL,))] == 0
    assert ("anomaly_calibration_ratio", (MODEL,)) in found
    for feature in detector.reference.features:
        labels = (("feature", feature), MODEL)
        assert 0 <= found[("anomaly_feature_drift_psi", labels)] < 0.5
    numbers = {of.name for of in detector.reference.numbers}
    told = {labels[0][1] for name, labels in found if name == "anomaly_feature_drift_wasserstein"}
    assert told == numbers


def test_a_shifted_column_is_the_one_that_drifts(make_app: Callable[..., Edge]) -> None:
    caller = Caller(make_app(drift={"min_rows": 200, "seed": 1}))
    records = normal_records(240, seed=5)
    records.columns["flow"][:] += 2 * np.nanstd(records.columns["flow"])
    caller.score(as_request(records))

    found = caller.samples()

    psi = {
        labels[0][1]: value
        for (name, labels), value in found.items()
        if name == "anomaly_feature_drift_psi"
    }
    assert max(psi, key=lambda name: psi[name]) == "flow"
    distance = found[("anomaly_feature_drift_wasserstein", (("feature", "flow"), MODEL))]
    assert distance == pytest.approx(2, abs=0.5)


def test_images_are_watched_by_brightness_contrast_and_size(
    make_image_app: Callable[..., Edge],
) -> None:
    caller = ImageCaller(make_image_app(drift={"min_rows": 1, "seed": 1}))
    assert caller.send(files_of(normal_images(3, seed=2))).status_code == 200

    text = {
        labels[0][1]
        for name, labels in Caller(caller.app).samples()
        if name == "anomaly_feature_drift_psi"
    }
    assert text == {"brightness", "contrast", "width", "height"}
