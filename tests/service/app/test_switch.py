"""Versions are swapped whole: nobody waits, nobody fails, and no answer mixes two of them."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import Callable
from dataclasses import replace
from threading import Thread
from typing import Any

import httpx
import numpy as np
import pytest

from anomaly.backends.backend import ScoringModel, open_backend
from anomaly.data.schema import Schema
from anomaly.detector import Detector
from anomaly.image_detector import of_tables
from service.app.switch import Switch, check_compatible
from service.detectors import Served
from service.lifecycle import Lifecycle
from service.routes.problems import ModelRejected
from service.scoring.scorer import Common
from service.settings import Settings
from service.watcher import Outcome
from tests.service.pumps import as_request, normal_records

RECORDS = normal_records(3, seed=8)
BODY = json.dumps(as_request(RECORDS)).encode()


def version_of(served: Served, number: int) -> Served:
    """The same model with other weights, so that its scores tell which one it is."""
    detector = of_tables(served.detector)
    model = detector.model
    members = tuple(
        {
            name: (array * np.float32(1 + 0.01 * number)).astype(array.dtype)
            for name, array in member.items()
        }
        for member in model.members
    )
    changed = ScoringModel(model.vae, members, model.score, model.fill)
    backend = open_backend(changed, None, block_rows=detector.backend.block_rows)
    return replace(
        served, detector=replace(detector, backend=backend), version=str(number), digest=str(number)
    )


@pytest.fixture
def switch(served: Served) -> Switch:
    return Switch(version_of(served, 0), Common(Settings(models=("pumps",))))


async def ask(switch: Switch, method: str = "POST", path: str = "/v1/score") -> httpx.Response:
    transport = httpx.ASGITransport(app=switch)
    async with httpx.AsyncClient(transport=transport, base_url="http://pumps") as client:
        headers = {"content-type": "application/json"}
        return await client.request(method, path, content=BODY, headers=headers)


def test_under_load_every_answer_is_wholly_of_one_version(switch: Switch, served: Served) -> None:
    versions = [version_of(served, number) for number in range(4)]
    expected = {
        of.version: of_tables(of.detector).anomaly_score(RECORDS).tolist() for of in versions
    }
    assert len({tuple(scores) for scores in expected.values()}) == len(versions)

    def swap() -> None:
        for number in range(24):
            switch.serve(versions[number % len(versions)])

    async def main() -> list[httpx.Response]:
        found = []
        swapper = Thread(target=swap)
        swapper.start()
        while swapper.is_alive():
            found += await asyncio.gather(*(ask(switch) for _ in range(8)))
        return found

    answers = asyncio.run(main())

    assert {answer.status_code for answer in answers} == {200}
    told = [answer.json() for answer in answers]
    assert len({of["model"]["version"] for of in told}) == len(versions)
    for of in told:
        assert of["scores"] == expected[of["model"]["version"]]
        assert of["model"]["digest"] == of["model"]["version"]


def test_what_describes_the_model_changes_with_it(switch: Switch, served: Served) -> None:
    switch.serve(version_of(served, 7))

    model, described = (
        asyncio.run(ask(switch, "GET", path)).json() for path in ("/v1/model", "/openapi.json")
    )

    assert model["model"]["version"] == "7"
    assert described["info"]["version"] == "pumps 7"


def test_the_version_before_is_served_again_at_once_and_the_other_can_follow(
    switch: Switch, served: Served
) -> None:
    switch.serve(version_of(served, 1))

    assert [switch.roll_back().version for _ in range(3)] == ["0", "1", "0"]


def test_there_is_nothing_to_roll_back_at_first(switch: Switch) -> None:
    with pytest.raises(ModelRejected):
        switch.roll_back()


def changed(detector: Detector, change: Callable[[Schema], Schema]) -> Detector:
    preprocessor = replace(detector.preprocessor, schema=change(detector.schema))
    return replace(detector, preprocessor=preprocessor)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.with_column("site", role="ignore"), None),
        (lambda s: s.with_column("flow", nullable=True), None),
        (lambda s: Schema(s.columns[::-1]), None),
        (lambda s: s.with_column("fault", role="feature"), "needs the column 'fault'"),
        (lambda s: s.with_column("pressure", nullable=False), "no missing value in 'pressure'"),
        (lambda s: Schema(s.columns[:-1]), "does not know columns that callers may send: 'fault'"),
        (lambda s: s.with_column("valve_open", kind="numeric"), "takes 'valve_open' as numeric"),
    ],
    ids=["one less", "more may be missing", "turned", "one more", "strict", "unknown", "kind"],
)
def test_a_model_is_compatible_if_it_takes_whatever_callers_send(
    detector: Detector, change: Callable[[Schema], Schema], reason: str | None
) -> None:
    new = changed(detector, change)

    if reason is None:
        check_compatible(detector, new)
    else:
        with pytest.raises(ModelRejected, match=reason):
            check_compatible(detector, new)


def test_a_model_of_images_does_not_follow_one_of_tables(
    served: Served, served_images: Served
) -> None:
    with pytest.raises(ModelRejected, match="images"):
        check_compatible(served.detector, served_images.detector)


class TestAdministrators:
    def post(self, switch: Switch, path: str) -> tuple[int, dict[str, Any]]:
        answer = asyncio.run(ask(switch, "POST", path))
        return answer.status_code, answer.json()

    def test_can_roll_back(self, switch: Switch, served: Served) -> None:
        switch.hosted.lifecycle = Lifecycle(None, switch.roll_back)
        switch.serve(version_of(served, 1))

        status, answer = self.post(switch, "/v1/models/pumps/rollback")

        assert status == 200
        assert answer == {"outcome": "rolled_back", "model": "pumps", "version": "0"}

    @pytest.mark.parametrize(
        ("outcome", "status"),
        [("loaded", 200), ("unchanged", 200), ("refused", 409), ("unreachable", 503)],
    )
    def test_can_have_the_alias_looked_at(self, switch: Switch, outcome: str, status: int) -> None:
        found = Outcome(outcome, "3", "it is altered.")
        switch.hosted.lifecycle = Lifecycle(lambda: found, switch.roll_back)

        answered, answer = self.post(switch, "/v1/models/pumps/reload")

        assert answered == status
        assert ("altered" in answer.get("detail", "")) == (status != 200)

    def test_are_told_why_not(self, switch: Switch) -> None:
        switch.hosted.lifecycle = Lifecycle(None, switch.roll_back)

        for path, status, code in (
            ("/v1/models/pumps/rollback", 409, "model_rejected"),
            ("/v1/models/pumps/reload", 409, "model_rejected"),
            ("/v1/models/fans/reload", 404, "model_not_found"),
        ):
            answered, answer = self.post(switch, path)
            assert (answered, answer["code"]) == (status, code)


def test_old_versions_are_forgotten_but_for_the_one_before(switch: Switch, served: Served) -> None:
    """Whatever was asked of them: the framework remembers the functions of its routes."""
    known = []
    for number in range(1, 6):
        version = version_of(served, number)
        known.append(weakref.ref(of_tables(version.detector).backend))
        switch.serve(version)
        del version
        for method, path in (("POST", "/v1/score"), ("GET", "/v1/model"), ("GET", "/readyz")):
            assert asyncio.run(ask(switch, method, path)).status_code == 200
    gc.collect()

    assert [backend() is not None for backend in known] == [False] * 3 + [True] * 2
