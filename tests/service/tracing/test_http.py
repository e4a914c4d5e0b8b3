"""A request over HTTP that scores has a span, and its phases have spans below it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from opentelemetry.trace import StatusCode, format_span_id

from service.access.gate import Gate
from service.access.keys import KeyFile, Role, make_key, write_keys
from service.app import create_app
from service.detectors import Served
from service.logs import LOGGER, LogFormat, formatter
from service.scoring.scorer import Common
from service.settings import Settings
from tests.service.pumps import NUMBERS, Caller, as_request, normal_records, numbers
from tests.service.tracing.recording import (
    PARENT,
    TRACE,
    TRACEPARENT,
    UNSAMPLED,
    Recording,
    context_of,
    ids_of,
)
from tests.service.weave import ImageCaller, files_of

SECRET = "the secret of the pumps"
JSON = {"content-type": "application/json"}
SCORE = json.dumps(
    {"columns": NUMBERS.names, "rows": numbers(3, seed=5).numbers(NUMBERS.names).tolist()}
)


@pytest.fixture
def recording() -> Recording:
    return Recording()


@pytest.fixture
def make_caller(recording: Recording, served_numbers: Served) -> Callable[..., Caller]:
    """Speaks to an application with spans."""

    def make(served: Served = served_numbers, gate: Gate | None = None, **options: Any) -> Caller:
        common = Common(Settings(models=("m",), **options), recording.tracing())
        app = create_app(served, common, gate)
        app.scorer.begin()
        return Caller(app)

    return make


@pytest.fixture
def caller(make_caller: Callable[..., Caller]) -> Caller:
    return make_caller()


def test_the_span_of_a_request_says_what_it_was(caller: Caller, recording: Recording) -> None:
    answer = caller("POST", "/v1/score", content=SCORE, headers=JSON)

    span = recording.server
    assert span.name == "POST /v1/score"
    assert span.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/score",
        "url.path": "/v1/score",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "http.request.body.size": len(SCORE),
        "http.response.status_code": 200,
        "anomaly.request_id": answer.headers["x-request-id"],
    }
    assert span.status.status_code is StatusCode.UNSET


def test_a_route_of_a_model_is_named_by_its_template(caller: Caller, recording: Recording) -> None:
    caller("POST", "/v1/models/numbers/score", content=SCORE, headers=JSON)

    assert recording.server.name == "POST /v1/models/{name}/score"


def test_it_is_below_the_span_of_its_caller(caller: Caller, recording: Recording) -> None:
    headers = {**JSON, "traceparent": TRACEPARENT, "tracestate": "shop=1"}

    answer = caller("POST", "/v1/score", content=SCORE, headers=headers)

    span = recording.server
    assert ids_of(span)[0] == TRACE
    assert context_of(span).trace_state.to_header() == "shop=1"
    assert span.parent is not None
    assert format_span_id(span.parent.span_id) == PARENT
    assert span.parent.is_remote
    assert answer.headers["traceparent"] == TRACEPARENT


@pytest.mark.parametrize("headers", [{}, {"traceparent": TRACEPARENT[:-1]}])
def test_without_a_valid_parent_it_begins_a_trace(
    headers: dict[str, str], caller: Caller, recording: Recording
) -> None:
    caller("POST", "/v1/score", content=SCORE, headers={**JSON, **headers})

    assert recording.server.parent is None
    assert ids_of(recording.server)[0] != TRACE


def test_its_phases_follow_each_other_within_it(caller: Caller, recording: Recording) -> None:
    caller("POST", "/v1/score", content=SCORE, headers=JSON)

    server = recording.server
    phases = recording.phases(server)
    assert list(phases) == ["decode", "queue", "forward", "respond"]
    times = [time or 0 for span in phases.values() for time in (span.start_time, span.end_time)]
    assert [server.start_time, *times, server.end_time] == sorted(
        [server.start_time or 0, *times, server.end_time or 0]
    )
    assert phases["forward"].attributes == {
        "anomaly.model": "numbers",
        "anomaly.model.version": "unregistered",
        "anomaly.batch.rows": 3,
        "anomaly.batch.requests": 1,
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/score?explain=true", SCORE),
        (
            "/v2/models/numbers/infer",
            json.dumps(
                {
                    "inputs": [
                        {"name": "input", "shape": [1, 3], "datatype": "FP64", "data": [9, 27, 50]}
                    ]
                }
            ),
        ),
        (
            "/invocations",
            json.dumps({"dataframe_split": {"columns": NUMBERS.names, "data": [[9, 27, 50]]}}),
        ),
    ],
)
def test_every_protocol_has_the_same_phases(
    path: str, body: str, caller: Caller, recording: Recording
) -> None:
    assert caller("POST", path, content=body, headers=JSON).status_code == 200

    assert list(recording.phases(recording.server)) == ["decode", "queue", "forward", "respond"]


def test_images_have_them_too(
    make_caller: Callable[..., Caller], served_images: Served, recording: Recording
) -> None:
    caller = ImageCaller(make_caller(served_images).app)

    answer = caller.send(files_of([np.zeros((64, 64, 1), dtype=np.uint8)]))

    assert answer.status_code == 200

    assert list(recording.phases(recording.server)) == ["decode", "queue", "forward", "respond"]


def test_requests_of_one_batch_say_so_and_are_linked(caller: Caller, recording: Recording) -> None:
    batcher = caller.app.scorer.batcher
    begin, compute = threading.Event(), batcher._compute
    batcher._quick_rows = 0
    batcher._compute = lambda jobs: (begin.wait(20), compute(jobs))[1]

    async def until(holds: Callable[[], bool]) -> None:
        while not holds():
            await asyncio.sleep(0.001)

    async def main() -> None:
        transport = httpx.ASGITransport(app=caller.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://numbers") as client:

            def ask() -> asyncio.Task[httpx.Response]:
                return asyncio.create_task(client.post("/v1/score", content=SCORE, headers=JSON))

            alone = ask()
            await until(lambda: batcher._is_busy and not batcher.waiting_rows)
            together = [ask(), ask(), ask()]
            await until(lambda: batcher.waiting_rows == 9)
            begin.set()
            await asyncio.gather(alone, *together)

    asyncio.run(asyncio.wait_for(main(), 20))

    forwards = [recording.phases(server)["forward"] for server in recording.servers]
    sizes = [(span.attributes or {})["anomaly.batch.requests"] for span in forwards]
    assert sorted(map(int, map(str, sizes))) == [1, 3, 3, 3]
    shared = [span for span, size in zip(forwards, sizes, strict=True) if size == 3]
    (first,) = (span for span in shared if not span.links)
    for span in shared:
        assert (span.attributes or {})["anomaly.batch.rows"] == 9
        linked = [link.context.span_id for link in span.links]
        assert linked == ([] if span is first else [context_of(first).span_id])


def test_a_refusal_is_no_error_of_the_service(caller: Caller, recording: Recording) -> None:
    caller("POST", "/v1/score", content="{", headers=JSON)

    attributes = recording.server.attributes or {}
    assert attributes["http.response.status_code"] == 400
    assert "error.type" not in attributes
    assert recording.server.status.status_code is StatusCode.UNSET


def test_a_failure_of_the_service_is_an_error(caller: Caller, recording: Recording) -> None:
    def broken(_: Any) -> Any:
        raise ZeroDivisionError(SECRET)

    caller.app.scorer.batcher._compute = broken

    caller("POST", "/v1/score", content=SCORE, headers=JSON)

    assert (recording.server.attributes or {})["http.response.status_code"] == 500
    assert (recording.server.attributes or {})["error.type"] == "500"
    assert recording.server.status.status_code is StatusCode.ERROR


def test_a_method_that_nobody_knows_is_not_repeated(caller: Caller, recording: Recording) -> None:
    caller("SECRET", "/v1/score")

    assert recording.server.name == "HTTP /v1/score"
    assert (recording.server.attributes or {})["http.request.method"] == "_OTHER"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v1/models", "/nothing", f"/{SECRET}"])
def test_what_does_not_score_has_no_span(path: str, caller: Caller, recording: Recording) -> None:
    caller("GET", path)

    assert recording.spans == ()


def test_no_value_and_no_key_is_in_a_span(
    make_caller: Callable[..., Caller], served: Served, recording: Recording, tmp_path: Path
) -> None:
    key, token = make_key(Role.SCORE, "line 4", days=None, per_minute=None)
    write_keys(tmp_path / "keys.json", [key])
    caller = make_caller(served, Gate(KeyFile(tmp_path / "keys.json")))
    good = as_request(normal_records(2))
    good["rows"][0][good["columns"].index("site")] = SECRET
    bad = {**good, "columns": [SECRET, *good["columns"][1:]]}
    headers = {**JSON, "authorization": f"Bearer {token}", "user-agent": SECRET}

    statuses = [
        caller("POST", f"/v1/score?{query}", content=json.dumps(body), headers=headers).status_code
        for body, query in [(good, ""), (bad, ""), (good, f"x={SECRET}")]
    ]
    refused = caller("POST", "/v1/score", headers={"authorization": "Bearer ak_wrong"})

    assert (statuses, refused.status_code) == ([200, 422, 422], 401)
    assert len(recording.servers) == 4
    written = "".join(span.to_json() for span in recording.spans)
    assert not [said for said in (SECRET, SECRET.split()[1], token, "ak_") if said in written]


@pytest.fixture
def lines() -> Any:
    """What is logged meanwhile."""
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(formatter(LogFormat.JSON).format(record))  # type: ignore[method-assign]
    log = logging.getLogger(LOGGER)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield records
    log.removeHandler(handler)
    log.setLevel(level)


@pytest.mark.parametrize("headers", [{}, {"traceparent": TRACEPARENT}, {"traceparent": UNSAMPLED}])
def test_the_log_has_the_names_of_the_span(
    headers: dict[str, str],
    make_caller: Callable[..., Caller],
    recording: Recording,
    lines: list[str],
) -> None:
    caller = make_caller(access_log=True)

    caller("POST", "/v1/score", content=SCORE, headers={**JSON, **headers})

    (said,) = map(json.loads, lines)
    assert said.get("parent_id") == (PARENT if headers else None)
    if headers:
        assert said["trace_id"] == TRACE
    assert said["span_id"] != PARENT
    for span in recording.servers:
        assert (said["trace_id"], said["span_id"]) == ids_of(span)


def test_what_the_caller_does_not_sample_is_not_recorded(
    caller: Caller, recording: Recording
) -> None:
    caller("POST", "/v1/score", content=SCORE, headers={**JSON, "traceparent": UNSAMPLED})

    assert recording.spans == ()


def test_the_sampler_is_the_one_of_the_environment(
    make_caller: Callable[..., Caller], recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")

    make_caller()("POST", "/v1/score", content=SCORE, headers={**JSON, "traceparent": TRACEPARENT})

    assert recording.spans == ()
