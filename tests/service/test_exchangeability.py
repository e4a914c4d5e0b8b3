"""The service says when its scores are no longer like those of the calibration rows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from anomaly.arrays import Float64
from anomaly.calibration import Calibration, calibrate
from anomaly.data.records import NumericColumns, Records
from service.exchangeability import MOST_PENDING_ROWS, Stream, stream_of
from tests.service.pumps import NUMBERS, Caller, numbers

ALARM = "anomaly_exchangeability_alarm"
CAPITAL = "anomaly_exchangeability_log10_martingale"


def normal(n: int, seed: int) -> Float64:
    return np.random.default_rng(seed).normal(size=n)


@pytest.fixture
def calibration() -> Calibration:
    return calibrate(normal(1000, seed=0))


def send(caller: Caller, records: Records) -> None:
    rows = records.numbers(NUMBERS.names).tolist()
    body = json.dumps({"columns": NUMBERS.names, "rows": rows}).encode()
    assert caller.score(body).status_code == 200


def gauge(caller: Caller, name: str) -> float:
    return caller.samples()[name, (("model", "numbers"),)]


def test_normal_rows_raise_no_alarm_and_rows_of_another_kind_do(numbers_caller: Caller) -> None:
    """A new stream, so that no other test's rows are among its own."""
    assert gauge(numbers_caller, CAPITAL) == 0

    send(numbers_caller, numbers(2000, seed=11))
    quiet = gauge(numbers_caller, ALARM), gauge(numbers_caller, CAPITAL)
    worn = numbers(500, seed=12).numbers(NUMBERS.names) + np.array([0.0, 5.0, 0.0])
    send(numbers_caller, Records(NumericColumns(NUMBERS.names, worn), len(worn)))

    assert quiet[0] == 0
    assert quiet[1] < 3
    assert gauge(numbers_caller, ALARM) == 1
    assert gauge(numbers_caller, CAPITAL) > 3


def test_the_alarm_stays_when_everything_is_as_before(calibration: Calibration) -> None:
    stream = Stream(calibration, threshold=1000, seed=1)
    stream.add(normal(600, seed=2) + 2)
    assert stream.has_alarmed
    highest = stream.log10_capital

    stream.add(normal(50_000, seed=3))

    assert stream.log10_capital < highest
    assert stream.has_alarmed


def test_the_same_seed_and_rows_have_the_same_capital(calibration: Calibration) -> None:
    first, second = (Stream(calibration, 1000, seed=5) for _ in range(2))
    scores = normal(3 * MOST_PENDING_ROWS + 17, seed=6)

    first.add(scores)
    for part in np.array_split(scores, 100):
        second.add(part)

    assert second.log10_capital == pytest.approx(first.log10_capital, abs=1e-9)


def test_the_log_tells_of_the_alarm_once_and_of_the_seed(
    calibration: Calibration, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Stream(calibration, 1000)

    for _ in range(5):
        stream.add(np.full(MOST_PENDING_ROWS, 9.0))

    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert f"seed {stream.seed}" in told[0]


def test_rows_are_not_compared_with_groups() -> None:
    assert stream_of(calibrate(normal(200, seed=0), unit="group"), 1000) is None
