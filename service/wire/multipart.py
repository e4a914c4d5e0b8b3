"""`multipart/form-data` (RFC 7578) as the files in it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from service.wire.refusals import InvalidRequest, NotMultipart, TooLarge, shown

# It warns of every body that is no form. The caller is told, and the log is ours.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Upload:
    """One file as it was sent.

    Attributes:
        name: As the caller may be shown it again, never for use as a path; None without one.
        data: A view into the body.
    """

    name: str | None
    data: memoryview


def boundary_of(parameters: str) -> bytes:
    """The boundary that the parameters of a content type name.

    Raises:
        NotMultipart: none.
    """
    _, options = parse_options_header(f"multipart/form-data;{parameters}")
    if not (boundary := options.get(b"boundary", b"")):
        raise _unreadable("its header names no boundary")
    return boundary


def files_of(body: bytes, boundary: bytes, most: int) -> list[Upload]:
    """The files of a form, in their order, whatever their fields are called.

    Raises:
        NotMultipart: the body is no such form, or cut off.
        TooLarge: more than `most` files.
        InvalidRequest: a field that is no file, or nothing at all.
    """
    # Counted before the parser looks at each: a body of nothing but boundaries costs it minutes.
    if body.count(b"\r\n--" + boundary) > most + 1:
        raise _too_many(most)
    form = _Form()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": form.on_part_begin,
                "on_header_field": form.on_header_field,
                "on_header_value": form.on_header_value,
                "on_headers_finished": form.on_headers_finished,
                "on_part_data": form.on_part_data,
                "on_end": form.on_end,
            },
        )
        parser.write(body)
    except FormParserError as error:
        raise _unreadable("its boundaries or headers are not as they must be") from error
    if not form.is_complete:
        raise _unreadable("it ends before its last boundary")
    if not form.files:
        raise InvalidRequest(
            "there are no images. Send at least one file, in curl with `-F image=@part.png`.",
            code="no_images",
        )
    if len(form.files) > most:
        raise _too_many(most)
    return form.files


class _Form:
    """What the parser found. It is given the whole body at once, so each call brings a whole."""

    def __init__(self) -> None:
        self.files: list[Upload] = []
        self.is_complete = False
        self._header = b""
        self._disposition = b""

    def on_part_begin(self) -> None:
        self._disposition = b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header = data[start:end].lower()

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        if self._header == b"content-disposition":
            self._disposition = data[start:end]

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            raise InvalidRequest(
                "the form has a field that is no file. Send files only; alpha, mode and explain "
                "are parameters of the query.",
                code="not_a_file",
            )
        name = options[b"filename"].decode("utf-8", "backslashreplace")
        self.files.append(Upload(shown(name), memoryview(b"")))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.files[-1] = Upload(self.files[-1].name, memoryview(data)[start:end])

    def on_end(self) -> None:
        self.is_complete = True


def _too_many(most: int) -> TooLarge:
    return TooLarge(
        f"more than {most} images; the service takes no more in one request. Send them in parts.",
        code="too_many_images",
    )


def _unreadable(why: str) -> NotMultipart:
    return NotMultipart(
        f"the body is no multipart form: {why}. Let your HTTP client write it, such as curl with "
        "`-F image=@part.png`.",
        code="multipart_invalid",
    )
