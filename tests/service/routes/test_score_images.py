"""POST /v1/score of images answers what the detector says, to the bit, in any form and company."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from anomaly.calibration import threshold
from anomaly.data.images import decode
from anomaly.heat_png import boxes_at_size, heat_layer
from anomaly.image_detector import ImageDetector
from service.app.edge import Edge
from service.settings import Queue
from tests.service.pumps import Caller, as_request, normal_records
from tests.service.weave import ImageCaller, file_of, files_of, form
from tests.textiles import normal_images, torn

IMAGES = normal_images(6, seed=5)
FILES = files_of(IMAGES)
WEAVE = ("model", "weave")
MODEL = (WEAVE, ("version", "unregistered"))


def large(pixels: Any, times: int = 3) -> Any:
    """The same picture with as many times the pixels each way."""
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def test_the_answer_is_the_detectors_to_the_bit(
    image_caller: ImageCaller, image_detector: ImageDetector
) -> None:
    answer = image_caller.send(FILES).json()
    verdicts = image_detector.detect(IMAGES)

    assert answer["scores"] == verdicts.scores.tolist()
    assert answer["p_values"] == verdicts.p_values.tolist()
    assert answer["is_anomaly"] == verdicts.is_anomaly.tolist()
    assert answer["alpha"] == image_detector.calibration.alpha
    assert answer["threshold"] == image_detector.calibration.threshold
    assert answer["names"] == [f"piece-{number}.png" for number in range(6)]
    assert answer.keys() == {
        *("model", "alpha", "threshold", "names", "scores", "p_values", "is_anomaly"),
        "request_id",
    }


def test_a_torn_piece_is_flagged(image_caller: ImageCaller) -> None:
    answer = image_caller.send([file_of(torn(IMAGES[0])), FILES[1]]).json()

    assert answer["is_anomaly"] == [True, False]


def test_a_single_image_may_be_the_whole_body(image_caller: ImageCaller) -> None:
    jpeg = file_of(IMAGES[0], "JPEG", quality=95)
    expected = image_caller.send([FILES[0], jpeg]).json()["scores"]

    as_png = image_caller.post(FILES[0], "image/png").json()
    as_jpeg = image_caller.post(jpeg, "image/jpeg").json()

    assert [*as_png["scores"], *as_jpeg["scores"]] == expected
    assert as_png["names"] == [None]


def test_fields_may_have_any_names(image_caller: ImageCaller) -> None:
    expected = image_caller.send(FILES[:3]).json()["scores"]
    fields = [("left", ("a", FILES[0])), ("right", ("b", FILES[1])), ("left", ("a", FILES[2]))]

    answer = image_caller("POST", "/v1/score", files=fields).json()

    assert answer["scores"] == expected
    assert answer["names"] == ["a", "b", "a"]


def test_the_content_tells_the_format_and_not_the_name_or_the_header(
    image_caller: ImageCaller,
) -> None:
    jpeg = file_of(IMAGES[0], "JPEG")
    expected = image_caller.post(jpeg, "image/jpeg").json()["scores"]

    assert image_caller.post(jpeg, "image/png").json()["scores"] == expected
    named = [("image", ("piece.gif", jpeg, "text/plain"))]
    assert image_caller("POST", "/v1/score", files=named).json()["scores"] == expected


def test_an_image_scores_the_same_alone_as_in_company(image_caller: ImageCaller) -> None:
    together = image_caller.send(FILES).json()["scores"]

    assert [image_caller.send([file]).json()["scores"][0] for file in FILES] == together


def test_callers_at_the_same_time_get_their_own_images(
    make_image_app: Callable[..., Edge], image_detector: ImageDetector
) -> None:
    rng = np.random.default_rng(0)
    picks = [rng.integers(0, len(IMAGES), rng.integers(1, 5)) for _ in range(20)]
    expected = image_detector.anomaly_score(IMAGES)
    caller = ImageCaller(make_image_app())

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=caller.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://weave") as client:
            return await asyncio.gather(
                *(client.post("/v1/score", files=form([FILES[i] for i in p])) for p in picks)
            )

    for pick, answer in zip(picks, asyncio.run(main()), strict=True):
        assert answer.json()["scores"] == expected[pick].tolist()
    found = caller.samples()
    sent = sum(map(len, picks))
    assert found[("anomaly_batch_rows_sum", (WEAVE,))] == sent
    assert found[("anomaly_batch_rows_count", (WEAVE,))] < len(picks)  # scored together
    assert found[("anomaly_rows_scored_total", MODEL)] == sent


def test_an_image_that_breaks_the_batch_leaves_its_neighbours_unchanged(
    make_image_app: Callable[..., Edge],
    image_detector: ImageDetector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = make_image_app()
    batcher = app.scorer.batcher
    compute = batcher._compute

    def fragile(jobs: Any) -> Any:
        if any(pixels.shape[0] == 40 for job in jobs for pixels in job.images):
            raise ValueError("forty is unlucky")
        return compute(jobs)

    monkeypatch.setattr(batcher, "_compute", fragile)
    poisoned = file_of(IMAGES[0][:40])

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://weave") as client:
            forms = [[FILES[0]], [poisoned], [FILES[1], FILES[2]]]
            return await asyncio.gather(*(client.post("/v1/score", files=form(f)) for f in forms))

    first, failed, last = asyncio.run(main())

    assert (failed.status_code, failed.json()["code"]) == (500, "internal")
    assert "unlucky" not in failed.text
    scores = [*first.json()["scores"], *last.json()["scores"]]
    assert scores == image_detector.anomaly_score(IMAGES[:3]).tolist()


def test_explanations_show_where_at_the_size_of_each_image(
    image_caller: ImageCaller, image_detector: ImageDetector
) -> None:
    images = [large(torn(IMAGES[0])), IMAGES[1]]

    answer = image_caller.send(files_of(images), "?explain=true").json()

    assert answer["scores"] == image_detector.anomaly_score(images).tolist()
    for explained, pixels, heat in zip(
        answer["explanations"], images, image_detector.explain(images), strict=True
    ):
        height, width = pixels.shape[:2]
        opened = Image.open(io.BytesIO(base64.b64decode(explained["heatmap"])))
        assert (np.asarray(opened.convert("RGBA")) == heat_layer(heat, height, width)).all()
        assert explained["hottest"] == heat.hottest
        expected = [
            {
                "top": box.top,
                "left": box.left,
                "bottom": box.bottom,
                "right": box.right,
                "hottest": box.hottest,
            }
            for box in boxes_at_size(heat, height, width)
        ]
        assert explained["boxes"] == expected
        assert explained["widespread"] is heat.is_widespread


def test_a_hot_region_lies_where_the_piece_is_torn(image_caller: ImageCaller) -> None:
    answer = image_caller.send([file_of(torn(IMAGES[0], 10, 26))], "?explain=true").json()

    boxes = answer["explanations"][0]["boxes"]
    assert any(
        box["top"] <= 15 < box["bottom"] and box["left"] <= 31 < box["right"] for box in boxes
    )


def test_alpha_of_the_query_decides_and_is_echoed(
    image_caller: ImageCaller, image_detector: ImageDetector
) -> None:
    answer = image_caller.send(FILES, "?alpha=0.5").json()
    calibration = image_detector.calibration

    assert answer["alpha"] == 0.5
    assert answer["is_anomaly"] == image_detector.detect(IMAGES, 0.5).is_anomaly.tolist()
    assert answer["threshold"] == threshold(calibration.scores, 0.5, calibration.rule)


def test_an_alpha_that_the_calibration_cannot_support_is_refused(
    image_caller: ImageCaller,
) -> None:
    answer = image_caller.send(FILES, "?alpha=1e-6")

    assert (answer.status_code, answer.json()["code"]) == (422, "alpha_not_supported")
    assert "calibration images, got" in answer.json()["detail"]


def test_partial_scores_the_sound_images_and_keeps_order_and_count(
    image_caller: ImageCaller,
) -> None:
    expected = image_caller.send(FILES, "?explain=true").json()
    files = [FILES[0], b"GIF89a", FILES[2], b"", FILES[4], FILES[5][:-30]]

    answer = image_caller.send(files, "?mode=partial&explain=true").json()

    assert [(e["row"], e["column"], e["code"]) for e in answer["errors"]] == [
        (1, None, "image_format"),
        (3, None, "image_empty"),
        (5, None, "image_truncated"),
    ]
    for name in ("scores", "p_values", "is_anomaly", "explanations"):
        assert answer[name] == [
            None if number % 2 else value for number, value in enumerate(expected[name])
        ]
    assert answer["names"] == expected["names"]


def test_partial_with_no_sound_image_scores_nothing(image_caller: ImageCaller) -> None:
    answer = image_caller.send([b"no image"] * 2, "?mode=partial&explain=true").json()

    assert answer["scores"] == answer["is_anomaly"] == answer["explanations"] == [None, None]
    assert len(answer["errors"]) == 2
    assert image_caller.samples()[("anomaly_rows_scored_total", MODEL)] == 0


def test_one_bad_image_in_strict_mode_scores_nothing(image_caller: ImageCaller) -> None:
    answer = image_caller.send([*FILES, FILES[0][:-30]])

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_images")
    assert [(e["row"], e["code"]) for e in answer.json()["errors"]] == [(6, "image_truncated")]
    assert "mode=partial" in answer.json()["detail"]
    found = image_caller.samples()
    assert found[("anomaly_rows_scored_total", MODEL)] == 0
    assert found[("anomaly_rejected_rows_total", (WEAVE, ("reason", "image_truncated")))] == 1


def test_images_are_counted_like_rows(
    image_caller: ImageCaller, image_detector: ImageDetector
) -> None:
    image_caller.send([*FILES, file_of(torn(IMAGES[0]))])
    image_caller.send([FILES[0], b"", b"", b"GIF89a"], "?mode=partial")
    verdicts = image_detector.detect([*IMAGES, torn(IMAGES[0]), IMAGES[0]])

    found = image_caller.samples()

    assert found[("anomaly_rows_scored_total", MODEL)] == 8
    flagged = found[("anomaly_rows_flagged_total", (("level", "anomaly"), *MODEL))]
    assert flagged == verdicts.is_anomaly.sum() >= 1
    positive, negative = (
        found[("anomaly_score_total", (WEAVE, ("sign", sign)))] for sign in ("positive", "negative")
    )
    assert positive - negative == pytest.approx(verdicts.scores.sum())
    assert found[("anomaly_rejected_rows_total", (WEAVE, ("reason", "image_empty")))] == 2
    assert found[("anomaly_rejected_rows_total", (WEAVE, ("reason", "image_format")))] == 1
    assert found[("anomaly_inference_seconds_count", (WEAVE, ("phase", "decode")))] == 2
    assert found[("anomaly_inference_seconds_count", (WEAVE, ("phase", "respond")))] == 2


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((1, 1, 1), np.uint8),
        np.full((1, 700, 1), 255, np.uint8),
        np.full((700, 1, 3), 7, np.uint8),
        np.arange(33 * 47 * 3, dtype=np.uint8).reshape(33, 47, 3),
        np.linspace(0, 65_535, 2500).reshape(50, 50, 1).astype(np.uint16),
    ],
    ids=["one pixel", "one row", "one column", "colour", "16 bits"],
)
def test_images_of_every_size_and_depth_are_scored(
    image_caller: ImageCaller, image_detector: ImageDetector, pixels: Any
) -> None:
    file = file_of(pixels)

    answer = image_caller.post(file, "image/png", "?explain=true").json()

    assert answer["scores"] == image_detector.anomaly_score([decode(file)]).tolist()
    assert np.isfinite(answer["scores"]).all()
    opened = Image.open(io.BytesIO(base64.b64decode(answer["explanations"][0]["heatmap"])))
    assert opened.size == (pixels.shape[1], pixels.shape[0])


def test_every_kind_of_model_says_what_it_wants(image_caller: ImageCaller, caller: Caller) -> None:
    rows = as_request(normal_records(2))
    to_images = image_caller("POST", "/v1/score", json=rows)
    to_rows = caller("POST", "/v1/score", files=form(FILES))

    assert (to_images.status_code, to_rows.status_code) == (415, 415)
    assert "multipart/form-data" in to_images.json()["detail"]
    assert "image/png" in to_images.json()["detail"]
    assert "application/json" in to_rows.json()["detail"]


def test_when_too_many_images_wait_more_are_refused(
    make_image_app: Callable[..., Edge],
) -> None:
    caller = ImageCaller(make_image_app(queue=Queue(max_images=4, max_batch_images=1)))

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=caller.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://weave") as client:
            return await asyncio.gather(
                *(client.post("/v1/score", files=form(FILES[:3])) for _ in range(8))
            )

    answers = asyncio.run(main())

    refused = [answer for answer in answers if answer.status_code == 503]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert {answer.json()["code"] for answer in refused} == {"overloaded"}
    assert all("retry-after" in answer.headers for answer in refused)
    assert "images wait already" in refused[0].json()["detail"]
    rejected = caller.samples()[("anomaly_rejected_rows_total", (WEAVE, ("reason", "overloaded")))]
    # What was refused unread counts as many as its length makes likely.
    assert len(refused) <= rejected <= 3 * len(refused)


def test_what_callers_hold_together_is_bounded_and_given_back(
    make_image_app: Callable[..., Edge],
) -> None:
    app = make_image_app(queue=Queue(max_bytes=60_000))
    images = [large(pixels) for pixels in IMAGES[:2]]  # 41,472 pixels

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://weave") as client:
            return await asyncio.gather(
                *(client.post("/v1/score", files=form(files_of(images))) for _ in range(6))
            )

    answers = asyncio.run(main())

    # Who comes first may find room; where all bodies come before the first image, nobody does.
    statuses = {answer.status_code for answer in answers}
    assert 503 in statuses
    assert statuses <= {200, 503}
    assert app.scorer.memory.held_bytes == 0
    assert ImageCaller(app).send(files_of(images)).status_code == 200
