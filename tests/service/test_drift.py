"""Drift, as a scrape sees it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from anomaly.arrays import Float64
from anomaly.artifact.directory import save
from anomaly.assembly import DetectorConfig, assemble
from anomaly.backends.backend import Device
from anomaly.calibration import calibrate
from anomaly.data.splits import split_rows
from anomaly.detector import Detector
from anomaly.fitting import FitConfig
from anomaly.reference import Reference, Watched
from anomaly.scores import NegativeELBO
from service.app import create_app
from service.app.edge import Edge
from service.detectors import open_directory
from service.drift import PARTS, DriftWatch, Window
from service.ledger import ROWS_SEEN
from service.metrics import MOST_FEATURES, DriftFigures
from service.scoring.scorer import Common
from service.seen import Seen
from service.settings import DriftSettings, Settings
from tests.service.pumps import SCHEMA, Caller, as_request, normal_records
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
    return DriftWatch(reference(), calibrate(scores, 0.05, unit=unit), ["x0"], settings, 0)


def send(to: DriftWatch, values: Float64, scores: Float64) -> DriftFigures:
    watched = Watched(values[:, None])
    to.rows_seen(Seen(watched, watched.numbers > 1), scores, np.full(len(values), 0.05))
    return to.figures()


def test_a_window_holds_the_last_rows_in_bounded_memory() -> None:
    window, ones = Window(reference(), 0, rows=100, seconds=np.inf), np.ones(5)
    sizes = []
    for value in range(100):
        window.add(Seen.of(Watched(np.full((5, 1), float(value)))), ones)
        sizes.append(window.total().tally.rows)

    assert max(sizes) == 100
    assert min(sizes[20:]) >= 100 - 100 / PARTS


def test_a_window_forgets_what_is_too_old() -> None:
    clock = iter(np.arange(0, 1_000, 1.0))
    window = Window(reference(), 0, rows=10**6, seconds=50.0, now=lambda: next(clock))
    for _ in range(200):
        window.add(Seen.of(Watched(np.zeros((1, 1)))), np.ones(1))

    assert 0 < window.total().tally.rows <= 50


def test_few_rows_are_not_compared() -> None:
    rng, seen = np.random.default_rng(0), watch()

    few = send(seen, rng.normal(size=200), rng.normal(size=200))
    assert (few.window_rows, few.psi, few.error_ratio) == (200, {}, {})
    assert few.calibration_ratio is None

    send(seen, rng.normal(size=200), rng.normal(size=200))
    enough = send(seen, rng.normal(size=200), rng.normal(size=200))
    assert enough.window_rows == 600
    assert 0 < enough.psi["x0"] < 0.1
    assert enough.calibration_ratio == pytest.approx(20)
    # P(z > 1) = 0.159 of what was sent.
    assert enough.error_ratio == pytest.approx({"x0": 0.159 / 0.05}, rel=0.3)


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


def test_the_log_names_the_model_that_alarms(
    make_app: Callable[..., Edge], caplog: pytest.LogCaptureFixture
) -> None:
    caller = Caller(make_app(drift={"seed": 1}))
    records = normal_records(300, seed=5)
    records.columns["flow"][:] += 50
    caller.score(as_request(records))
    caller.samples()

    (record,) = (record for record in caplog.records if "exchangeable" in record.getMessage())
    assert vars(record)["model"] == "pumps"
    assert vars(record)["version"] == "unregistered"


def test_the_first_rows_are_all_looked_at_until_there_are_enough(
    make_app: Callable[..., Edge],
) -> None:
    """Or one request of many rows would leave a dashboard empty."""
    caller = Caller(make_app(drift={"min_rows": 600, "seed": 1}))
    window = ("anomaly_drift_window_rows", (MODEL,))

    caller.score(as_request(normal_records(1_000, seed=5)))
    found = caller.samples()
    assert found[window] == 600
    assert any(name == "anomaly_feature_drift_psi" for name, _ in found)

    caller.score(as_request(normal_records(1_000, seed=6)))
    assert caller.samples()[window] == 600 + ROWS_SEEN


def test_rows_are_not_ranked_among_scores_of_groups() -> None:
    found = send(watch(unit="group"), np.zeros(600), np.ones(600))

    assert (found.log10_martingale, found.alarm) == (None, None)


def test_features_beyond_the_cap_are_not_told_of() -> None:
    names = [f"x{i}" for i in range(MOST_FEATURES)]
    many = dict.fromkeys([*names, "more"], 0.1)
    found = DriftFigures(600, many, many, many, 1.0, 0.0, False)

    told = [labels for name, labels, _ in found.readings() if labels]

    assert told == 3 * [(name,) for name in names]


def test_nothing_is_lost_while_threads_score_and_scrape() -> None:
    seen = watch(DriftSettings(window_rows=10**6))
    zeros = Seen(Watched(np.zeros((2, 1))), np.zeros((2, 1), bool))

    def score() -> None:
        for _ in range(100):
            seen.rows_seen(zeros, np.zeros(2), np.ones(2))
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


def test_columns_whose_relation_breaks_are_told_of_though_none_drifts(
    make_app: Callable[..., Edge], detector: Detector
) -> None:
    """Flow no longer follows pressure: no column for itself differs from what it was."""
    caller = Caller(make_app(drift={"min_rows": 200, "seed": 1}))
    records = normal_records(240, seed=5)
    records.columns["flow"][:] = np.random.default_rng(0).permutation(records.columns["flow"])
    caller.score(as_request(records))

    found = caller.samples()

    def of_columns(name: str) -> dict[str, float]:
        return {labels[0][1]: value for (n, labels), value in found.items() if n == name}

    errors = of_columns("anomaly_feature_error_ratio")
    assert errors.keys() == set(detector.explained)
    assert sorted(errors, key=lambda name: -errors[name])[0] in ("flow", "pressure", "valve_open")
    assert max(errors.values()) > 5
    assert of_columns("anomaly_feature_drift_psi")["flow"] < 0.25


def test_errors_of_normal_rows_are_large_as_seldom_as_bounds_say(
    make_app: Callable[..., Edge], detector: Detector
) -> None:
    """Those of the calibration ratio hold for each column, and the chance of 480 rows comes on
    top."""
    caller = Caller(make_app(drift={"min_rows": 200, "seed": 1}))
    for seed in (5, 6):
        caller.score(as_request(normal_records(240, seed=seed)))

    found = caller.samples()

    lower, upper = (
        found[("anomaly_calibration_ratio_bounds", (("bound", bound), MODEL))]
        for bound in ("lower", "upper")
    )
    chance = 3 * np.sqrt(0.95 / 0.05 / 480)
    for feature in detector.explained:
        ratio = found[("anomaly_feature_error_ratio", (("feature", feature), MODEL))]
        assert lower - chance <= ratio <= upper + chance


def test_where_the_score_has_a_kl_both_parts_are_ranked(caller: Caller, tmp_path: Path) -> None:
    records = normal_records(600)
    config = DetectorConfig(fit=FitConfig(steps=100), score=NegativeELBO(draws=2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        splits = split_rows(600, seed=0)
        made = assemble(SCHEMA, records, splits, config, seed=0, device=Device.CPU).detector
    save(made, tmp_path / "pumps")
    served = open_directory(tmp_path / "pumps", Device.CPU)
    app = create_app(served, Common(Settings(models=("pumps",))))
    app.scorer.begin()
    some = normal_records(200, seed=5)

    found = {}
    for each in (caller, Caller(app)):
        assert each.score(as_request(some)).status_code == 200
        found = each.samples()
        is_elbo = each is not caller
        assert any(name.startswith("anomaly_kl_rank") for name, _ in found) is is_elbo

    ranks = made.part_ranks(made.terms(some))
    assert ranks is not None
    for name, values in (("reconstruction", ranks.reconstruction), ("kl", ranks.kl)):
        assert found[(f"anomaly_{name}_rank_count", (MODEL,))] == 200
        counted = found[(f"anomaly_{name}_rank_bucket", (("le", "0.05"), MODEL))]
        assert counted == (values <= 0.05).sum()


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
