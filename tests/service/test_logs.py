"""The log: whatever is logged is one short JSON object a line, without values of bodies."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.app.edge import Edge
from service.logs import LOGGER, LONGEST, REQUEST, LogFormat, Request, formatter
from tests.service.pumps import Caller, as_request, normal_records

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
SECRET = "the secret of the pumps"


def line_of(record: logging.LogRecord, style: LogFormat = LogFormat.JSON) -> str:
    return formatter(style).format(record)


def record(message: str, name: str = LOGGER, **options: Any) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.WARNING, __file__, 1, message, None, None)
    made.__dict__.update(options)
    return made


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What the service logs meanwhile, as a reader of its log sees it."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter(LogFormat.JSON))
    log = logging.getLogger(LOGGER)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    log.removeHandler(handler)
    log.setLevel(level)


def test_a_line_says_when_how_bad_what_and_who() -> None:
    said = json.loads(line_of(record("the registry is gone")))

    assert said.keys() == {"timestamp", "level", "logger", "event"}
    assert (said["level"], said["logger"]) == ("warning", LOGGER)
    assert said["event"] == "the registry is gone"
    when = datetime.fromisoformat(said["timestamp"])
    assert when.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - when) < timedelta(minutes=1)


@given(st.text(st.characters(), max_size=300))
def test_whatever_is_logged_is_one_line_of_json(text: str) -> None:
    line = line_of(record(text))

    assert len(line.splitlines()) == 1
    assert isinstance(json.loads(line)["event"], str)


@pytest.mark.parametrize("style", [LogFormat.JSON, LogFormat.CONSOLE])
def test_a_value_cannot_forge_a_line_or_move_the_cursor(style: LogFormat) -> None:
    forged = 'broken\r\n{"event": "all is well"}\x1b[2J\x9b1A\u2028'

    line = line_of(record(forged), style)

    assert len(line.splitlines()) == 1
    assert not {"\x1b", "\x9b", "\r"} & set(line)


def test_a_long_value_is_cut_and_its_length_told() -> None:
    said = json.loads(line_of(record("a" * 1_000_000, model="m" * 5_000)))

    assert said["event"] == "a" * LONGEST + "... (1000000 characters)"
    assert len(said["model"]) < LONGEST + 50


def test_only_known_fields_are_written() -> None:
    assert "rows" not in json.loads(line_of(record("answered", rows=[[1.0]], status=200)))


def test_an_exception_is_told_by_type_and_place_without_what_it_says() -> None:
    try:
        try:
            int(SECRET)
        except ValueError as error:
            raise KeyError(SECRET) from error
    except KeyError as error:
        exc_info = (type(error), error, error.__traceback__)

    line = line_of(record("failed", exc_info=exc_info))
    said = json.loads(line)["exception"]

    assert said.index("ValueError") < said.index("led to") < said.index("KeyError")
    assert __file__ in said
    assert SECRET not in line


def test_what_asyncio_shows_of_objects_is_left_out() -> None:
    said = f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{SECRET}')>"

    assert SECRET not in line_of(record(said, name="asyncio"))


def test_lines_about_a_request_carry_its_names_and_others_do_not() -> None:
    def inside() -> dict[str, Any]:
        REQUEST.set(Request("r-1", TRACEPARENT))
        said: dict[str, Any] = json.loads(line_of(record("answered")))
        return said

    said = copy_context().run(inside)

    assert (said["request_id"], said["trace_id"]) == ("r-1", TRACE)
    assert said["parent_id"] == "b7ad6b7169203331"
    assert "request_id" not in json.loads(line_of(record("looked")))


@pytest.mark.parametrize("path", ["/v1/score", "/livez", "/nothing"])
def test_a_valid_traceparent_comes_back_and_another_does_not(caller: Caller, path: str) -> None:
    valid = caller("GET", path, headers={"traceparent": TRACEPARENT})
    broken = caller("GET", path, headers={"traceparent": TRACEPARENT[:-1]})

    assert valid.headers["traceparent"] == TRACEPARENT
    assert "traceparent" not in broken.headers


def test_a_failure_in_a_request_is_logged_under_its_names_and_tells_no_value(
    make_app: Callable[..., Edge],
    monkeypatch: pytest.MonkeyPatch,
    lines: Callable[[], list[dict[str, Any]]],
) -> None:
    app = make_app()

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(app.scorer.batcher, "_compute", broken)
    body = json.dumps(as_request(normal_records(1)))
    headers = {"content-type": "application/json", "traceparent": TRACEPARENT}

    answer = Caller(app)("POST", "/v1/score", content=body, headers=headers)

    (said,) = lines()
    assert said["level"] == "error"
    assert said["request_id"] == answer.headers["x-request-id"]
    assert said["trace_id"] == TRACE
    assert "ZeroDivisionError" in said["exception"]
    assert SECRET not in json.dumps(said)


def test_requests_are_logged_only_when_asked_for(
    make_app: Callable[..., Edge], lines: Callable[[], list[dict[str, Any]]]
) -> None:
    body = json.dumps(as_request(normal_records(3))).encode()
    Caller(make_app()).score(body)
    assert lines() == []

    answer = Caller(make_app(access_log=True)).score(body)

    (said,) = lines()
    assert said["event"] == "answered"
    assert said["request_id"] == answer.headers["x-request-id"]
    assert (said["handler"], said["method"], said["status"]) == ("/v1/score", "POST", 200)
    assert said["body_bytes"] == len(body)
    assert 0 < said["seconds"] < 60


def test_a_path_that_is_none_of_ours_is_not_repeated(
    make_app: Callable[..., Edge], lines: Callable[[], list[dict[str, Any]]]
) -> None:
    Caller(make_app(access_log=True))("GET", f"/nothing/{SECRET}")

    assert lines()[0]["handler"] == "none"
