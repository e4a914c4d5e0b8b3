"""POST /v1/score answers what the detector says, to the bit, in every form and company."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from anomaly.calibration import threshold
from anomaly.detector import Detector
from service.app.edge import Edge
from service.settings import UnseenCategory
from tests.service.pumps import Caller, as_request, normal_records

RECORDS = normal_records(70, seed=5)


def odd_records(n: int = 3) -> Any:
    """Rows that the model has never seen the like of."""
    records = normal_records(n, seed=6)
    records.columns["flow"][:] = -40.0
    return records


def test_the_answer_is_the_detectors_to_the_bit(caller: Caller, detector: Detector) -> None:
    answer = caller.score(as_request(RECORDS)).json()
    verdicts = detector.detect(RECORDS)

    assert answer["scores"] == verdicts.scores.tolist()
    assert answer["p_values"] == verdicts.p_values.tolist()
    assert answer["is_anomaly"] == verdicts.is_anomaly.tolist()
    assert answer["alpha"] == detector.calibration.alpha
    assert answer["threshold"] == detector.calibration.threshold


def test_a_row_scores_the_same_alone_as_in_company(caller: Caller) -> None:
    together = caller.score(as_request(RECORDS)).json()["scores"]

    alone = [
        caller.score(as_request(RECORDS.take(slice(i, i + 1)))).json()["scores"][0]
        for i in range(8)
    ]

    assert alone == together[:8]


def test_callers_at_the_same_time_get_their_own_rows(
    make_app: Callable[..., Edge], detector: Detector
) -> None:
    rng = np.random.default_rng(0)
    picks = [rng.integers(0, len(RECORDS), rng.integers(1, 9)) for _ in range(60)]
    expected = detector.anomaly_score(RECORDS)

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=make_app())
        async with httpx.AsyncClient(transport=transport, base_url="http://pumps") as client:
            return await asyncio.gather(
                *(client.post("/v1/score", json=as_request(RECORDS.take(p))) for p in picks)
            )

    for pick, answer in zip(picks, asyncio.run(main()), strict=True):
        assert answer.json()["scores"] == expected[pick].tolist()


def test_a_request_that_breaks_the_batch_leaves_its_neighbours_unchanged(
    make_app: Callable[..., Edge], detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    batcher = app.scorer.batcher
    compute = batcher._compute

    def fragile(jobs: Any) -> Any:
        if any("mars" in job.records.columns["site"] for job in jobs):
            raise ValueError("no such planet")
        return compute(jobs)

    monkeypatch.setattr(batcher, "_compute", fragile)
    poisoned = as_request(RECORDS.take(slice(0, 2)))
    poisoned["rows"][1][3] = "mars"
    parts = [RECORDS.take(slice(i, i + 5)) for i in range(0, 20, 5)]

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://pumps") as client:
            bodies = [as_request(parts[0]), poisoned, *map(as_request, parts[1:])]
            return await asyncio.gather(*(client.post("/v1/score", json=b) for b in bodies))

    first, failed, *others = asyncio.run(main())

    assert (failed.status_code, failed.json()["code"]) == (500, "internal")
    assert "planet" not in failed.text
    scores = [answer.json()["scores"] for answer in (first, *others)]
    assert scores == [detector.anomaly_score(part).tolist() for part in parts]


def test_alpha_of_the_request_decides_and_is_echoed(caller: Caller, detector: Detector) -> None:
    answer = caller.score(as_request(RECORDS, alpha=0.25)).json()
    verdicts = detector.detect(RECORDS, 0.25)
    calibration = detector.calibration

    assert answer["alpha"] == 0.25
    assert answer["is_anomaly"] == verdicts.is_anomaly.tolist()
    assert 0 < sum(answer["is_anomaly"]) < 70
    assert answer["threshold"] == threshold(calibration.scores, 0.25, calibration.rule)
    assert answer["p_values"] == verdicts.p_values.tolist()


def test_an_alpha_that_the_calibration_cannot_support_is_refused(caller: Caller) -> None:
    answer = caller.score(as_request(RECORDS, alpha=1e-6))

    assert (answer.status_code, answer.json()["code"]) == (422, "alpha_not_supported")
    assert "or ask for" in answer.json()["detail"]


def test_explanations_name_the_columns_of_flagged_rows_only(
    caller: Caller, detector: Detector
) -> None:
    records = odd_records()
    body = as_request(records)
    body["rows"] += as_request(RECORDS.take(slice(0, 4)))["rows"]

    plain, explained = caller.score(body).json(), caller.score(body, "?explain=true").json()

    assert "contributions" not in plain
    assert plain["is_anomaly"][:3] == [True] * 3
    for flagged, parts in zip(explained["is_anomaly"], explained["contributions"], strict=True):
        assert (parts is not None) == flagged
    expected = detector.explain(records).top(0, 5)
    assert [part["column"] for part in explained["contributions"][0]] == [
        reason.column for reason in expected
    ]
    first = explained["contributions"][0][0]
    assert (first["column"], first["observed"]) == ("flow", -40.0)
    assert first["share"] == expected[0].share
    assert first["expected"] > 0


def test_without_a_flagged_row_there_is_nothing_to_explain(caller: Caller) -> None:
    body = as_request(RECORDS.take(slice(0, 1)))

    assert caller.score(body, "?explain=1").json()["contributions"] == [None]


def test_what_is_remarkable_is_a_warning_and_changes_no_verdict(
    caller: Caller, detector: Detector
) -> None:
    body = as_request(RECORDS.take(slice(0, 4)))
    body["rows"][0][0] = None
    body["rows"][2][3] = "mars"
    body["rows"][3][0] = 1e300

    answer = caller.score(body).json()

    assert answer["warnings"] == [
        {"row": 0, "column": "pressure", "code": "missing_value"},
        {"row": 2, "column": "site", "code": "unseen_category"},
        {"row": 3, "column": "pressure", "code": "out_of_range"},
    ]
    flags = np.array(answer["p_values"]) <= detector.calibration.alpha
    assert answer["is_anomaly"] == flags.tolist()


@pytest.mark.parametrize("value", [1e39, -1e308, 5e-324, 2**53])
def test_every_finite_number_gets_a_finite_score(caller: Caller, value: float) -> None:
    body = as_request(RECORDS.take(slice(0, 1)))
    body["rows"][0][0] = value

    answer = caller.score(body)

    assert answer.status_code == 200
    assert np.isfinite(answer.json()["scores"][0])


def test_partial_keeps_count_and_order(caller: Caller, detector: Detector) -> None:
    body = as_request(RECORDS.take(slice(0, 5)), mode="partial")
    body["columns"].append("serial")
    body["rows"] = [[*row, f"p{i}"] for i, row in enumerate(body["rows"])]
    body["rows"][1][0] = "wet"
    body["rows"][3] = "nothing"
    expected: list[Any] = detector.anomaly_score(RECORDS.take(slice(0, 5))).tolist()
    expected[1] = expected[3] = None

    answer = caller.score(body)

    assert answer.status_code == 200
    document = answer.json()
    assert document["scores"] == expected
    assert [p is None for p in document["p_values"]] == [False, True, False, True, False]
    assert document["is_anomaly"][1] is document["is_anomaly"][3] is None
    assert [(e["row"], e["column"], e["code"]) for e in document["errors"]] == [
        (1, "pressure", "not_a_number"),
        (3, None, "not_an_array"),
    ]
    assert document["ids"] == {"serial": ["p0", "p1", "p2", None, "p4"]}


def test_partial_with_no_sound_row_is_an_answer_of_errors(caller: Caller) -> None:
    document = caller.score({"records": [{"flow": "wet"}, 7], "mode": "partial"}).json()

    assert document["scores"] == document["p_values"] == document["is_anomaly"] == [None, None]
    assert [error["code"] for error in document["errors"]] == ["not_a_number", "not_an_object"]


def test_one_bad_row_in_strict_mode_scores_nothing(caller: Caller) -> None:
    body = as_request(RECORDS)
    body["rows"][40][1] = "wet"

    answer = caller.score(body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_rows")
    assert caller.samples()[_scored()] == 0


def _scored() -> tuple[str, tuple[tuple[str, str], ...]]:
    return ("anomaly_rows_scored_total", (("model", "pumps"), ("version", "unregistered")))


def test_the_policy_error_refuses_unseen_categories(make_app: Callable[..., Edge]) -> None:
    caller = Caller(make_app(unseen_category=UnseenCategory.ERROR))
    body = as_request(RECORDS.take(slice(0, 3)))
    body["rows"][1][3] = "mars"

    strict, partial = caller.score(body), caller.score({**body, "mode": "partial"})

    assert strict.status_code == 422
    assert [(e["row"], e["column"], e["code"]) for e in strict.json()["errors"]] == [
        (1, "site", "unseen_category")
    ]
    assert [score is None for score in partial.json()["scores"]] == [False, True, False]
    assert partial.json()["warnings"] == []


def test_the_policy_ignore_only_counts_unseen_categories(
    make_app: Callable[..., Edge],
) -> None:
    caller = Caller(make_app(unseen_category=UnseenCategory.IGNORE))
    body = as_request(RECORDS.take(slice(0, 1)))
    body["rows"][0][3] = "mars"

    assert caller.score(body).json()["warnings"] == []
    counted = ("anomaly_input_unseen_category_total", (("feature", "site"), ("model", "pumps")))
    assert caller.samples()[counted] == 1


def test_a_large_body_is_read_like_a_small_one(caller: Caller, detector: Detector) -> None:
    records = normal_records(1500, seed=9)

    answer = caller.score(as_request(records))

    assert len(answer.request.content) > 2**16
    assert answer.json()["scores"] == detector.anomaly_score(records).tolist()


def test_every_answer_names_the_model_and_the_request(caller: Caller) -> None:
    answer = caller(
        "POST",
        "/v1/score",
        content=json.dumps(as_request(RECORDS)),
        headers={"content-type": "application/json", "x-request-id": "pump-7.a_B"},
    )

    model = answer.json()["model"]
    assert (model["name"], model["version"], len(model["digest"])) == ("pumps", "unregistered", 64)
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "pump-7.a_B"
