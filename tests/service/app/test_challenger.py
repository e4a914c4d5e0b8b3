"""A challenger is shown what the champion answers, and changes nothing about the answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from anomaly.detector import Detector
from anomaly.distances import psi
from anomaly.errors import ArtifactRejected, DependencyDown, ModelNotFound
from anomaly.image_detector import of_tables
from service.app.challenger import Challenger
from service.app.switch import Switch
from service.detectors import Served
from service.scoring.comparison import deciles
from service.scoring.scorer import Common
from service.settings import Settings
from tests.service.app.test_server import Process, running
from tests.service.app.test_switch import version_of
from tests.service.pumps import as_request, normal_records
from tests.service.registered import NAME, URI, Registry, point_at
from tests.service.scoring.test_shadow import fails

RECORDS = normal_records(360, seed=6)
PARTS = [as_request(RECORDS.take(slice(start, start + 9))) for start in range(0, 360, 9)]


def eventually(is_so: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not is_so():
        time.sleep(0.02)
    return is_so()


def counted(text: str, name: str, label: str, version: str | None = None) -> dict[str, float]:
    """By the value of that label, the samples of that name."""
    return {
        sample.labels[label]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and version in (None, sample.labels.get("version"))
    }


@dataclass(frozen=True)
class Duel:
    """A running service whose registry has a challenger, version 2."""

    process: Process
    registry: Registry

    def metrics(self) -> str:
        return httpx.get(self.process.metrics_url).text

    def shown(self, version: str) -> float:
        found = counted(self.metrics(), "anomaly_shadow_rows_total", "outcome", version)
        return sum(found.values())

    def scores(self) -> list[float]:
        """Of all parts, each a request."""
        found: list[float] = []
        with httpx.Client(timeout=20) as client:
            for part in PARTS:
                answer = client.post(f"{self.process.url}/v1/score", json=part)
                assert answer.status_code == 200
                assert answer.json()["model"]["version"] == "1"
                found += answer.json()["scores"]
        return found


@pytest.fixture(scope="module")
def registry(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """With a champion, version 1, and a challenger, version 2."""
    found = Registry(tmp_path_factory.mktemp("registry"))
    found.add(served.detector)
    found.add(version_of(served, 8).detector)
    found.promote("2", alias="challenger")
    yield found
    point_at("")


@pytest.fixture
def duel(registry: Registry, tmp_path: Path) -> Iterator[Duel]:
    settings = {"RELOAD__SECONDS": "0.2", "CACHE": str(tmp_path / "cache")}
    with running(URI, "--shadow", **settings) as process:
        found = Duel(process, registry)
        assert eventually(lambda: "anomaly_shadow_psi{" in found.metrics())
        yield found


def test_every_row_is_shown_once_and_the_verdicts_add_up(
    duel: Duel, served: Served, detector: Detector
) -> None:
    challenger = of_tables(version_of(served, 8).detector)
    ours, theirs = detector.detect(RECORDS), challenger.detect(RECORDS)

    assert duel.scores() == ours.scores.tolist()
    assert eventually(lambda: duel.shown("2") == len(RECORDS))

    text = duel.metrics()
    assert counted(text, "anomaly_shadow_rows_total", "outcome") == {
        "scored": len(RECORDS),
        "dropped": 0,
        "failed": 0,
    }
    both = counted(text, "anomaly_shadow_agreement_total", "verdicts")
    assert both == {
        "both": (ours.is_anomaly & theirs.is_anomaly).sum(),
        "neither": (~ours.is_anomaly & ~theirs.is_anomaly).sum(),
        "champion_only": (ours.is_anomaly & ~theirs.is_anomaly).sum(),
        "challenger_only": (~ours.is_anomaly & theirs.is_anomaly).sum(),
    }
    assert both["champion_only"] + both["challenger_only"] > 0
    assert counted(text, "anomaly_shadow_psi", "version") == {
        "2": psi(deciles(ours.p_values), deciles(theirs.p_values))
    }
    # Nothing of it is the champion's.
    assert counted(text, "anomaly_rows_scored_total", "version") == {"1": len(RECORDS)}
    assert counted(text, "anomaly_p_value_count", "model") == {NAME: len(RECORDS)}
    reloads = counted(text, "anomaly_model_reload_total", "outcome")
    assert set(reloads.values()) == {0}
    assert counted(text, "anomaly_model_stale", "model") == {NAME: 0}


def test_the_alias_may_go_and_come_back(duel: Duel, detector: Detector) -> None:
    mlflow.MlflowClient().delete_registered_model_alias(NAME, "challenger")

    def is_left_alone() -> bool:
        before = duel.shown("2")
        duel.scores()
        time.sleep(0.5)
        return duel.shown("2") == before

    assert eventually(is_left_alone)
    duel.registry.promote("2", alias="challenger")

    def is_shown() -> bool:
        before = duel.shown("2")
        assert duel.scores() == detector.anomaly_score(RECORDS).tolist()
        time.sleep(0.5)
        return duel.shown("2") > before

    assert eventually(is_shown)


def test_shadow_without_an_alias_to_follow_is_refused(artifact: Path) -> None:
    with pytest.raises(AssertionError, match="challenger"), running(artifact, "--shadow"):
        pass


@dataclass
class Shelf:
    """A source whose alias is set by hand."""

    versions: dict[str, Served]
    alias: str | None = None
    broken: Exception | None = None
    is_down: bool = False
    fetched: list[str] = field(default_factory=list)

    def version(self) -> str:
        if self.is_down:
            raise DependencyDown("nobody answers.")
        if self.alias is None:
            raise ModelNotFound("no such alias.")
        return self.alias

    def fetch(self) -> Served:
        assert self.alias is not None
        self.fetched.append(self.alias)
        if self.broken is not None:
            raise self.broken
        return self.versions[self.alias]

    def keep(self, served: Served) -> None:
        pass


class Bench:
    """A champion, version 0, and challengers in this process."""

    def __init__(self, served: Served, *others: Served) -> None:
        self.common = Common(Settings(models=(URI,), shadow=True))
        self.switch = Switch(version_of(served, 0), self.common)
        self.shelf = Shelf({other.version: other for other in others})
        self.challenger = Challenger(self.switch, self.shelf)

    def point(self, alias: str | None) -> str | None:
        """Move the alias and look; who is the challenger then."""
        self.shelf.alias = alias
        self.challenger.look()
        return self.current

    @property
    def current(self) -> str | None:
        shadow = self.switch.hosted.shadow
        return None if shadow is None else shadow.served.version

    def scores(self) -> list[Any]:
        async def call() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=self.switch)
            async with httpx.AsyncClient(transport=transport, base_url="http://duel") as client:
                return [await client.post("/v1/score", json=part) for part in PARTS]

        answers = asyncio.run(call())
        assert {answer.status_code for answer in answers} == {200}
        return [score for answer in answers for score in answer.json()["scores"]]

    def counts(self, version: str) -> dict[str, float]:
        text = generate_latest(self.common.metrics.registry).decode()
        return counted(text, "anomaly_shadow_rows_total", "outcome", version)


@pytest.fixture
def bench(served: Served) -> Iterator[Bench]:
    made = Bench(served, *(version_of(served, number) for number in range(1, 6)))
    yield made
    made.challenger.stop()


def test_a_challenger_that_fails_changes_no_answer(served: Served, detector: Detector) -> None:
    broken = replace(served, version="2", detector=fails(detector))
    bench = Bench(served, broken)
    before = bench.scores()
    assert bench.point("2") == "2"

    assert bench.scores() == before

    assert eventually(lambda: bench.counts("2")["failed"] == len(RECORDS))
    bench.challenger.stop()
    assert bench.counts("2") == {"scored": 0, "dropped": 0, "failed": len(RECORDS)}


def test_the_alias_is_followed_and_without_it_nobody_is_shown_anything(bench: Bench) -> None:
    assert [bench.point(alias) for alias in (None, "1", "2", None, "2")] == [
        None,
        "1",
        "2",
        None,
        "2",
    ]


def test_a_version_is_fetched_once_as_long_as_the_alias_stays(bench: Bench) -> None:
    for _ in range(3):
        bench.point("1")

    assert bench.shelf.fetched == ["1"]


def test_a_champion_is_not_shown_its_own_answers(bench: Bench, served: Served) -> None:
    assert bench.point("0") is None
    assert bench.point("1") == "1"

    bench.switch.serve(version_of(served, 1))

    assert bench.point("1") is None
    bench.switch.roll_back()
    assert bench.point("1") == "1"


@pytest.mark.parametrize("error", [ArtifactRejected("altered"), ZeroDivisionError("a bug")])
def test_what_is_broken_is_no_challenger_until_the_alias_moves_or_someone_asks(
    bench: Bench, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    assert bench.point("1") == "1"
    bench.shelf.broken = error

    assert [bench.point("2") for _ in range(3)] == [None] * 3
    assert bench.shelf.fetched == ["1", "2"]
    assert caplog.text.count("version 2 is no challenger") == 1
    bench.shelf.broken = None
    bench.challenger.look(again=True)
    assert bench.current == "2"


def test_a_version_that_would_refuse_what_callers_send_is_no_challenger(
    served: Served, served_numbers: Served, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(served, replace(served_numbers, version="9"))

    assert bench.point("9") is None
    assert "needs the column 'speed', which callers do not send" in caplog.text
    assert (
        bench.scores() == of_tables(version_of(served, 0).detector).anomaly_score(RECORDS).tolist()
    )


def test_a_registry_that_is_down_changes_nothing(bench: Bench) -> None:
    bench.point("1")
    bench.shelf.is_down = True

    assert bench.point("2") == "1"
    bench.shelf.is_down = False
    assert bench.point("2") == "2"


def test_after_the_end_nobody_is_shown_anything(bench: Bench) -> None:
    bench.point("1")

    bench.challenger.stop()

    assert bench.current is None
    assert bench.point("2") is None
    bench.scores()
    assert bench.counts("1") == {"scored": 0, "dropped": 0, "failed": 0}


def test_counts_are_kept_of_the_last_challenger_and_the_one_before(bench: Bench) -> None:
    for alias in ("1", "2", "1", "3", "4"):
        bench.point(alias)

    assert [version for version in "12345" if bench.counts(version)] == ["3", "4"]


def test_rows_of_a_request_with_another_alpha_are_shown_at_the_models_own(
    bench: Bench, served: Served
) -> None:
    bench.point("1")
    part = {**PARTS[0], "alpha": 0.5}

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=bench.switch)
        async with httpx.AsyncClient(transport=transport, base_url="http://duel") as client:
            return await client.post("/v1/score", json=part)

    assert sum(asyncio.run(call()).json()["is_anomaly"]) > 1
    assert eventually(lambda: bench.counts("1")["scored"] == 9)
    text = generate_latest(bench.common.metrics.registry).decode()
    found = counted(text, "anomaly_shadow_agreement_total", "verdicts", "1")
    ours, theirs = (
        of_tables(version_of(served, number).detector).detect(RECORDS.take(np.arange(9)))
        for number in (0, 1)
    )
    assert found["both"] + found["champion_only"] == ours.is_anomaly.sum()
    assert found["both"] + found["challenger_only"] == theirs.is_anomaly.sum()
