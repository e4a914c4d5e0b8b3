"""What holds for every request: an id, one kind of refusal, and labels from closed sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from service.app.edge import Edge
from tests.service.pumps import Caller, as_request, normal_records

PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v3", 404),
        ("POST", "//v1/score", 404),
        ("POST", "/v1/score/", 404),
        ("POST", "/v1/%73core/x", 404),
        ("GET", "/static-offline-docs/%2e%2e/core.py", 404),
        ("GET", "/static-offline-docs/nothing.js", 404),
        ("GET", "/v1/score", 405),
        ("DELETE", "/v1/model", 405),
        ("BREW", "/livez", 405),
        ("POST", "/docs", 405),
        ("GET", "/" + "a" * 10_000, 404),
    ],
)
def test_what_the_framework_refuses_is_a_problem_document_too(
    caller: Caller, method: str, path: str, status: int
) -> None:
    answer = caller(method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM
    document = answer.json()
    assert (document["status"], document["errors"]) == (status, [])
    assert document["request_id"] == answer.headers["x-request-id"]


def test_405_says_what_is_allowed(caller: Caller) -> None:
    assert caller("GET", "/v1/score").headers["allow"] == "POST"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example/v1/model?"},
        {"x-forwarded-host": "evil.example", "x-forwarded-prefix": "/admin"},
        {"x-original-url": "/v1/model", "x-http-method-override": "POST"},
    ],
)
@pytest.mark.parametrize("path", ["/livez/", "/v1/score/", "/docs", "/v1/model"])
def test_no_header_moves_a_path_or_comes_back(
    caller: Caller, path: str, headers: dict[str, str]
) -> None:
    plain, tricked = caller("GET", path), caller("GET", path, headers=headers)

    assert tricked.status_code == plain.status_code
    assert "evil" not in tricked.text + str(tricked.headers)
    assert "location" not in tricked.headers


@pytest.mark.parametrize("given", ["", "a b", "a" * 65, "x\ty", "<script>", "ü", "{}"])
def test_a_request_id_that_is_not_sane_is_replaced(caller: Caller, given: str) -> None:
    answer = caller("GET", "/livez", headers={"x-request-id": given.encode("latin-1")})

    assert answer.headers["x-request-id"] != given
    assert answer.headers["x-request-id"].isalnum()


def test_an_unexpected_error_is_500_and_tells_nothing(
    make_app: Callable[..., Edge],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app()

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("the secret of the pumps")

    monkeypatch.setattr(app.scorer.batcher, "_compute", broken)

    answer = Caller(app).score(as_request(normal_records(1)))

    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert answer.json()["code"] == "internal"
    assert "secret" not in answer.text
    assert answer.json()["request_id"] in caplog.text
    assert "the secret of the pumps" in caplog.text


def test_a_full_queue_is_503_with_a_time_to_wait(
    make_app: Callable[..., Edge], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    batcher = app.scorer.batcher
    monkeypatch.setattr(batcher, "_closed", True)
    caller = Caller(app)

    answer = caller.score(as_request(normal_records(3)))

    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    reason = (("model", "pumps"), ("reason", "overloaded"))
    assert caller.samples()[("anomaly_rejected_rows_total", reason)] == 3


def test_hostile_labels_add_no_more_than_ten_series(caller: Caller) -> None:
    caller("GET", "/livez")
    before = len(caller.samples())

    for i in range(1_000):
        caller("GET", f"/nothing/{i}?q={i}", headers={"user-agent": f"agent-{i}"})
    for method in (
        "PUT",
        "PATCH",
        "HEAD",
        "OPTIONS",
        "DELETE",
        "BREW",
        "XYZ",
        *map(str, range(50)),
    ):
        caller(method, f"/{method}")

    assert len(caller.samples()) - before <= 10
