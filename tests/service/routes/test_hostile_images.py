"""No form and no file whatsoever is answered with a 5xx."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from service.app.edge import Edge
from service.settings import Limits
from service.wire.refusals import MOST_LISTED
from tests.service.weave import ImageCaller, file_of, files_of, form
from tests.textiles import normal_images

IMAGES = normal_images(3, seed=2)
FILES = files_of(IMAGES)
GOOD = FILES[0]
CANARY = b"kanarienvogel"


def png_of(width: int, height: int) -> bytes:
    """A header that declares so many pixels, with none behind it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def of_kind(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(IMAGES[0][..., 0]).save(buffer, kind)
    return buffer.getvalue()


FAULTY: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 422, "image_empty"),
    "text": (CANARY, 415, "image_format"),
    "GIF": (of_kind("GIF"), 415, "image_format"),
    "TIFF": (of_kind("TIFF"), 415, "image_format"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "image_format"),
    "a few bytes of a PNG": (GOOD[:6], 422, "image_truncated"),
    "half a PNG": (GOOD[: len(GOOD) // 2], 422, "image_truncated"),
    "half a JPEG": (file_of(IMAGES[0], "JPEG")[:400], 422, "image_truncated"),
    "a flipped bit": (GOOD[:100] + bytes([GOOD[100] ^ 1]) + GOOD[101:], 422, "image_damaged"),
    "no pixels": (png_of(0, 0), 422, "image_damaged"),
    "400 million pixels in 65 bytes": (png_of(20_000, 20_000), 413, "image_too_many_pixels"),
    "a side of 2^31": (png_of(2**31 - 1, 1), 413, "image_too_many_pixels"),
    "more than 20 MB": (b"\x89PNG\r\n\x1a\n" + bytes(20 * 2**20), 413, "image_too_large"),
    "a thread of a million pixels": (
        file_of(np.zeros((1, 10**6, 1), np.uint8)),
        413,
        "image_too_many_tiles",
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_image_is_refused_by_name(name: str, image_caller: ImageCaller) -> None:
    file, status, code = FAULTY[name]

    for answer in (image_caller.send([GOOD, file]), image_caller.send([file])):
        document = answer.json()
        assert (answer.status_code, document["code"]) == (status, "invalid_images")
        assert [error["code"] for error in document["errors"]] == [code]
        assert CANARY.decode() not in answer.text
    assert image_caller("GET", "/readyz").status_code == 200


@pytest.mark.parametrize("name", FAULTY)
def test_partial_reports_a_faulty_image_and_scores_the_others(
    name: str, image_caller: ImageCaller
) -> None:
    file, _, code = FAULTY[name]

    answer = image_caller.send([file, GOOD], "?mode=partial").json()

    assert [score is None for score in answer["scores"]] == [True, False]
    assert [(error["row"], error["code"]) for error in answer["errors"]] == [(0, code)]


def test_faults_of_several_kinds_are_422(image_caller: ImageCaller) -> None:
    files = [FAULTY["GIF"][0], FAULTY["400 million pixels in 65 bytes"][0]]

    answer = image_caller.send(files)

    assert answer.status_code == 422
    assert [error["code"] for error in answer.json()["errors"]] == [
        "image_format",
        "image_too_many_pixels",
    ]


def test_many_faults_are_counted_and_some_are_listed(image_caller: ImageCaller) -> None:
    answer = image_caller.send([b"x"] * 40)

    assert len(answer.json()["errors"]) == MOST_LISTED
    assert "40 of 40" in answer.json()["detail"]
    reason = (("model", "weave"), ("reason", "image_format"))
    assert image_caller.samples()[("anomaly_rejected_rows_total", reason)] == 40


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"", "image/png", 400, "body_empty"),
        (b"", "multipart/form-data; boundary=x", 400, "body_empty"),
        (b"x", "multipart/form-data", 400, "multipart_invalid"),
        (b"x", "multipart/form-data; boundary=x", 400, "multipart_invalid"),
        (b"--x--\r\n", "multipart/form-data; boundary=x", 422, "no_images"),
        (b"--x\r\n\r\nabc\r\n--x--", "multipart/form-data; boundary=x", 422, "not_a_file"),
        (GOOD, "application/octet-stream", 415, "media_type_refused"),
        (GOOD, "image/gif", 415, "media_type_refused"),
        (GOOD, "multipart/mixed; boundary=x", 415, "media_type_refused"),
        (b'{"records": []}', "application/json", 415, "media_type_refused"),
        (CANARY, "image/jpeg", 415, "invalid_images"),
    ],
)
def test_a_body_that_is_not_what_is_wanted_is_refused_by_name(
    image_caller: ImageCaller, body: bytes, content_type: str, status: int, code: str
) -> None:
    answer = image_caller.post(body, content_type)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_compressed_bodies_are_not_read(image_caller: ImageCaller) -> None:
    headers = {"content-type": "image/png", "content-encoding": "gzip"}

    answer = image_caller("POST", "/v1/score", content=GOOD, headers=headers)

    assert answer.status_code == 415


@pytest.mark.parametrize(
    "query",
    [
        *("?explain=maybe", "?explian=true", "?mode=some", "?mode=", "?alpha=", "?alpha=much"),
        *("?alpha=0", "?alpha=1", "?alpha=nan", "?alpha=-1e999", "?alpha=0.1&alpha=0.2"),
    ],
)
def test_an_unknown_query_is_refused(image_caller: ImageCaller, query: str) -> None:
    answer = image_caller.send(FILES, query)

    assert (answer.status_code, answer.json()["code"]) == (422, "query_invalid")


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(images=2), "too_many_images"),
        (Limits(upload_bytes=5000), "body_too_large"),
        (Limits(upload_pixels=3 * 48 * 48 - 1), "too_many_pixels"),
        (Limits(image_bytes=1000), "invalid_images"),
        (Limits(image_pixels=48 * 48 - 1), "invalid_images"),
        (Limits(image_tiles=3), "invalid_images"),
    ],
)
def test_what_a_request_may_cost_is_limited(
    make_image_app: Callable[..., Edge], limits: Limits, code: str
) -> None:
    answer = ImageCaller(make_image_app(limits=limits)).send(FILES)

    assert (answer.status_code, answer.json()["code"]) == (413, code)


def test_limits_are_inclusive(make_image_app: Callable[..., Edge]) -> None:
    exact = Limits(
        images=3,
        upload_pixels=3 * 48 * 48,
        image_bytes=max(map(len, FILES)),
        image_pixels=48 * 48,
        image_tiles=4,
    )

    assert ImageCaller(make_image_app(limits=exact)).send(FILES).status_code == 200


def test_a_large_upload_needs_no_larger_limit_of_json(
    make_image_app: Callable[..., Edge],
) -> None:
    caller = ImageCaller(make_image_app(limits=Limits(body_bytes=100)))

    assert caller.send(FILES).status_code == 200


def test_a_body_that_does_not_end_is_408(make_image_app: Callable[..., Edge]) -> None:
    app = make_image_app(limits=Limits(body_seconds=0.05))

    async def stuck() -> Any:
        yield b"--x\r\n"
        await asyncio.sleep(30)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = ImageCaller(app)("POST", "/v1/score", content=stuck(), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (408, "body_too_slow")
    assert app.scorer.memory.held_bytes == 0


@pytest.mark.parametrize("name", ["../../etc/passwd", "/dev/null", "C:\\x.png", "a\nb", "é" * 300])
def test_names_are_never_paths(image_caller: ImageCaller, name: str) -> None:
    answer = image_caller("POST", "/v1/score", files=form([GOOD], [name]))

    assert answer.status_code == 200
    assert len(answer.json()["names"][0]) <= 100


def whole_form(files: list[bytes]) -> bytes:
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="' + CANARY + b'"\r\n'
        b"Content-Type: image/png\r\n\r\n" + file + b"\r\n"
        for file in files
    ]
    return b"".join(parts) + b"--x--\r\n"


SOUND = [
    *FILES,
    file_of(IMAGES[0], "JPEG"),
    file_of(np.zeros((9, 7, 3), np.uint8)),
    file_of(np.linspace(0, 65_535, 64).reshape(8, 8, 1).astype(np.uint16)),
]


def spoiled(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes with up to three small pieces replaced, left out or doubled."""
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.integers(0, 40))
        data = data[:at] + draw(st.binary(max_size=6)) + data[at + cut :]
    return data


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes, str]:
    """Query, body and content type: a good request, spoiled in its files, its form or its words."""
    files = [spoiled(draw, file) for file in draw(st.lists(st.sampled_from(SOUND), max_size=3))]
    body = spoiled(draw, whole_form(files)) if draw(st.booleans()) else whole_form(files)
    content_type = draw(
        st.sampled_from(
            [
                *["multipart/form-data; boundary=x"] * 6,
                'multipart/form-data; boundary="x"; charset=klingon',
                "multipart/form-data; boundary=" + "y" * 300,
                "multipart/form-data; boundary*0=x",
            ]
        )
    )
    if files and draw(st.integers(0, 4)) == 0:
        body, content_type = files[0], "image/png"
    query = draw(st.sampled_from(["", "?mode=partial", "?mode=partial&explain=true", "?alpha=x"]))
    return query, body, content_type


@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sent=st.lists(requests(), min_size=10, max_size=10))
def test_no_mutation_is_a_5xx(
    sent: list[tuple[str, bytes, str]], image_caller: ImageCaller
) -> None:
    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=image_caller.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://weave") as client:
            return await asyncio.gather(
                *(
                    client.post(f"/v1/score{q}", content=b, headers={"content-type": c})
                    for q, b, c in sent
                )
            )

    for answer in asyncio.run(main()):
        document = answer.json()
        if answer.status_code == 200:
            scores = [score for score in document["scores"] if score is not None]
            assert np.isfinite(scores).all()
            assert len(document["scores"]) == len(document["names"]) == len(document["p_values"])
        else:
            assert 400 <= answer.status_code < 500
            assert answer.headers["content-type"] == "application/problem+json"
            assert CANARY.decode() not in answer.text
            assert len(document["errors"]) <= MOST_LISTED
    assert image_caller.app.scorer.memory.held_bytes == 0
