"""A challenger is shown every row once, or it is counted as dropped; nobody waits for it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from anomaly.detector import Detector, Verdicts
from anomaly.distances import psi
from anomaly.image_detector import ImageDetector
from service.detectors import Served
from service.metrics import AGREEMENTS, SHADOW_OUTCOMES, Families
from service.scoring import shadow as module
from service.scoring.comparison import Comparison, Judged, deciles
from service.scoring.shadow import Shadow, bytes_of
from tests.service.app.test_switch import version_of
from tests.service.pumps import normal_records, numbers
from tests.textiles import normal_images

RECORDS = normal_records(120, seed=9)


def eventually(is_so: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not is_so():
        time.sleep(0.01)
    return is_so()


class Counts:
    """What a scrape would see of one challenger."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.families = Families(self.registry)
        self.comparison = Comparison(self.families, "pumps", "2")

    def of(self, name: str, label: str, value: str) -> float:
        labels = {"model": "pumps", "version": "2", label: value}
        return self.registry.get_sample_value(name, labels) or 0.0

    def rows(self) -> dict[str, float]:
        return {
            outcome: self.of("anomaly_shadow_rows_total", "outcome", outcome)
            for outcome in SHADOW_OUTCOMES
        }

    def verdicts(self) -> dict[str, float]:
        return {
            verdicts: self.of("anomaly_shadow_agreement_total", "verdicts", verdicts)
            for verdicts in AGREEMENTS
        }

    def psi(self) -> float | None:
        return self.registry.get_sample_value(
            "anomaly_shadow_psi", {"model": "pumps", "version": "2"}
        )


@pytest.fixture
def counts() -> Counts:
    return Counts()


@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.booleans(), st.integers(1, 40), st.booleans()),
        max_size=40,
    )
)
def test_agreement_adds_up_to_the_rows_and_psi_is_its_formula(
    rows: list[tuple[int, bool, int, bool]],
) -> None:
    counts = Counts()
    ours = np.array([p / 40 for p, _, _, _ in rows]), np.array([a for _, a, _, _ in rows], bool)
    theirs = np.array([p / 40 for _, _, p, _ in rows]), np.array([a for _, _, _, a in rows], bool)

    for part in (slice(0, 7), slice(7, None)):
        counts.comparison.scored(
            Judged(*(array[part] for array in ours)), Judged(*(array[part] for array in theirs))
        )

    flags = [(a, b) for _, a, _, b in rows]
    assert counts.verdicts() == {
        "both": flags.count((True, True)),
        "neither": flags.count((False, False)),
        "champion_only": flags.count((True, False)),
        "challenger_only": flags.count((False, True)),
    }
    assert sum(counts.verdicts().values()) == counts.rows()["scored"] == len(rows)
    shares = []
    for values in ([p for p, _, _, _ in rows], [p for _, _, p, _ in rows]):
        bins = [sum(4 * k < p <= 4 * (k + 1) for p in values) for k in range(10)]
        shares.append([(count + 0.5) / (len(values) + 5) for count in bins])
    expected = sum((b - a) * math.log(b / a) for a, b in zip(*shares, strict=True))
    assert counts.psi() == pytest.approx(expected, abs=1e-12)


def test_psi_of_a_known_shift() -> None:
    """Half of the rows moved from one of two equal bins to the other; many rows, so that half a row
    in each bin does not count."""
    many = 10**9
    before, after = np.array([2, 2]) * many, np.array([1, 3]) * many

    assert psi(before, before) == 0
    assert psi(before, after) == pytest.approx(0.25 * math.log(3), rel=1e-6)


def test_a_p_value_on_a_bound_belongs_below_it() -> None:
    assert deciles(np.array([0.1, 0.10001, 0.3, 1.0])).tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, 1]


def test_the_challengers_verdicts_are_its_own_whatever_is_scored_together(
    served: Served, detector: Detector, counts: Counts
) -> None:
    challenger = version_of(served, 8)
    shadow = Shadow(challenger, counts.comparison)
    for start in range(0, 120, 3):
        rows = RECORDS.take(slice(start, start + 3))
        shadow.offer(rows, detector.detect(rows))

    assert eventually(lambda: counts.rows()["scored"] == 120)
    shadow.stop()

    assert isinstance(challenger.detector, Detector)
    ours, theirs = (d.detect(RECORDS) for d in (detector, challenger.detector))
    assert counts.verdicts()["both"] == (ours.is_anomaly & theirs.is_anomaly).sum()
    assert counts.verdicts()["challenger_only"] == (theirs.is_anomaly & ~ours.is_anomaly).sum()
    assert counts.psi() == psi(deciles(ours.p_values), deciles(theirs.p_values))


def test_images_are_shown_like_rows(
    served_images: Served, image_detector: ImageDetector, counts: Counts
) -> None:
    images = normal_images(3)
    shadow = Shadow(served_images, counts.comparison)

    shadow.offer(images, image_detector.detect(images))
    shadow.offer([], image_detector.verdicts(np.zeros(0)))

    assert eventually(lambda: counts.rows()["scored"] == 3)
    shadow.stop()
    assert counts.verdicts()["champion_only"] == counts.verdicts()["challenger_only"] == 0
    assert counts.psi() == 0


class Stuck:
    """Scores nothing until it is let go."""

    def __init__(self) -> None:
        self.go = Event()
        self.begun = Event()

    def __call__(self, parts: Sequence[Any]) -> Verdicts:
        self.begun.set()
        self.go.wait(20)
        n = sum(map(len, parts))
        return Verdicts(np.zeros(n), np.ones(n), np.zeros(n, dtype=bool), 0.05, ())


def test_what_there_is_no_room_for_is_dropped_and_counted(
    served: Served, detector: Detector, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck()
    monkeypatch.setattr(module, "MOST_BYTES", 3 * bytes_of(RECORDS))
    monkeypatch.setattr(module, "detection", lambda _: stuck)
    shadow, verdicts = Shadow(served, counts.comparison), detector.detect(RECORDS)

    shadow.offer(RECORDS, verdicts)
    assert stuck.begun.wait(20)
    for _ in range(5):
        shadow.offer(RECORDS, verdicts)

    assert counts.rows() == {"scored": 0, "dropped": 3 * 120, "failed": 0}
    stuck.go.set()
    assert eventually(lambda: counts.rows()["scored"] == 3 * 120)
    shadow.offer(RECORDS, verdicts)
    assert eventually(lambda: counts.rows()["scored"] == 4 * 120)
    shadow.stop()


def test_one_batch_is_taken_however_large_it_is(
    served: Served, detector: Detector, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1)
    shadow = Shadow(served, counts.comparison)

    shadow.offer(RECORDS, detector.detect(RECORDS))

    assert eventually(lambda: counts.rows()["scored"] == 120)
    shadow.stop()


def test_what_waits_at_the_end_and_what_comes_after_it_are_counted_as_dropped(
    served: Served, detector: Detector, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 60.0)
    shadow, verdicts = Shadow(served, counts.comparison), detector.detect(RECORDS)

    shadow.offer(RECORDS, verdicts)
    shadow.stop()
    shadow.offer(RECORDS, verdicts)

    assert counts.rows() == {"scored": 0, "dropped": 240, "failed": 0}


def test_a_challenger_that_fails_is_counted_and_said_once(
    served: Served, detector: Detector, counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    other = replace(served, version="2", detector=fails(detector))
    shadow = Shadow(other, counts.comparison)
    for count in (1, 2):
        shadow.offer(RECORDS, detector.detect(RECORDS))
        assert eventually(lambda: counts.rows()["failed"] == count * 120)  # noqa: B023
    shadow.stop()

    assert counts.rows() == {"scored": 0, "dropped": 0, "failed": 240}
    assert caplog.text.count("the challenger, version 2, fails") == 1


def fails(detector: Detector) -> Detector:
    """One that cannot score."""

    class Broken:
        block_rows = detector.backend.block_rows
        device = detector.backend.device

        def score_features(self, *_: Any) -> Any:
            raise ZeroDivisionError("a bug of the challenger")

    return replace(detector, backend=Broken())  # type: ignore[arg-type]


def test_nothing_is_left_of_a_challenger_that_is_forgotten(counts: Counts) -> None:
    counts.comparison.failed(3)
    counts.comparison.forget()

    samples = [sample.labels for family in counts.registry.collect() for sample in family.samples]

    assert [labels for labels in samples if labels.get("version") == "2"] == []


def test_the_size_of_rows_is_what_their_arrays_take() -> None:
    rows = numbers(50)

    assert bytes_of(rows) == 50 * 3 * 8
    assert bytes_of(normal_images(2)) == sum(image.nbytes for image in normal_images(2))
    assert bytes_of(RECORDS) > bytes_of(numbers(120))
