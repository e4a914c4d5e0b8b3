"""Several models in one process: each answers its own, and what befalls one is its own affair."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from anomaly.client import Client, ServiceError
from anomaly.detector import Detector
from anomaly.errors import ConfigInvalid
from anomaly.image_detector import ImageDetector, of_tables
from service.app.models import Models
from service.app.switch import Switch
from service.detectors import Served
from service.scoring.scorer import Common
from service.settings import Queue, Settings
from tests.service.app.test_server import Process, running
from tests.service.app.test_switch import version_of
from tests.service.pumps import as_request, normal_records, numbers
from tests.service.registered import Registry, point_at
from tests.service.weave import files_of, form
from tests.textiles import normal_images

PUMPS, FANS, CLOTH = normal_records(40, seed=5), numbers(40, seed=5), normal_images(3)
MATRIX = FANS.numbers(tuple(FANS.columns))
BODIES: dict[str, dict[str, Any]] = {
    "pumps": {"json": as_request(PUMPS)},
    "fans": {"json": {"columns": list(FANS.columns), "rows": MATRIX.tolist()}},
    "weave": {"files": form(files_of(CLOTH))},
}

HERE = {"device": "cpu", "ready": True}


class Fleet:
    """A running service of three models, and the registry that two of them come from."""

    def __init__(self, process: Process, registry: Registry) -> None:
        self.process = process
        self.registry = registry

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        return httpx.request(method, f"{self.process.url}{path}", timeout=60, **options)

    def scores(self, name: str) -> list[float]:
        answer = self("POST", f"/v1/models/{name}/score", **BODIES[name])
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"]["name"] == name
        found: list[float] = answer.json()["scores"]
        return found

    def versions(self) -> dict[str, str]:
        return {of["name"]: of["version"] for of in self("GET", "/v1/models").json()["models"]}

    def metric(self, name: str, **labels: str) -> dict[str, float]:
        """By model, its sample with these labels."""
        text = httpx.get(self.process.metrics_url).text
        return {
            sample.labels["model"]: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }


@pytest.fixture(scope="module")
def expected(
    detector: Detector, served_numbers: Served, image_detector: ImageDetector
) -> dict[str, list[float]]:
    """What each detector says of its own."""
    return {
        "pumps": detector.anomaly_score(PUMPS).tolist(),
        "fans": of_tables(served_numbers.detector).anomaly_score(FANS).tolist(),
        "weave": image_detector.anomaly_score(CLOTH).tolist(),
    }


@pytest.fixture(scope="module")
def fleet(
    served: Served,
    served_numbers: Served,
    image_artifact: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    registry = Registry(folder)
    registry.add(served.detector, "pumps")
    registry.add(version_of(served, 3).detector, "pumps")
    registry.add(served_numbers.detector, "fans")
    settings = {"RELOAD__SECONDS": "0", "CACHE": str(folder / "cache")}
    models = ("models:/pumps@champion", "models:/fans@champion", str(image_artifact))
    try:
        with running(*models, **settings) as process:
            yield Fleet(process, registry)
    finally:
        point_at("")


def test_each_answers_its_own_to_the_bit(fleet: Fleet, expected: dict[str, list[float]]) -> None:
    assert {name: fleet.scores(name) for name in BODIES} == expected


def test_where_no_path_names_one_the_first_one_answers(
    fleet: Fleet, expected: dict[str, list[float]]
) -> None:
    assert fleet("POST", "/v1/score", **BODIES["pumps"]).json()["scores"] == expected["pumps"]
    assert fleet("GET", "/v1/model").json() == fleet("GET", "/v1/models/pumps").json()
    sent = BODIES["pumps"]["json"]
    split = {"dataframe_split": {"columns": sent["columns"], "data": sent["rows"]}}
    invoked = fleet("POST", "/invocations", json=split).json()["predictions"]
    assert [row["score"] for row in invoked] == expected["pumps"]


def test_they_are_listed_and_each_is_described(fleet: Fleet) -> None:
    listed = fleet("GET", "/v1/models").json()["models"]

    assert listed == [
        {"name": "pumps", "version": "1", "kind": "rows", "alias": "champion", **HERE},
        {"name": "fans", "version": "1", "kind": "rows", "alias": "champion", **HERE},
        {"name": "weave", "version": "unregistered", "kind": "images", "alias": None, **HERE},
    ]
    described = {name: fleet("GET", f"/v1/models/{name}").json() for name in BODIES}
    assert {name: of["model"]["name"] for name, of in described.items()} == {
        name: name for name in BODIES
    }
    assert [c["name"] for c in described["fans"]["columns"]] == list(FANS.columns)
    assert described["weave"]["images"]["channels"] == 1


def test_tritons_client_finds_and_asks_each_of_them(
    fleet: Fleet, expected: dict[str, list[float]]
) -> None:
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(fleet.process.url.removeprefix("http://"))
    tensor = triton.InferInput("input", list(MATRIX.shape), "FP64")
    tensor.set_data_from_numpy(MATRIX)

    index = client.get_model_repository_index()
    scores = client.infer("fans", [tensor]).as_numpy("score")

    assert [(of["name"], of["state"]) for of in index] == [(name, "READY") for name in BODIES]
    assert scores.tolist() == expected["fans"]
    assert all(client.is_model_ready(name) for name in BODIES)
    client.close()


def test_the_client_asks_the_one_that_it_is_told(
    fleet: Fleet, expected: dict[str, list[float]]
) -> None:
    with Client(fleet.process.url, model="fans") as client:
        scored = client.score(pd.DataFrame(MATRIX, columns=list(FANS.columns)))
        assert client.model()["model"]["name"] == "fans"
    other = Client(fleet.process.url, model="secretive", tries=1)
    with other, pytest.raises(ServiceError) as refusal:
        other.model()

    assert scored["score"].tolist() == expected["fans"]
    assert (refusal.value.status, refusal.value.code) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/{}"),
        ("POST", "/v1/models/{}/score"),
        ("POST", "/v1/models/{}/reload"),
        ("POST", "/v1/models/{}/rollback"),
        ("GET", "/v2/models/{}"),
        ("GET", "/v2/models/{}/ready"),
        ("POST", "/v2/models/{}/infer"),
    ],
)
@pytest.mark.parametrize("name", ["secretive", "Pumps", "pumps%20", "%2e%2e", ""])
def test_one_that_is_not_there_is_404_and_its_name_is_not_repeated(
    fleet: Fleet, method: str, path: str, name: str
) -> None:
    answer = fleet(method, path.format(name))

    assert answer.status_code == 404
    assert "secretive" not in answer.text
    problem = "error" if path.startswith("/v2") else "code"
    assert problem in answer.json()


def test_every_route_of_every_model_is_described_with_an_example_that_it_takes(
    fleet: Fleet,
) -> None:
    described = fleet("GET", "/openapi.json").json()
    operations = [of for item in described["paths"].values() for of in item.values()]
    ids = [of["operationId"] for of in operations]

    assert described["info"]["version"].startswith("pumps 1, fans 1, weave ")
    assert len(ids) == len(set(ids))
    for path in ("/v1/score", "/v1/models/pumps/score", "/v1/models/fans/score"):
        content = described["paths"][path]["post"]["requestBody"]["content"]
        example = content["application/json"]["examples"]["rows"]["value"]
        assert fleet("POST", path, json=example).status_code == 200
    content = described["paths"]["/v1/models/weave/score"]["post"]["requestBody"]["content"]
    assert "multipart/form-data" in content
    assert "/v2/models/fans/infer" in described["paths"]


def test_metrics_tell_them_apart(fleet: Fleet) -> None:
    before = fleet.metric("anomaly_rows_scored_total")
    for name in BODIES:
        fleet.scores(name)
    after = fleet.metric("anomaly_rows_scored_total")

    assert {name: after[name] - before[name] for name in BODIES} == {
        "pumps": 40,
        "fans": 40,
        "weave": 3,
    }
    assert fleet.metric("anomaly_model_info").keys() == BODIES.keys()


def test_a_reload_and_a_rollback_of_one_leave_the_others_alone(
    fleet: Fleet, expected: dict[str, list[float]]
) -> None:
    fleet.registry.promote("2", "pumps")

    reloaded = fleet("POST", "/v1/models/pumps/reload")

    assert reloaded.json() == {"outcome": "loaded", "model": "pumps", "version": "2"}
    assert fleet.versions() == {"pumps": "2", "fans": "1", "weave": "unregistered"}
    assert fleet.scores("pumps") != expected["pumps"]
    assert {name: fleet.scores(name) for name in ("fans", "weave")} == {
        name: expected[name] for name in ("fans", "weave")
    }
    assert fleet.metric("anomaly_model_reload_total", outcome="loaded") == {
        "pumps": 1,
        "fans": 0,
        "weave": 0,
    }
    assert "/v2/models/pumps/versions/2" in fleet("GET", "/openapi.json").json()["paths"]
    assert fleet("POST", "/v1/models/fans/rollback").status_code == 409
    assert fleet("POST", "/v1/models/weave/reload").status_code == 409
    assert fleet("POST", "/v1/models/pumps/rollback").json()["version"] == "1"
    assert fleet.scores("pumps") == expected["pumps"]


def test_it_greets_with_all_of_them(fleet: Fleet) -> None:
    first = [line.split(":")[0] for line in fleet.process.greeting.splitlines()[:3]]

    assert first == ["pumps", "fans", "weave"]


class Bench:
    """Two models of tables in this process."""

    def __init__(self, served: Served, other: Served) -> None:
        self.common = Common(Settings(models=("a", "b"), queue=Queue(max_rows=1)))
        self.switches = [Switch(of, self.common) for of in (served, other)]
        self.models = Models(self.switches)

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.models)
            async with httpx.AsyncClient(transport=transport, base_url="http://fleet") as client:
                return await client.request(method, path, **options)

        return asyncio.run(call())


@pytest.fixture
def bench(served: Served, served_numbers: Served) -> Bench:
    return Bench(served, served_numbers)


def test_the_service_is_ready_when_all_of_them_are(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench("GET", "/readyz").json() == {"status": "ready"}
    assert bench("GET", "/readyz?verbose").json() == {
        "status": "ready",
        "models": {"pumps": "ready", "numbers": "ready"},
    }
    monkeypatch.setattr(bench.switches[1].current.scorer.batcher, "_waiting_rows", 1)

    answer = bench("GET", "/readyz?verbose")

    assert answer.status_code == 503
    assert "pumps: ready. numbers: not ready." in answer.json()["detail"]
    assert bench("GET", "/v2/health/ready").status_code == 503
    assert bench("GET", "/v2/models/pumps/ready").status_code == 200
    assert bench("GET", "/v2/models/numbers/ready").status_code == 503
    assert bench("POST", "/v2/repository/index", json={"ready": True}).json() == [
        {"name": "pumps", "version": "unregistered", "state": "READY", "reason": ""}
    ]
    (_, full) = bench("POST", "/v2/repository/index").json()
    assert (full["state"], full["reason"][:11]) == ("UNAVAILABLE", "the service")


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"ready": 1}', b'{"redy": true}', b"[" * 900])
def test_the_index_takes_no_other_body_and_does_not_repeat_it(bench: Bench, body: bytes) -> None:
    answer = bench("POST", "/v2/repository/index", content=body)

    assert answer.status_code == 400
    assert "redy" not in answer.text


def test_a_body_of_the_index_that_is_too_long_is_413(bench: Bench) -> None:
    assert bench("POST", "/v2/repository/index", content=b" " * 2000).status_code == 413


def test_two_of_one_name_are_refused(served: Served) -> None:
    common = Common(Settings(models=("a", "b")))
    switches = [Switch(of, common) for of in (served, replace(served, version="2"))]

    with pytest.raises(ConfigInvalid, match="two of the models are called 'pumps'"):
        Models(switches)


def test_at_the_end_every_model_finishes_what_waits(bench: Bench) -> None:
    """The server says so by the lifespan of ASGI."""
    said: list[str] = []

    async def live() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "lifespan"}

        async def send(message: Any) -> None:
            said.append(message["type"])

        await bench.models({"type": "lifespan"}, receive, send)

    asyncio.run(live())

    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    for path, body in (("/v1/score", "pumps"), ("/v1/models/numbers/score", "fans")):
        answer = bench("POST", path, **BODIES[body])
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
