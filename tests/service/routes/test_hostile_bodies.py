"""No input whatsoever is answered with a 5xx, and no refusal repeats a value."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.app.edge import Edge
from service.settings import Limits
from service.wire.refusals import MOST_LISTED
from tests.service.pumps import Caller, as_request, normal_records

GOOD = as_request(normal_records(3, seed=2))
CANARY = "kanarienvogel"
NUMERIC_CANARY = 987654321.125
JSON_TYPE = {"content-type": "application/json"}


def with_cell(text: str) -> bytes:
    """A good body of which one value is replaced by that text."""
    body = json.dumps(GOOD).encode()
    cell = json.dumps(GOOD["rows"][1][0]).encode()
    assert body.count(cell) == 1
    return body.replace(cell, text.encode("utf-8", "surrogatepass"))


def record(**values: Any) -> bytes:
    names = dict(zip(GOOD["columns"], GOOD["rows"][0], strict=True))
    return json.dumps({"records": [{**names, **values}]}).encode()


HOSTILE: dict[str, tuple[bytes, int, str]] = {
    "cut off": (b'{"columns": ["flow"], "rows": [[1', 400, "json_invalid"),
    "trailing bytes": (json.dumps(GOOD).encode() + b"}", 400, "json_invalid"),
    "two documents": (json.dumps(GOOD).encode() * 2, 400, "json_invalid"),
    "UTF-16": (json.dumps(GOOD).encode("utf-16"), 400, "json_invalid"),
    "byte order mark": (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), 400, "json_invalid"),
    "invalid UTF-8": (b'{"records": [{"site": "\xc3\x28"}]}', 400, "json_invalid"),
    "control character": (b'{"records": [{"site": "a\nb"}]}', 400, "json_invalid"),
    "not JSON at all": (b"<rows/>", 400, "json_invalid"),
    "only spaces": (b"   ", 400, "json_invalid"),
    "nothing": (b"", 400, "body_empty"),
    "arrays a million deep": (b"[" * 10**6, 400, "json_depth"),
    "objects 100,000 deep": (b'{"a":' * 10**5, 400, "json_depth"),
    "closed arrays 100,000 deep": (b"[" * 10**5 + b"]" * 10**5, 400, "json_depth"),
    "rows 50 deep": (with_cell("[" * 50 + "]" * 50), 422, "not_a_number"),
    "NaN": (with_cell("NaN"), 422, "non_finite"),
    "Infinity": (with_cell("-Infinity"), 422, "non_finite"),
    "1e400": (with_cell("1e400"), 422, "non_finite"),
    "5,000 digits": (with_cell("9" * 5000), 422, "precision_loss"),
    "2^53 + 1": (with_cell("9007199254740993"), 422, "precision_loss"),
    "lone surrogate": (record(site="\ud800"), 422, "bad_text"),
    "lone surrogate as a number": (with_cell('"\\ud800"'), 422, "not_a_number"),
    "lone surrogate as a column": (record(**{"\ud800": 1}), 422, "unknown_column"),
    "NUL character": (record(site="no\0rth"), 422, "bad_text"),
    "string for a number": (with_cell('"10.5"'), 422, "not_a_number"),
    "boolean for a number": (with_cell("true"), 422, "not_a_number"),
    "object for a number": (with_cell('{"a": 1}'), 422, "not_a_number"),
    "number for a boolean": (record(valve_open=1), 422, "not_a_boolean"),
    "number for a category": (record(site=7), 422, "not_text"),
    "words for a date": (record(taken="soon"), 422, "not_a_datetime"),
    "array for an id": (record(serial=[1]), 422, "not_an_id"),
    "unknown column": (record(colour="red"), 422, "unknown_column"),
    "null where it must not be": (record(flow=None), 422, "missing_value"),
    "empty record": (b'{"records": [{}]}', 422, "missing_value"),
    "no rows": (b'{"records": []}', 422, "no_rows"),
    "rows are null": (b'{"columns": ["flow"], "rows": null}', 422, "body_invalid"),
    "an array": (b"[1, 2]", 422, "body_invalid"),
    "null": (b"null", 422, "body_invalid"),
    "a number": (b"1e400", 422, "body_invalid"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_refused_by_name(name: str, caller: Caller) -> None:
    body, status, code = HOSTILE[name]

    answer = caller.score(body)

    assert answer.status_code == status
    document = answer.json()
    # Either the whole request has that code, or the one row that is at fault has it.
    assert code in {document["code"], *(error["code"] for error in document["errors"])}
    assert caller("GET", "/readyz").status_code == 200


@pytest.mark.parametrize("name", HOSTILE)
def test_every_refusal_is_a_problem_document(name: str, caller: Caller) -> None:
    answer = caller.score(HOSTILE[name][0])
    document = answer.json()

    assert answer.headers["content-type"] == "application/problem+json"
    assert document.keys() == {
        "type",
        "title",
        "status",
        "code",
        "detail",
        "request_id",
        "errors",
    }
    assert document["status"] == answer.status_code
    assert document["request_id"] == answer.headers["x-request-id"]
    assert all(error.keys() == {"row", "column", "code", "msg"} for error in document["errors"])


def test_duplicate_keys_of_a_record_count_as_the_last_one(caller: Caller) -> None:
    once, twice = record(), record().replace(b'"flow"', b'"flow": 1e9, "flow"')

    assert twice.count(b'"flow"') == 2
    assert caller.score(twice).json()["scores"] == caller.score(once).json()["scores"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 415),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "text/csv; charset=latin-1"}, 415),
        ({"content-type": "application/jsonp"}, 415),
        ({"content-type": "application/json; charset=latin-1"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({**JSON_TYPE, "content-encoding": "gzip"}, 415),
        ({**JSON_TYPE, "content-encoding": "identity"}, 200),
        ({"content-type": 'Application/JSON; charset="UTF-8"'}, 200),
    ],
)
def test_only_plain_json_is_read(caller: Caller, headers: dict[str, str], status: int) -> None:
    answer = caller("POST", "/v1/score", content=json.dumps(GOOD), headers=headers)

    assert answer.status_code == status


@pytest.mark.parametrize("query", ["?explain=maybe", "?explian=true", "?explain=", "?alpha=0.1"])
def test_an_unknown_query_is_refused(caller: Caller, query: str) -> None:
    answer = caller.score(GOOD, query)

    assert (answer.status_code, answer.json()["code"]) == (422, "query_invalid")


def test_a_body_over_the_limit_is_refused_after_the_limit(
    make_app: Callable[..., Edge],
) -> None:
    caller = Caller(make_app(limits=Limits(body_bytes=1000)))
    pulled = 0

    async def endless() -> Any:
        nonlocal pulled
        for _ in range(10_000):
            pulled += 64
            yield b" " * 64

    declared = caller.score(b" " * 1001)
    streamed = caller("POST", "/v1/score", content=endless(), headers=JSON_TYPE)

    for answer in (declared, streamed):
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert pulled <= 1000 + 2 * 64
    assert caller.score(b" " * 1000).status_code == 400


def test_too_many_rows_are_413(make_app: Callable[..., Edge]) -> None:
    caller = Caller(make_app(limits=Limits(rows=2)))

    answer = caller.score(GOOD)

    assert (answer.status_code, answer.json()["code"]) == (413, "too_many_rows")


def test_a_body_that_does_not_end_is_408(make_app: Callable[..., Edge]) -> None:
    caller = Caller(make_app(limits=Limits(body_seconds=0.05)))

    async def stuck() -> Any:
        yield b"{"
        await asyncio.sleep(30)

    answer = caller("POST", "/v1/score", content=stuck(), headers=JSON_TYPE)

    assert (answer.status_code, answer.json()["code"]) == (408, "body_too_slow")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("canary", [CANARY, NUMERIC_CANARY, [CANARY], {"a": CANARY}])
@pytest.mark.parametrize(
    "place",
    [
        lambda canary: canary,
        lambda canary: {"columns": {"flow": canary}, "rows": [[1]]},
        lambda canary: {"columns": [1, [canary]], "rows": [[1]]},
        lambda canary: {"columns": ["flow"], "rows": canary},
        lambda canary: {"columns": ["flow"], "rows": [[canary]]},
        lambda canary: {"records": canary},
        lambda canary: {"records": [canary]},
        lambda canary: {"records": [{"flow": canary, "taken": canary, "valve_open": canary}]},
        lambda canary: {"records": [{"colour": canary}]},
        lambda canary: {"records": [{"serial": [canary]}]},
        lambda canary: {"records": [{"flow": 1}], "mode": canary},
        lambda canary: {"records": [{"flow": 1}], "alpha": canary},
        lambda canary: {"records": [{"flow": 1}], "else": canary},
    ],
)
def test_no_refusal_repeats_a_value(
    caller: Caller, place: Callable[[Any], Any], canary: Any
) -> None:
    answer = caller.score(place(canary))

    assert 400 <= answer.status_code < 500
    assert CANARY not in answer.text
    assert str(int(NUMERIC_CANARY)) not in answer.text


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["\ud800", "\0", 1e308, -(2**70), "2024-01-01", "north"])
    | st.sampled_from([CANARY, NUMERIC_CANARY])
)
# Names are repeated where they are unknown, so no canary is among them, but numbers are.
names = st.lists(
    st.sampled_from([*GOOD["columns"], "colour", "\ud800", NUMERIC_CANARY, None]), max_size=7
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["flow", "rows", "a", "\ud800"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good request, spoiled in its values, its shape or its bytes."""
    body: dict[str, Any] = json.loads(json.dumps(GOOD))
    body["rows"][0][3] = CANARY
    if draw(st.booleans()):
        body = {"records": [dict(zip(body["columns"], row, strict=True)) for row in body["rows"]]}
    for _ in range(draw(st.integers(0, 3))):
        match draw(st.integers(0, 4)):
            case 0:
                key = draw(st.sampled_from(["rows", "records", "columns", "alpha", "mode"]))
                body[key] = draw(names if key == "columns" else anything)
            case 1 | 2 if isinstance(rows := body.get("rows"), list) and rows:
                i = draw(st.integers(0, len(rows) - 1))
                rows[i] = draw(anything | st.lists(scalars, min_size=5, max_size=5))
            case 3 if isinstance(records := body.get("records"), list) and records:
                i = draw(st.integers(0, len(records) - 1))
                if isinstance(records[i], dict):
                    records[i][draw(st.sampled_from(GOOD["columns"]))] = draw(anything)
            case _:
                body["mode"] = draw(st.sampled_from(["strict", "partial"]))
    text = json.dumps(body).encode()
    if draw(st.booleans()):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 8))
        text = text[:at] + draw(st.binary(max_size=6)) + text[at + cut :]
    return text


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(bodies=st.lists(mutated(), min_size=20, max_size=20))
def test_no_mutation_is_a_5xx_and_no_refusal_repeats_a_value(
    bodies: list[bytes], caller: Caller
) -> None:
    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=caller.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://pumps") as client:
            return await asyncio.gather(
                *(client.post("/v1/score", content=b, headers=JSON_TYPE) for b in bodies)
            )

    for answer in asyncio.run(main()):
        document = answer.json()
        if answer.status_code == 200:
            scores = [score for score in document["scores"] if score is not None]
            assert np.isfinite(scores).all()
            assert len(document["scores"]) == len(document["p_values"])
            assert CANARY not in json.dumps(document.get("errors", []))
        else:
            assert 400 <= answer.status_code < 500
            assert answer.headers["content-type"] == "application/problem+json"
            assert CANARY not in answer.text
            assert str(int(NUMERIC_CANARY)) not in answer.text
            assert len(document["errors"]) <= MOST_LISTED
