"""Usual requests take a shorter way, and nobody could tell it from the answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.detector import Detector
from service.access.keys import Role, make_key, write_keys
from service.batcher import BatchReport
from service.detectors import Served
from tests.service.app.listening import Answer, Listening, listening, read_answer, send
from tests.service.pumps import NUMBERS, numbers

ROWS = numbers(3, seed=5).numbers(NUMBERS.names).tolist()
COLUMNS = list(NUMBERS.names)


def body_of(**options: Any) -> bytes:
    return json.dumps({"columns": COLUMNS, "rows": ROWS, **options}).encode()


def request_of(body: bytes, *headers: str, path: str = "/v1/score", method: str = "POST") -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: pumps",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


USUAL = {
    "rows": request_of(body_of()),
    "one row": request_of(body_of(rows=ROWS[:1])),
    "records": request_of(
        json.dumps({"records": [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]}).encode()
    ),
    "columns in another order": request_of(
        body_of(columns=COLUMNS[::-1], rows=[row[::-1] for row in ROWS])
    ),
    "far outside": request_of(body_of(rows=[[1e9, -30.0, 50.0]])),
    "an id of the caller's": request_of(body_of(), "x-request-id: a-1.b_2"),
    "an id that is not sane": request_of(body_of(), "x-request-id: <script>"),
    "the mode that is usual": request_of(body_of(mode="strict")),
    "the answer that is usual": request_of(body_of(), "accept: */*"),
    "the charset that is usual": request_of(body_of()).replace(b"/json", b"/json; charset=utf-8"),
    "the last of its connection": request_of(body_of(), "connection: close"),
}
OTHERS = {
    "a gap": request_of(body_of(rows=[[None, 30.0, 50.0]])),
    "another alpha": request_of(body_of(alpha=0.2)),
    "an alpha without support": request_of(body_of(alpha=1e-9)),
    "the good rows only": request_of(body_of(mode="partial", rows=[*ROWS, [1, None, 3]])),
    "an unknown mode": request_of(body_of(mode="lenient")),
    "a faulty row": request_of(body_of(rows=[[1, None, 3]])),
    "an unknown column": request_of(body_of(columns=["x", *COLUMNS[1:]])),
    "a number beyond float64": request_of(body_of().replace(b"[[", b"[[1e400, 1, 1], [")),
    "no rows": request_of(body_of(rows=[])),
    "no JSON": request_of(b"{"),
    "no body": request_of(b""),
    "CSV wanted": request_of(body_of(), "accept: text/csv"),
    "nothing wanted that there is": request_of(body_of(), "accept: image/png"),
    "another type": request_of(body_of()).replace(b"application/json", b"text/plain"),
    "compressed": request_of(body_of(), "content-encoding: gzip"),
    "explained": request_of(body_of(), path="/v1/score?explain=true"),
    "an unknown parameter": request_of(body_of(), path="/v1/score?verbose=1"),
    "another spelling of the path": request_of(body_of(), path="/v1/%73core"),
    "another method": request_of(body_of(), method="PUT"),
    "HTTP/1.0": request_of(body_of()).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "chunked": request_of(b"", "transfer-encoding: chunked").replace(b"content-length: 0\r\n", b"")
    + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body_of()), body_of()),
}


@pytest.fixture(scope="module")
def service(served_numbers: Served) -> Iterator[Listening]:
    with listening(served_numbers) as started:
        yield started


def told(answer: Answer) -> tuple[int, dict[str, str], Any]:
    """An answer without what two of the same request may differ in."""
    document = json.loads(answer.body)
    own_id = document.pop("request_id", None)
    headers = {k: v for k, v in answer.headers.items() if k not in ("date", "content-length")}
    assert own_id in (None, headers["x-request-id"])
    if len(headers["x-request-id"]) == 32:
        headers["x-request-id"] = "made here"
    return answer.status, headers, document


def is_asked(service: Listening, request: bytes) -> tuple[Answer, bool]:
    """The answer, and whether the application gave it."""
    before = service.app.asked
    answer = service.exchange(request)
    return answer, service.app.asked > before


@pytest.mark.parametrize("request_", USUAL.values(), ids=USUAL)
def test_a_usual_request_passes_the_application_by_and_has_its_answer(
    service: Listening, request_: bytes
) -> None:
    short, is_ordinary = is_asked(service, request_)
    before = service.app.asked

    ordinary = service.exchange(request_[:-1], request_[-1:])

    assert not is_ordinary
    assert service.app.asked == before + 1
    assert told(short) == told(ordinary)
    assert short.status == 200


@pytest.mark.parametrize("request_", OTHERS.values(), ids=OTHERS)
def test_whatever_else_is_asked_goes_to_the_application(
    service: Listening, request_: bytes
) -> None:
    answer, is_ordinary = is_asked(service, request_)

    ordinary = service.exchange(request_[:-1], request_[-1:])

    assert is_ordinary
    if answer.headers["content-type"].endswith("json"):
        assert told(answer) == told(ordinary)
    assert answer.status == ordinary.status


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(1, len(USUAL["rows"]) - 1), max_size=2, unique=True))
def test_it_does_not_matter_where_the_network_cuts_a_request(
    service: Listening, cuts: list[int]
) -> None:
    whole = USUAL["rows"]
    places = [0, *sorted(cuts), len(whole)]

    answer = service.exchange(*(whole[a:b] for a, b in pairwise(places)))

    assert told(answer) == told(service.exchange(whole))


def test_scores_are_the_detectors_to_the_bit(served_numbers: Served, service: Listening) -> None:
    detector = served_numbers.detector
    assert isinstance(detector, Detector)

    answer = json.loads(service.exchange(USUAL["rows"]).body)

    verdicts = detector.detect(numbers(3, seed=5))
    assert answer["scores"] == verdicts.scores.tolist()
    assert answer["p_values"] == verdicts.p_values.tolist()
    assert answer["is_anomaly"] == verdicts.is_anomaly.tolist()


PIPELINES = [
    ["rows", "one row"],
    ["rows", "probe", "one row"],
    ["probe", "rows", "probe"],
    ["rows", "refused", "one row", "rows"],
]
PIECES = {
    **USUAL,
    "probe": b"GET /livez HTTP/1.1\r\nhost: pumps\r\n\r\n",
    "refused": OTHERS["a faulty row"],
}


@pytest.mark.parametrize("names", PIPELINES, ids=", ".join)
def test_answers_come_in_the_order_of_their_requests(
    service: Listening, names: Sequence[str]
) -> None:
    alone = [service.exchange(PIECES[name]) for name in names]

    with service.connect() as connection:
        connection.sendall(b"".join(PIECES[name] for name in names))
        together = [read_answer(connection) for _ in names]

    assert [answer.status for answer in together] == [answer.status for answer in alone]
    assert [scores(answer) for answer in together] == [scores(answer) for answer in alone]


def scores(answer: Answer) -> Any:
    return json.loads(answer.body).get("scores") if answer.body else None


def test_a_connection_serves_one_usual_request_after_the_other(service: Listening) -> None:
    with service.connect() as connection:
        for _ in range(20):
            send(connection, USUAL["rows"])
            assert read_answer(connection).status == 200


def test_many_callers_at_once_get_their_own_rows(service: Listening) -> None:
    """Rows of many requests are one batch; each answer is of its own."""
    found: dict[int, list[float]] = {}

    def ask(seed: int) -> None:
        rows = numbers(seed % 5 + 1, seed=seed).numbers(NUMBERS.names).tolist()
        request = request_of(json.dumps({"columns": COLUMNS, "rows": rows}).encode())
        found[seed] = json.loads(service.exchange(request).body)["scores"]

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    detector = service.switch.served.detector
    assert isinstance(detector, Detector)
    for seed, told_scores in found.items():
        expected = detector.detect(numbers(seed % 5 + 1, seed=seed)).scores
        assert told_scores == expected.tolist()


def test_nothing_is_held_after_the_answer(service: Listening) -> None:
    service.exchange(USUAL["rows"])

    assert service.switch.common.memory.held_bytes == 0


def test_requests_are_counted_like_all_others(served_numbers: Served) -> None:
    with listening(served_numbers) as service:
        service.exchange(USUAL["rows"])
        service.exchange(USUAL["rows"][:-1], USUAL["rows"][-1:])
        registry = service.switch.common.metrics.registry
        labels = {"handler": "/v1/score", "method": "POST", "status": "200"}
        size = {"handler": "/v1/score"}

        assert registry.get_sample_value("http_requests_total", labels) == 2
        total = registry.get_sample_value("http_request_size_bytes_sum", size)

    assert total == 2 * len(body_of())


def test_what_waits_when_the_client_goes_is_not_scored(served_numbers: Served) -> None:
    with listening(served_numbers) as service:
        batcher = service.switch.current.scorer.batcher
        reports: list[BatchReport] = []
        batcher._on_batch = reports.append
        begin = threading.Event()
        compute = batcher._compute
        batcher._quick_rows = 0
        batcher._compute = lambda jobs: (begin.wait(20), compute(jobs))[1]
        with service.connect() as first, service.connect() as second:
            send(first, USUAL["one row"])
            wait_until(lambda: batcher._is_busy and not batcher.waiting_rows)
            send(second, USUAL["rows"])
            wait_until(lambda: batcher.waiting_rows == 3)
            second.close()
            wait_until(lambda: batcher._waiting[0].future.cancelled())
            begin.set()
            assert read_answer(first).status == 200
        wait_until(lambda: not batcher._is_busy)
        labels = {"handler": "/v1/score", "method": "POST", "status": "499"}
        registry = service.switch.common.metrics.registry
        gone = registry.get_sample_value("http_requests_total", labels)

    assert [report.rows for report in reports] == [1]
    assert gone == 1


def wait_until(holds: Any) -> None:
    """Until it holds; a test whose condition never comes fails here."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_failure_is_told_and_the_connection_goes_on(
    served_numbers: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(served_numbers) as service:
        batcher = service.switch.current.scorer.batcher
        compute = batcher._compute

        def fail(jobs: Any) -> Any:
            raise ArithmeticError("the processor is on fire")

        with service.connect() as connection:
            batcher._compute = fail
            send(connection, USUAL["rows"])
            refused = read_answer(connection)
            batcher._compute = compute
            send(connection, USUAL["rows"])
            answered = read_answer(connection)

    document = json.loads(refused.body)
    assert (refused.status, document["code"]) == (500, "internal")
    assert refused.headers["content-type"] == "application/problem+json"
    assert document["request_id"] == refused.headers["x-request-id"]
    assert document["request_id"] in caplog.text
    assert "on fire" not in str(refused)
    assert answered.status == 200


def test_keys_are_asked_for_and_each_request_counts_once(
    served_numbers: Served, tmp_path: Path
) -> None:
    """Also a request that begins on the short way and turns out to be unusual."""
    key, token = make_key(Role.SCORE, "line 4", days=None, per_minute=60)
    other, reader = make_key(Role.READ, "wall", days=None, per_minute=None)
    write_keys(tmp_path / "keys.json", [key, other])
    bearer = f"authorization: Bearer {token}"
    asked = [request_of(body_of(), bearer), request_of(body_of(alpha=0.2), bearer)]

    with listening(served_numbers, keys=tmp_path / "keys.json") as service:
        assert service.exchange(USUAL["rows"]).status == 401
        forbidden = request_of(body_of(), f"authorization: Bearer {reader}")
        assert service.exchange(forbidden).status == 403
        started = datetime.now(UTC)
        answers = [service.exchange(asked[turn % 2]) for turn in range(200)]
        seconds = (datetime.now(UTC) - started).total_seconds()

    passed = sum(answer.status == 200 for answer in answers)
    assert {answer.status for answer in answers} == {200, 429}
    assert all("retry-after" in answer.headers for answer in answers if answer.status == 429)
    # One a second, and what was saved up: ten seconds' worth.
    assert 10 <= passed <= 10 + seconds + 1
