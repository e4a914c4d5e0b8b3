"""The alias is followed; what is broken is refused, and what is served stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from prometheus_client import generate_latest

from anomaly.errors import ArtifactRejected, DependencyDown, ModelNotFound
from service.detectors import Served
from service.metrics import Metrics
from service.routes.problems import ModelRejected
from service.watcher import Watcher


@dataclass
class Shelf:
    """A source whose alias is set by hand; `broken` says what fetching a version raises."""

    first: Served
    alias: str = "1"
    broken: dict[str, Exception] = field(default_factory=dict)
    is_down: bool = False
    is_lost: bool = False
    fetched: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    def version(self) -> str:
        if self.is_down:
            raise DependencyDown("nobody answers.")
        if self.is_lost:
            raise ModelNotFound("no such alias.")
        return self.alias

    def fetch(self) -> Served:
        self.fetched.append(self.alias)
        self.meanwhile()
        if self.alias in self.broken:
            raise self.broken[self.alias]
        return replace(self.first, version=self.alias)

    def keep(self, served: Served) -> None:
        self.kept.append(served.version)


class Bench:
    """A watcher, its source and what it serves."""

    def __init__(self, served: Served, seconds: float = 0.0) -> None:
        first = replace(served, version="1")
        self.shelf = Shelf(first)
        self.served = [first]
        self.metrics = Metrics()
        self.refuses: set[str] = set()
        self.watcher = Watcher(
            self.shelf, lambda: self.served[-1], self.serve, self.metrics.of("pumps"), seconds
        )

    def serve(self, served: Served) -> None:
        if served.version in self.refuses:
            raise ModelRejected("callers would be refused.")
        self.served.append(served)

    def counts(self) -> dict[str, float]:
        """Outcomes that were counted, and `stale`."""
        lines = generate_latest(self.metrics.registry).decode().splitlines()
        found = {
            line.split('"')[3]: float(line.split()[-1])
            for line in lines
            if line.startswith("anomaly_model_reload_total{") and not line.endswith(" 0.0")
        }
        (stale,) = (line for line in lines if line.startswith("anomaly_model_stale{"))
        return {**found, "stale": float(stale.split()[-1])}

    @property
    def is_refused(self) -> bool:
        """Whether it is told that what should be served was refused."""
        return (
            'anomaly_model_refused{model="pumps"} 1.0'
            in generate_latest(self.metrics.registry).decode()
        )


@pytest.fixture
def bench(served: Served) -> Bench:
    return Bench(served)


def test_nothing_happens_while_the_alias_stays(bench: Bench) -> None:
    assert bench.watcher.look().outcome == "unchanged"
    assert bench.shelf.fetched == []
    assert bench.counts() == {"stale": 0.0}


def test_what_the_alias_moves_to_is_served(bench: Bench) -> None:
    bench.shelf.alias = "2"

    found = bench.watcher.look()

    assert (found.outcome, found.version) == ("loaded", "2")
    assert [served.version for served in bench.served] == ["1", "2"]
    assert bench.counts() == {"loaded": 1.0, "stale": 0.0}


def test_a_registry_that_is_down_does_not_make_a_refusal_forgotten_nor_is_one(bench: Bench) -> None:
    bench.shelf.is_down = True
    bench.watcher.look()
    assert not bench.is_refused

    bench.shelf.is_down, bench.shelf.alias = False, "2"
    bench.shelf.broken["2"] = ArtifactRejected("altered")
    bench.watcher.look()
    bench.shelf.is_down = True
    bench.watcher.look()
    assert bench.is_refused


def test_an_older_version_is_served_like_any_other(bench: Bench) -> None:
    for alias in ("3", "2"):
        bench.shelf.alias = alias
        assert bench.watcher.look().outcome == "loaded"


@pytest.mark.parametrize("error", [ArtifactRejected("altered"), ModelNotFound("gone")], ids=str)
def test_what_is_broken_is_refused_once_and_remembered(bench: Bench, error: Exception) -> None:
    bench.shelf.alias, bench.shelf.broken["2"] = "2", error

    outcomes = [bench.watcher.look() for _ in range(3)]

    assert {found.outcome for found in outcomes} == {"refused"}
    assert outcomes[-1].reason == str(error)
    assert bench.shelf.fetched == ["2"]
    assert bench.served[-1].version == "1"
    assert bench.counts() == {"refused": 1.0, "stale": 1.0}
    assert bench.is_refused

    bench.shelf.alias = "1"
    bench.watcher.look()
    assert not bench.is_refused


def test_a_version_that_would_refuse_callers_is_refused(bench: Bench) -> None:
    bench.shelf.alias, bench.refuses = "2", {"2"}

    assert bench.watcher.look().reason == "callers would be refused."
    assert bench.served[-1].version == "1"


def test_a_refused_version_is_tried_again_when_asked_or_after_another(bench: Bench) -> None:
    bench.shelf.alias, bench.shelf.broken["2"] = "2", ArtifactRejected("altered")
    bench.watcher.look()

    assert bench.watcher.look(again=True).outcome == "refused"
    bench.shelf.alias = "1"
    assert bench.watcher.look().outcome == "unchanged"
    assert bench.counts()["stale"] == 0.0
    bench.shelf.alias = "2"
    bench.shelf.broken.clear()
    assert bench.watcher.look().outcome == "loaded"
    assert bench.shelf.fetched == ["2", "2", "2"]


def test_a_registry_that_is_down_changes_nothing_but_is_told(bench: Bench) -> None:
    bench.shelf.is_down = True

    assert bench.watcher.look().outcome == "unreachable"

    assert bench.served[-1].version == "1"
    assert bench.counts() == {"unreachable": 1.0, "stale": 1.0}
    bench.shelf.is_down = False
    bench.watcher.look()
    assert bench.counts()["stale"] == 0.0


class TestRollback:
    def back(self, bench: Bench) -> None:
        """Serve the version before."""

        def roll_back() -> Served:
            bench.served.append(bench.served[-2])
            return bench.served[-1]

        bench.watcher.roll_back(roll_back)

    def test_what_is_left_is_not_served_again_until_the_alias_moves(self, bench: Bench) -> None:
        bench.shelf.alias = "2"
        bench.watcher.look()

        self.back(bench)

        assert bench.watcher.look().outcome == "refused"
        assert bench.served[-1].version == "1"
        assert bench.counts()["stale"] == 1.0
        assert not bench.is_refused
        bench.shelf.alias = "3"
        assert bench.watcher.look().outcome == "loaded"
        assert bench.shelf.kept == ["2", "1", "3"]

    def test_a_registry_that_loses_the_alias_for_a_while_changes_nothing_about_that(
        self, bench: Bench
    ) -> None:
        bench.shelf.alias = "2"
        bench.watcher.look()
        self.back(bench)

        bench.shelf.is_lost = True
        assert bench.watcher.look().outcome == "refused"
        bench.shelf.is_lost = False

        assert bench.watcher.look().outcome == "refused"
        assert bench.served[-1].version == "1"

    def test_a_version_that_is_being_fetched_meanwhile_is_not_served(self, bench: Bench) -> None:
        """Or the version that was to be left would be the one before."""
        bench.shelf.alias = "2"
        bench.watcher.look()
        bench.shelf.alias, bench.shelf.meanwhile = "3", lambda: self.back(bench)

        found = bench.watcher.look()

        assert found.outcome == "refused"
        assert bench.served[-1].version == "1"
        bench.shelf.meanwhile = lambda: None
        assert bench.watcher.look().outcome == "loaded"

    def test_twice_is_where_it_was_and_nothing_is_stale(self, bench: Bench) -> None:
        bench.shelf.alias = "2"
        bench.watcher.look()

        self.back(bench)
        assert bench.counts()["stale"] == 1.0
        self.back(bench)

        assert bench.served[-1].version == "2"
        assert bench.counts()["stale"] == 0.0


def eventually(is_so: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether it becomes so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not is_so():
        time.sleep(0.01)
    return is_so()


def test_it_looks_by_itself_and_survives_what_nobody_thought_of(served: Served) -> None:
    bench = Bench(served, seconds=0.01)
    bench.shelf.alias, bench.shelf.broken["2"] = "2", ZeroDivisionError("a bug")
    bench.watcher.start()
    try:
        assert eventually(lambda: len(bench.shelf.fetched) > 1)
        bench.shelf.broken.clear()
        assert eventually(lambda: bench.served[-1].version == "2")
    finally:
        bench.watcher.stop()


def test_without_a_pause_it_never_looks_by_itself(served: Served) -> None:
    bench = Bench(served, seconds=0.0)
    bench.shelf.alias = "2"

    bench.watcher.start()

    assert not eventually(lambda: bool(bench.shelf.fetched), seconds=0.1)
    bench.watcher.stop()
