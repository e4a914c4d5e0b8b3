"""A form becomes its files, byte for byte; what is no form is refused by name."""

from __future__ import annotations

import time
from contextlib import suppress

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.wire.multipart import boundary_of, files_of
from service.wire.refusals import LONGEST_NAME, InvalidRequest, NotMultipart, TooLarge

HEAD = b'Content-Disposition: form-data; name="image"; filename="a.png"\r\n'


def body_of(*parts: bytes, boundary: bytes = b"x", end: bytes = b"--\r\n") -> bytes:
    """The form that a client would write."""
    start = b"--" + boundary
    return b"".join(start + b"\r\n" + part + b"\r\n" for part in parts) + start + end


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=8))
def test_files_come_out_as_they_went_in(contents: list[bytes]) -> None:
    request = httpx.Request(
        "POST", "http://x", files=[("f", (f"{i}.png", data)) for i, data in enumerate(contents)]
    )
    parameters = request.headers["content-type"].partition(";")[2]

    files = files_of(request.read(), boundary_of(parameters), most=8)

    assert [bytes(file.data) for file in files] == contents
    assert [file.name for file in files] == [f"{i}.png" for i in range(len(contents))]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (b'filename="part 7.png"', "part 7.png"),
        (b"filename=part7.png", "part7.png"),
        (b'filename="../../etc/passwd"', "../../etc/passwd"),
        (b'filename=""', ""),
        ('filename="Stück.png"'.encode(), "Stück.png"),
        ('filename="Stück.png"'.encode("latin-1"), "St\\xfcck.png"),
        (b'filename="a\0b"', "a\0b"),
        (b'filename="' + b"x" * 3000 + b'"', "x" * LONGEST_NAME),
        (b"filename=\"a.png\"; filename*=UTF-8''b.png", "a.png"),
    ],
)
def test_names_are_as_sent_but_short_and_always_encodable(written: bytes, name: str) -> None:
    part = b'Content-Disposition: form-data; name="f"; ' + written + b"\r\n\r\nabc"

    (file,) = files_of(body_of(part), b"x", most=1)

    assert file.name == name
    assert file.name.encode("utf-8").decode("utf-8") == name


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form",
        body_of(HEAD + b"\r\nabc", end=b""),
        body_of(HEAD + b"\r\nabc", end=b"-"),
        body_of(HEAD + b"\r\nabc")[:-20],
        body_of(HEAD + b"\r\nabc", boundary=b"y"),
        body_of(b"no header\r\n\r\nabc"),
        body_of(b": empty\r\n\r\nabc"),
        body_of(HEAD * 50 + b"\r\nabc"),
        body_of(b"X: " + b"y" * 100_000 + b"\r\n" + HEAD + b"\r\nabc"),
    ],
)
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(NotMultipart) as refusal:
        files_of(body, b"x", most=4)

    assert refusal.value.code == "multipart_invalid"


@pytest.mark.parametrize("parameters", ["", "charset=utf-8", "boundary=", 'boundary=""'])
def test_a_form_without_a_boundary_is_refused(parameters: str) -> None:
    with pytest.raises(NotMultipart, match="boundary"):
        boundary_of(parameters)


def test_a_boundary_that_is_too_long_is_refused() -> None:
    boundary = b"x" * 1000

    with pytest.raises(NotMultipart):
        files_of(body_of(HEAD + b"\r\nabc", boundary=boundary), boundary, most=1)


@pytest.mark.parametrize(
    ("part", "code"),
    [
        (b'Content-Disposition: form-data; name="alpha"\r\n\r\n0.1', "not_a_file"),
        (b"Content-Type: image/png\r\n\r\nabc", "not_a_file"),
        (b"\r\nabc", "not_a_file"),
    ],
)
def test_a_field_that_is_no_file_is_refused(part: bytes, code: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        files_of(body_of(HEAD + b"\r\nabc", part), b"x", most=4)

    assert refusal.value.code == code
    assert "query" in str(refusal.value)


def test_a_form_without_files_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        files_of(body_of(), b"x", most=4)

    assert refusal.value.code == "no_images"


def test_one_file_too_many_is_refused() -> None:
    part = HEAD + b"\r\nabc"

    assert len(files_of(body_of(*[part] * 4), b"x", most=4)) == 4
    for count in (5, 6, 500):
        with pytest.raises(TooLarge) as refusal:
            files_of(body_of(*[part] * count), b"x", most=4)
        assert refusal.value.code == "too_many_images"


@pytest.mark.parametrize("repeated", [b"\r\n--x\r\n\r\n", b"\r\n--xy", b"\r\n--", b"\r\n-", b"\r"])
def test_ten_megabytes_of_almost_boundaries_cost_little_time(repeated: bytes) -> None:
    content = repeated * (10 * 2**20 // len(repeated))
    started = time.perf_counter()

    try:
        (file,) = files_of(body_of(HEAD + b"\r\n" + content), b"x", most=64)
    except TooLarge:
        assert repeated.startswith(b"\r\n--x")
    else:
        assert bytes(file.data) == content

    assert time.perf_counter() - started < 2


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_no_bytes_lead_to_another_error(data: st.DataObject) -> None:
    pieces = [
        b"--x", b"\r\n", b"--", b"x", b"-", b"\r", b"\n", b":", b";", b'"', b" ", b"\0", b"\xff",
        b"Content-Disposition: form-data", b"filename=", b"filename*0*=", HEAD, b"name=a", b"abc",
    ]  # fmt: skip
    body = b"".join(data.draw(st.lists(st.sampled_from(pieces) | st.binary(max_size=3))))
    body = data.draw(st.sampled_from([body, body_of(body), body_of(HEAD + b"\r\n" + body)]))

    with suppress(NotMultipart, InvalidRequest, TooLarge):
        assert 1 <= len(files_of(body, b"x", most=3)) <= 3
