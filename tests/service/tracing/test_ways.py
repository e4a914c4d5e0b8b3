"""Requests have the same answers with spans as without, and the same spans on either way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from service.batcher import Overloaded
from service.detectors import Served
from tests.service.app.listening import Listening, listening
from tests.service.app.test_express import OTHERS, USUAL, is_asked, told, wait_until
from tests.service.tracing.recording import TRACEPARENT, Recording

PHASES = ["decode", "forward", "queue", "respond"]


@pytest.fixture
def recording() -> Recording:
    return Recording()


@pytest.fixture
def service(recording: Recording, served_numbers: Served) -> Iterator[Listening]:
    with listening(served_numbers, recording.tracing()) as started:
        yield started


@pytest.fixture(scope="module")
def plain(served_numbers: Served) -> Iterator[Listening]:
    """The same without spans."""
    with listening(served_numbers) as started:
        yield started


def said(span: ReadableSpan) -> tuple[Any, ...]:
    """What two requests that are the same have in common."""
    attributes = dict(span.attributes or {})
    assert attributes.pop("anomaly.request_id")
    trace = span.context.trace_id if span.parent and span.context else "its own"
    return span.name, attributes, trace, span.parent, span.status.status_code


@pytest.mark.parametrize("request_", USUAL.values(), ids=USUAL)
def test_a_usual_request_takes_the_short_way_and_says_the_same(
    service: Listening, plain: Listening, recording: Recording, request_: bytes
) -> None:
    traced = request_.replace(b"\r\n\r\n", f"\r\ntraceparent: {TRACEPARENT}\r\n\r\n".encode(), 1)

    short, is_ordinary = is_asked(service, traced)
    ordinary = service.exchange(traced[:-1], traced[-1:])

    assert not is_ordinary
    assert told(short) == told(ordinary) == told(plain.exchange(traced))
    # On the ordinary way it ends when the answer has been sent.
    wait_until(lambda: len(recording.servers) == 2)
    one, other = recording.servers
    assert said(one) == said(other)
    assert sorted(recording.phases(one)) == sorted(recording.phases(other)) == PHASES


@pytest.mark.parametrize("request_", OTHERS.values(), ids=OTHERS)
def test_any_other_request_has_its_answer_and_one_span(
    service: Listening, plain: Listening, recording: Recording, request_: bytes
) -> None:
    answer, expected = service.exchange(request_), plain.exchange(request_)

    assert answer.status == expected.status
    if answer.headers["content-type"].endswith("json"):
        assert told(answer) == told(expected)
    wait_until(lambda: bool(recording.servers))
    assert (recording.server.attributes or {})["http.response.status_code"] == answer.status


def test_a_failure_on_the_short_way_is_an_error(service: Listening, recording: Recording) -> None:
    def broken(_: Any) -> Any:
        raise ZeroDivisionError

    service.switch.current.scorer.batcher._compute = broken

    answer, is_ordinary = is_asked(service, USUAL["rows"])

    assert (answer.status, is_ordinary) == (500, False)
    assert recording.server.status.status_code is StatusCode.ERROR
    assert (recording.server.attributes or {})["error.type"] == "500"


def test_what_is_turned_away_has_one_span(
    service: Listening, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the short way has begun one, too."""

    def full(*_: Any, **__: Any) -> Any:
        raise Overloaded("no room", 3)

    monkeypatch.setattr(service.switch.current.scorer.batcher, "enqueue", full)

    answer, is_ordinary = is_asked(service, USUAL["rows"])

    assert (answer.status, is_ordinary) == (503, True)
    wait_until(lambda: bool(recording.servers))
    assert recording.server.status.status_code is StatusCode.ERROR
    assert [span.name for span in recording.spans] == ["decode", "POST /v1/score"]
