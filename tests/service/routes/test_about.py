"""Probes say whether to send requests; /v1/model says what answers them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from anomaly.detector import Detector
from anomaly.image_detector import ImageDetector
from service.app.edge import Edge
from service.settings import Queue
from tests.service.pumps import SCHEMA, Caller
from tests.service.weave import ImageCaller


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health", "/ping"])
def test_a_healthy_service_says_so(caller: Caller, path: str) -> None:
    assert caller("GET", path).status_code == 200


@pytest.mark.parametrize("path", ["/readyz", "/health", "/ping"])
def test_a_draining_service_is_alive_but_not_ready(
    make_app: Callable[..., Edge], path: str
) -> None:
    app = make_app()
    app.scorer.common.draining = True
    caller = Caller(app)

    answer = caller("GET", path)

    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert "retry-after" in answer.headers
    assert caller("GET", "/livez").status_code == 200


def test_while_draining_connections_are_closed(make_app: Callable[..., Edge]) -> None:
    app = make_app()
    app.scorer.common.draining = True

    assert Caller(app)("GET", "/livez").headers["connection"] == "close"


def test_the_model_is_described_with_its_rate_and_what_that_rests_on(
    caller: Caller, detector: Detector
) -> None:
    model = caller("GET", "/v1/model").json()

    assert model["alpha"] == detector.calibration.alpha
    assert model["threshold"] == detector.calibration.threshold
    assert model["calibration_scores"] == detector.calibration.n
    assert model["unit_of_calibration"] == "row"
    assert model["smallest_alpha"] == 1 / (detector.calibration.n + 1)
    assert (model["device"], model["backend"], model["unit"]) == ("cpu", "numpy", "nats")
    assert [(c["name"], c["kind"], c["role"], c["nullable"]) for c in model["columns"]] == [
        (c.name, c.kind, c.role, c.nullable) for c in SCHEMA.columns
    ]
    assert model["card"]["exchangeability"] == detector.card.exchangeability


def test_a_model_of_images_is_described_by_what_it_looks_at(
    image_caller: ImageCaller, image_detector: ImageDetector
) -> None:
    model = image_caller("GET", "/v1/model").json()

    assert model["calibration_scores"] == image_detector.calibration.n
    assert model["unit_of_calibration"] == "image"
    assert model["unit"] == "standard deviations"
    assert model["columns"] == []
    assert model["images"] == {
        "channels": 1,
        "scale": 1.0,
        "tile": 32,
        "contrast": "local",
        "most_images": 64,
        "most_bytes": 20 * 2**20,
        "most_pixels": 16 * 2**20,
    }


def test_a_model_of_tables_looks_at_no_images(caller: Caller) -> None:
    assert caller("GET", "/v1/model").json()["images"] is None


def test_a_service_that_holds_all_it_may_is_not_ready(
    make_image_app: Callable[..., Edge],
) -> None:
    app = make_image_app(queue=Queue(max_bytes=100))

    with app.scorer.memory.share() as share:
        share.take(100)
        assert Caller(app)("GET", "/readyz").status_code == 503
    assert Caller(app)("GET", "/readyz").status_code == 200
