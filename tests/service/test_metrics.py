"""Metrics: what is counted equals what was sent, and histograms equal prometheus_client's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain
from math import fsum
from threading import Thread
from time import time
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics import parser as strict
from prometheus_client.parser import text_string_to_metric_families

from anomaly.arrays import Bool, Float64
from anomaly.data.schema import Column, Kind, Schema
from anomaly.detector import Detector
from anomaly.preprocessing.preprocessor import WarningCode
from anomaly.preprocessing.watched import WatchedColumns
from anomaly.realised import realised_bounds
from anomaly.reference import Reference
from service.app import create_app
from service.app.edge import Edge
from service.collectors import MOST_PENDING, Distribution, Sums
from service.detectors import Served
from service.ledger import Scored
from service.metrics import (
    LEVEL,
    MARGINS,
    MOST_FEATURES,
    OTHER_FEATURES,
    P_VALUES,
    DriftFigures,
    Metrics,
)
from service.scoring.scorer import Common
from service.settings import Queue, Settings
from service.wire.refusals import Code
from tests.service.pumps import Caller, as_request, normal_records

Sample: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""Name and labels."""

PUMPS = ("model", "pumps")
MODEL = (PUMPS, ("version", "unregistered"))
INFO = {
    "version": "1",
    "run_id": "",
    "alias": "",
    "digest": "",
    "device": "cpu",
}


def of_models(found: dict[Sample, float]) -> dict[Sample, float]:
    """Without those of the process, which are others at every scrape."""
    return {sample: value for sample, value in found.items() if sample[0].startswith("anomaly_")}


def scored_of(
    scores: Float64,
    p_values: Float64,
    is_anomaly: Bool,
    remarks: Mapping[tuple[WarningCode, str], int] = MappingProxyType({}),
) -> Scored:
    """Rows of which nothing was kept."""
    return Scored(scores, p_values, is_anomaly, remarks, lambda _: None)


def reasons(caller: Caller) -> dict[str, float]:
    """How many rows were not scored, by reason."""
    return {
        dict(labels)["reason"]: rows
        for (name, labels), rows in caller.samples().items()
        if name == "anomaly_rejected_rows_total"
    }


def no_drift() -> DriftFigures:
    return DriftFigures(0, {}, {}, {}, None, None, None)


def samples(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, sample.labels.get("le", "")): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def in_openmetrics(registry: CollectorRegistry) -> list[Metric]:
    """What a reader finds who takes nothing that OpenMetrics forbids."""
    write, _ = choose_encoder("application/openmetrics-text; version=1.0.0")
    read = strict.text_string_to_metric_families
    return list(read(write(registry).decode()))  # type: ignore[no-untyped-call]


@given(
    st.lists(st.sampled_from(P_VALUES) | st.floats(0, 2), max_size=50),
    st.lists(st.floats(0, 2), max_size=5),
)
def test_a_histogram_of_an_array_is_the_histogram_of_its_values(
    values: list[float], more: list[float]
) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    distribution = Distribution("p", "p", P_VALUES)
    ours.register(distribution)
    one_by_one = Histogram("p", "p", buckets=P_VALUES, registry=theirs)

    histogram = distribution.labels()
    histogram.many(np.array(values, dtype=np.float64))
    for value in more:
        histogram.one(value)
    for value in [*values, *more]:
        one_by_one.observe(value)

    mine, reference = samples(ours), samples(theirs)
    assert {key: mine[key] for key in mine if key[1]} == {
        (name, f"{float(le):g}" if le != "+Inf" else le): count
        for (name, le), count in reference.items()
        if le
    }
    assert mine[("p_count", "")] == reference[("p_count", "")]
    assert mine[("p_sum", "")] == pytest.approx(reference[("p_sum", "")])


def test_nothing_is_lost_or_counted_twice_while_others_count_and_scrape() -> None:
    registry = CollectorRegistry()
    distribution = Distribution("d", "d", (1.0,), ("who",))
    registry.register(distribution)

    def count(label: str) -> None:
        for number in range(3 * MOST_PENDING):
            distribution.labels(label).one(float(number % 3))
            if number % 500 == 0:
                generate_latest(registry)
        distribution.labels(label).many(np.ones(7))

    threads = [Thread(target=count, args=(label,)) for label in "aabb"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    text = generate_latest(registry).decode()
    for label in "ab":
        assert f'd_bucket{{le="1",who="{label}"}} {2 * (2 * MOST_PENDING + 7)}.0' in text
        assert f'd_count{{who="{label}"}} {2 * (3 * MOST_PENDING + 7)}.0' in text
        assert f'd_sum{{who="{label}"}} {2 * (3 * MOST_PENDING + 7)}.0' in text


def test_where_bounds_are_negative_a_strict_reader_of_openmetrics_is_content() -> None:
    """It refuses a sum, because that could fall, and a count without a sum."""
    registry = CollectorRegistry()
    margins = Distribution("m", "m", MARGINS, ("model",))
    registry.register(margins)

    margins.labels("pumps").many(np.array([-3.0, 0.2, 1.5]))

    (family,) = in_openmetrics(registry)
    found = {sample.labels["le"]: sample.value for sample in family.samples}
    assert (found["-1"], found["1"], found["+Inf"]) == (1, 2, 3)


@given(st.lists(st.lists(st.floats(-1e6, 1e6), max_size=5), max_size=10))
def test_the_sum_of_values_of_either_sign_is_the_difference_of_two_that_never_fall(
    parts: list[list[float]],
) -> None:
    registry = CollectorRegistry()
    sums = Sums("s_total", "s")
    registry.register(sums)
    total, before = sums.labels(), np.zeros(2)

    for part in parts:
        total.many(np.array(part, dtype=np.float64))
        found = np.array(
            [
                registry.get_sample_value("s_total", {"sign": sign})
                for sign in ("positive", "negative")
            ]
        )
        assert (found >= before).all()
        before = found

    assert before[0] - before[1] == pytest.approx(fsum(chain(*parts)), abs=1e-6)


def test_a_strict_reader_of_openmetrics_is_content_with_all_of_it(
    caller: Caller, detector: Detector
) -> None:
    caller.score(as_request(normal_records(4)))
    metrics = caller.app.scorer.common.metrics
    metrics.call_answered("ModelInfer", "OK", 0.1)
    scores = np.array([-3.0, -0.5, 1.0])
    scored = scored_of(scores, np.full(3, 0.5), np.zeros(3, bool))
    metrics.of("negative").rows_scored(scored, detector.calibration, "1")

    families = {family.name: family for family in in_openmetrics(metrics.registry)}

    assert {
        sample.labels["sign"]: sample.value
        for sample in families["anomaly_score"].samples
        if sample.labels["model"] == "negative"
    } == {"positive": 1.0, "negative": 3.5}
    assert {"anomaly_score_margin_ratio", "grpc_server_handled", "http_requests"} < families.keys()


def test_counts_equal_what_was_sent(caller: Caller, detector: Detector) -> None:
    records = normal_records(90, seed=11)
    records.columns["flow"][:5] = -40.0
    body = as_request(records)
    for start in (0, 30, 60):
        part = {**body, "rows": body["rows"][start : start + 30]}
        assert caller.score(part).status_code == 200
    caller.score({"records": [{"flow": "wet"}, {"flow": "wetter"}]})
    caller.score(b"{")
    verdicts = detector.detect(records)

    found = caller.samples()

    assert found[("anomaly_rows_scored_total", MODEL)] == 90
    flagged = found[("anomaly_rows_flagged_total", (("level", LEVEL), *MODEL))]
    assert flagged == verdicts.is_anomaly.sum() >= 5
    assert found[("anomaly_p_value_count", (PUMPS,))] == 90
    positive, negative = (
        found[("anomaly_score_total", (PUMPS, ("sign", sign)))] for sign in ("positive", "negative")
    )
    assert positive - negative == pytest.approx(verdicts.scores.sum())
    assert (
        found[("anomaly_p_value_bucket", (("le", "0.05"), PUMPS))]
        == (verdicts.p_values <= 0.05).sum()
    )
    missing = np.isnan(records.columns["pressure"]).sum()
    assert found[("anomaly_input_missing_total", (("feature", "pressure"), PUMPS))] == missing > 0
    assert found[("anomaly_rejected_rows_total", (PUMPS, ("reason", "not_a_number")))] == 2
    requests = {
        dict(labels)["status"]: value
        for (name, labels), value in found.items()
        if name == "http_requests_total"
    }
    assert requests == {"200": 3, "422": 1, "400": 1}
    assert found[("http_request_duration_seconds_count", (("handler", "/v1/score"),))] == 5
    assert found[("anomaly_batch_rows_sum", (PUMPS,))] == 90
    assert found[("anomaly_inference_seconds_count", (PUMPS, ("phase", "respond")))] == 3
    assert found[("anomaly_queue_rows", (PUMPS,))] == 0


def test_the_threshold_in_force_and_its_grounds_are_told(
    caller: Caller, detector: Detector
) -> None:
    found = caller.samples()
    info = [dict(labels) for (name, labels) in found if name == "anomaly_model_info"]

    assert found[("anomaly_threshold", (("level", LEVEL), PUMPS))] == detector.calibration.threshold
    assert found[("anomaly_target_false_alarm_ratio", (PUMPS,))] == detector.calibration.alpha
    assert found[("anomaly_calibration_rows", (PUMPS,))] == detector.calibration.n
    assert [labels.keys() for labels in info] == [
        {"model", "version", "run_id", "alias", "digest", "device"}
    ]


def test_what_an_alert_compares_with_is_told(caller: Caller, detector: Detector) -> None:
    found = caller.samples()
    calibration = detector.calibration
    lower, upper = realised_bounds(calibration, calibration.alpha)
    ratio = [value / 0.05 for value in realised_bounds(calibration, 0.05)]

    assert found[("anomaly_false_alarm_ratio_lower", (PUMPS,))] == lower
    assert found[("anomaly_false_alarm_ratio_upper", (PUMPS,))] == upper > calibration.alpha
    assert [
        found[("anomaly_calibration_ratio_bounds", (("bound", bound), PUMPS))]
        for bound in ("lower", "upper")
    ] == ratio
    assert found[("anomaly_queue_limit_rows", (PUMPS,))] == Queue().max_rows
    calibrated = found[("anomaly_model_calibrated_timestamp_seconds", (PUMPS,))]
    assert found[("anomaly_model_trained_timestamp_seconds", (PUMPS,))] == calibrated
    assert ("anomaly_gpu_memory_bytes", ()) not in found
    assert time() - 3600 < calibrated <= found[("anomaly_model_loaded_timestamp_seconds", (PUMPS,))]


def test_every_column_is_counted_from_zero_so_that_its_first_remark_is_an_increase(
    caller: Caller,
) -> None:
    found = caller.samples()

    for remark in ("missing", "unseen_category", "out_of_range"):
        for column in ("pressure", "flow", "valve_open", "site", "taken"):
            labels = (("feature", column), PUMPS)
            assert found[(f"anomaly_input_{remark}_total", labels)] == 0


def test_every_reason_not_to_score_is_counted_from_zero_so_that_its_first_row_is_an_increase(
    caller: Caller, make_image_app: Callable[..., Edge]
) -> None:
    of_rows, of_images = reasons(caller), reasons(Caller(make_image_app()))

    assert of_rows.keys() | of_images.keys() == {*Code, "overloaded"}
    assert of_rows.keys() & of_images.keys() == {"overloaded"}
    assert {"not_a_number", "ragged_row", "unseen_category"} < of_rows.keys()
    assert {"image_format", "image_too_many_tiles"} < of_images.keys()
    assert {*of_rows.values(), *of_images.values()} == {0}


def test_a_row_that_is_not_scored_adds_to_a_reason_that_was_there(caller: Caller) -> None:
    before = reasons(caller)

    caller.score({"records": [{"flow": "wet"}, {"flow": 1.0, "flux": 2.0}]})

    after = reasons(caller)
    assert after.keys() == before.keys()
    assert sum(after.values()) == 2


def test_the_process_tells_of_its_memory(caller: Caller) -> None:
    found = caller.samples()

    assert found[("process_resident_memory_bytes", ())] > 2**20


def test_what_lies_above_margin_one_is_exactly_what_is_flagged(detector: Detector) -> None:
    calibration = detector.calibration
    # Around the threshold, within and beyond the tolerance.
    scores = calibration.threshold + calibration.tolerance * np.array([-2, -0.5, 0, 0.5, 2, 1e6])
    p_values = calibration.p_values(scores)
    flagged = calibration.is_anomaly(p_values)
    metrics = Metrics()

    metrics.of("pumps").rows_scored(scored_of(scores, p_values, flagged), calibration, "1")

    found = samples(metrics.registry)
    up_to_one = found[("anomaly_score_margin_ratio_bucket", "1")]
    assert found[("anomaly_score_margin_ratio_bucket", "+Inf")] - up_to_one == flagged.sum() == 2


def test_a_column_is_usually_missing_as_often_as_the_counter_says_of_the_fit_rows(
    served: Served, detector: Detector
) -> None:
    gaps = {"pressure": 9, "flow": 0, "valve_open": 4, "site": 5, "taken": 6}
    rows = normal_records(60, seed=13)
    for at, (column, n) in enumerate(gaps.items()):
        values = rows.columns[column]
        values[np.arange(n) + 10 * at] = {"O": None, "M": np.datetime64("NaT")}.get(
            values.dtype.kind, np.nan
        )
    columns = WatchedColumns.of(detector.schema)
    reference = Reference.of(
        columns.numbers, columns.categories, columns.watched(rows), np.arange(2.0)
    )
    fitted = replace(served, detector=replace(detector, reference=reference))
    caller = Caller(create_app(fitted, Common(Settings(models=("pumps",)))))
    caller.app.scorer.begin()

    assert caller.score(as_request(rows)).status_code == 200

    found = caller.samples()
    for column, made in gaps.items():
        labels = (("feature", column), PUMPS)
        counted = found[("anomaly_input_missing_total", labels)]
        assert counted >= made
        assert found[("anomaly_input_missing_usual_ratio", labels)] == counted / 60


def test_images_lack_nothing_and_nothing_is_told_of_it(make_image_app: Callable[..., Edge]) -> None:
    found = Caller(make_image_app()).samples()

    assert not any("missing" in name for name, _ in found)


def test_another_version_leaves_nothing_of_the_columns_before(detector: Detector) -> None:
    metrics = Metrics()
    for shares in ({"flow": 0.1, "site": 0.2}, {"flow": 0.3, "speed": 0.4}):
        metrics.of("pumps").serving(
            detector.calibration,
            info=INFO,
            trained_at=0.0,
            calibrated_at=0.0,
            loaded_at=0.0,
            features=tuple(shares),
            queue_rows=lambda: 0,
            queue_limit=1,
            drift=no_drift,
            usually_missing=shares,
        )

    told = [
        metrics.registry.get_sample_value(
            "anomaly_input_missing_usual_ratio", {"model": "pumps", "feature": feature}
        )
        for feature in ("flow", "site", "speed")
    ]
    assert told == [0.3, None, 0.4]


def test_columns_beyond_the_cap_share_one_label(detector: Detector) -> None:
    wide = Schema(tuple(Column(f"x{i}", Kind.NUMERIC) for i in range(MOST_FEATURES + 20)))
    metrics = Metrics()
    pumps = metrics.of("pumps")
    pumps.serving(
        detector.calibration,
        info=INFO,
        trained_at=0.0,
        calibrated_at=0.0,
        loaded_at=0.0,
        features=wide.names,
        queue_rows=lambda: 0,
        queue_limit=1,
        drift=no_drift,
        usually_missing=dict.fromkeys(wide.names, 0.25),
    )
    remarks = {(WarningCode.MISSING_VALUE, name): 2 for name in wide.names}
    none = np.zeros(0)

    scored = scored_of(none, none, none.astype(bool), remarks)
    pumps.rows_scored(scored, detector.calibration, "1")

    text = generate_latest(metrics.registry).decode()
    counts = {
        sample.labels["feature"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "anomaly_input_missing_total"
    }
    assert len(counts) == MOST_FEATURES + 1
    assert counts[OTHER_FEATURES] == 40
    assert text.count("anomaly_input_missing_usual_ratio{") == MOST_FEATURES


def test_two_models_share_a_registry_and_no_counts(served: Served, served_numbers: Served) -> None:
    common = Common(Settings(models=("pumps",)))
    pumps, others = (Caller(create_app(of, common)) for of in (served, served_numbers))
    for caller in (pumps, others):
        caller.app.scorer.begin()

    pumps.score(as_request(normal_records(4)))

    found = pumps.samples()
    assert of_models(found) == of_models(others.samples())
    for name, rest in (
        ("anomaly_rows_scored_total", (("version", "unregistered"),)),
        ("anomaly_p_value_count", ()),
        ("anomaly_batch_rows_sum", ()),
        ("anomaly_score_margin_ratio_bucket", (("le", "+Inf"),)),
    ):
        by_model = [
            found[(name, tuple(sorted((("model", model), *rest))))]
            for model in ("pumps", "numbers")
        ]
        assert by_model == [4, 0]
    assert {dict(labels)["model"] for name, labels in found if name == "anomaly_model_info"} == {
        "pumps",
        "numbers",
    }


def test_every_metric_of_a_model_names_it(caller: Caller) -> None:
    caller.score(as_request(normal_records(4)))

    names = {
        name: dict(labels).get("model")
        for name, labels in caller.samples()
        if name.startswith("anomaly_")
    }

    assert len(names) > 20
    assert set(names.values()) == {"pumps"}


def test_two_applications_do_not_share_their_counts(make_app: Callable[..., Edge]) -> None:
    busy, idle = Caller(make_app()), Caller(make_app())

    busy.score(as_request(normal_records(4)))

    assert busy.samples()[("anomaly_rows_scored_total", MODEL)] == 4
    assert idle.samples()[("anomaly_rows_scored_total", MODEL)] == 0


def test_flags_are_counted_at_the_models_rate_whatever_a_request_asks_for(
    caller: Caller, detector: Detector
) -> None:
    records = normal_records(60, seed=12)
    expected = detector.detect(records).is_anomaly.sum()

    answer = caller.score(as_request(records, alpha=0.5)).json()

    assert sum(answer["is_anomaly"]) > expected
    counted = caller.samples()[("anomaly_rows_flagged_total", (("level", LEVEL), *MODEL))]
    assert counted == expected


def test_counts_of_a_version_are_kept_until_the_one_after_the_next(detector: Detector) -> None:
    """A scrape may not have seen the last of them; and they must not pile up for ever."""
    metrics = Metrics()
    kept = []
    for version in "12345":
        metrics.of("pumps").serving(
            detector.calibration,
            info={**INFO, "version": version},
            trained_at=0.0,
            calibrated_at=0.0,
            loaded_at=float(version),
            features=(),
            queue_rows=lambda: 0,
            queue_limit=1,
            drift=no_drift,
        )
        text = generate_latest(metrics.registry).decode()
        kept.append(
            [v for v in "12345" if f'rows_scored_total{{model="pumps",version="{v}"' in text]
        )
        assert text.count("anomaly_model_info{") == 1
        assert f'version="{version}"' in text.split("anomaly_model_info{")[1].splitlines()[0]

    assert kept == [["1"], ["1", "2"], ["2", "3"], ["3", "4"], ["4", "5"]]


def test_memory_of_the_gpu_is_read_at_each_scrape_and_only_where_there_is_one() -> None:
    metrics = Metrics()
    assert "anomaly_gpu_memory_bytes" not in generate_latest(metrics.registry).decode()

    held = iter([1024.0, 2048.0])
    for _ in range(2):  # another version, on the same GPU
        metrics.held_on_gpu(lambda: next(held))

    assert "anomaly_gpu_memory_bytes 1024.0" in generate_latest(metrics.registry).decode()
    assert "anomaly_gpu_memory_bytes 2048.0" in generate_latest(metrics.registry).decode()
