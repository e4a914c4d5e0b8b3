"""Probes say whether to send requests; /v1/model says what answers them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi import FastAPI

from anomaly.detector import Detector
from tests.service.pumps import SCHEMA, Caller


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health", "/ping"])
def test_a_healthy_service_says_so(caller: Caller, path: str) -> None:
    assert caller("GET", path).status_code == 200


@pytest.mark.parametrize("path", ["/readyz", "/health", "/ping"])
def test_a_draining_service_is_alive_but_not_ready(
    make_app: Callable[..., FastAPI], path: str
) -> None:
    app = make_app()
    app.state.scorer.draining = True
    caller = Caller(app)

    answer = caller("GET", path)

    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert "retry-after" in answer.headers
    assert caller("GET", "/livez").status_code == 200


def test_while_draining_connections_are_closed(make_app: Callable[..., FastAPI]) -> None:
    app = make_app()
    app.state.scorer.draining = True

    assert Caller(app)("GET", "/livez").headers["connection"] == "close"


def test_the_model_is_described_with_its_rate_and_what_that_rests_on(
    caller: Caller, detector: Detector
) -> None:
    model = caller("GET", "/v1/model").json()

    assert model["alpha"] == detector.calibration.alpha
    assert model["threshold"] == detector.calibration.threshold
    assert model["calibration_rows"] == detector.calibration.n
    assert model["smallest_alpha"] == 1 / (detector.calibration.n + 1)
    assert (model["device"], model["backend"], model["unit"]) == ("cpu", "numpy", "nats")
    assert [(c["name"], c["kind"], c["role"], c["nullable"]) for c in model["columns"]] == [
        (c.name, c.kind, c.role, c.nullable) for c in SCHEMA.columns
    ]
    assert model["card"]["exchangeability"] == detector.card.exchangeability
