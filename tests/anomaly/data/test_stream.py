"""Bytes to checked text: encodings, gzip files, bombs."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.data.options import ReadOptions
from anomaly.data.stream import checked, open_text
from anomaly.errors import BadData, ConfigInvalid

BLOCK = 1024
MEGABYTE = 2**20


def content(path: Path, options: ReadOptions | None = None) -> bytes:
    with open_text(path, options or ReadOptions(block_bytes=BLOCK)) as chunks:
        return b"".join(chunks)


def written(folder: Path, data: bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def bomb(megabytes: int) -> bytes:
    deflate = zlib.compressobj(9, wbits=31)
    letters = b"a" * MEGABYTE
    return b"".join(deflate.compress(letters) for _ in range(megabytes)) + deflate.flush()


def pulled_until_refused(path: Path, options: ReadOptions) -> tuple[BadData, int]:
    sizes: list[int] = []
    with open_text(path, options) as chunks, pytest.raises(BadData) as refusal:
        sizes.extend(map(len, chunks))
    return refusal.value, sum(sizes)


def test_plain_text_comes_through_as_it_is(tmp_path: Path) -> None:
    text = ("a,b\n" + "naïve,漢字,🙂\n" * 500).encode()

    assert content(written(tmp_path, text)) == text


def test_a_byte_order_mark_is_dropped_and_only_at_the_start(tmp_path: Path) -> None:
    mark = "\ufeff".encode()

    assert content(written(tmp_path, mark + b"a\n" + mark + b"1\n")) == b"a\n" + mark + b"1\n"
    assert content(written(tmp_path, mark)) == b""


@given(data=st.binary(max_size=60), size=st.integers(1, 7))
def test_bytes_pass_if_and_only_if_they_are_text_and_the_first_bad_one_is_named(
    data: bytes, size: int
) -> None:
    chunks = (data[i : i + size] for i in range(0, len(data), size))
    try:
        bad = data.index(b"\0") if b"\0" in data else None
        data[:bad].decode()
    except UnicodeDecodeError as error:
        # A character cut off by the NUL or the end is named by its first byte as well.
        bad = error.start
    if bad is None:
        assert b"".join(checked(chunks)) == data
    else:
        with pytest.raises(BadData, match=rf"byte {bad}\b") as refusal:
            list(checked(chunks))
        assert refusal.value.code == "encoding"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf_16_is_refused_unless_asked_for(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, "a,b\n1,é\n".encode(encoding))

    with pytest.raises(BadData, match=r"byte \d") as refusal:
        content(path)
    assert refusal.value.code == "encoding"

    assert content(path, ReadOptions(encoding=encoding, block_bytes=3)) == "a,b\n1,é\n".encode()


def test_an_encoding_that_was_asked_for_is_transcoded(tmp_path: Path) -> None:
    path = written(tmp_path, "ü,b\n".encode("latin-1"))

    with pytest.raises(BadData, match="byte 0 "):
        content(path)
    assert content(path, ReadOptions(encoding="latin-1")) == "ü,b\n".encode()


def test_bytes_that_are_not_in_the_encoding_that_was_asked_for_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, b"a" * 10 + b"\x81")

    with pytest.raises(BadData, match="byte 10 ") as refusal:
        content(path, ReadOptions(encoding="cp1252", block_bytes=4))
    assert refusal.value.code == "encoding"

    with pytest.raises(BadData) as refusal:
        content(written(tmp_path, b"a\0"), ReadOptions(encoding="latin-1"))
    assert refusal.value.code == "encoding"


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "base64"])
def test_an_encoding_that_is_none_is_refused(encoding: str) -> None:
    with pytest.raises(ConfigInvalid, match=encoding):
        ReadOptions(encoding=encoding)


@pytest.mark.parametrize("mark", ["", ";;", "\n", "é", '"'])
def test_a_delimiter_is_one_character_that_is_not_the_quote(mark: str) -> None:
    with pytest.raises(ConfigInvalid):
        ReadOptions(delimiter=mark)


@pytest.mark.parametrize("name", ["table.csv.gz", "table.csv"])
def test_gzip_is_known_by_its_content_and_may_have_several_members(
    tmp_path: Path, name: str
) -> None:
    data = gzip.compress(b"a,b\n1,2\n", mtime=0) + gzip.compress(b"3,4\n") + b"\0" * 512

    assert content(written(tmp_path, data, name)) == b"a,b\n1,2\n3,4\n"


@settings(max_examples=60, deadline=None)
@given(kept=st.floats(0.0, 1.0, exclude_max=True))
def test_a_truncated_gzip_file_is_refused_wherever_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, kept: float
) -> None:
    whole = gzip.compress(bytes(range(32, 127)) * 100, mtime=0)
    cut = whole[: 1 + int(kept * (len(whole) - 1))]
    path = written(tmp_path_factory.mktemp("cut"), cut, "table.csv.gz")

    with pytest.raises(BadData) as refusal:
        content(path)
    assert refusal.value.code in ("gzip_truncated", "gzip_damaged")


def test_a_file_that_is_cut_in_its_data_is_called_truncated(tmp_path: Path) -> None:
    whole = gzip.compress(bytes(range(32, 127)) * 100)

    with pytest.raises(BadData, match="ends in the middle") as refusal:
        content(written(tmp_path, whole[:-9], "table.csv.gz"))
    assert refusal.value.code == "gzip_truncated"


@pytest.mark.parametrize(
    "data", [b"a,b\n1,2\n", gzip.compress(b"a" * 999, mtime=0)[:-8] + b"\1" * 8]
)
def test_a_gzip_file_that_is_none_or_damaged_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BadData) as refusal:
        content(written(tmp_path, data, "table.csv.gz"))
    assert refusal.value.code == "gzip_damaged"


@pytest.mark.parametrize("megabytes", [3, 10, 100])
def test_a_bomb_is_refused_after_little_more_than_the_ratio_allows(
    tmp_path: Path, megabytes: int
) -> None:
    path = written(tmp_path, bomb(megabytes), "bomb.csv.gz")

    error, pulled = pulled_until_refused(path, ReadOptions(block_bytes=BLOCK))

    assert error.code == "decompressed_too_large"
    assert "200 times" in error.message
    # gzip reads ahead 8 KiB of compressed bytes, which the ratio counts as its size.
    assert pulled <= max(MEGABYTE, 200 * 2 * 8192)


def test_no_more_than_the_cap_is_decompressed(tmp_path: Path) -> None:
    path = written(tmp_path, bomb(20), "bomb.csv.gz")
    options = ReadOptions(block_bytes=BLOCK, max_bytes=5 * MEGABYTE, max_ratio=10_000)

    error, pulled = pulled_until_refused(path, options)

    assert error.code == "decompressed_too_large"
    assert pulled <= 5 * MEGABYTE


def test_a_well_compressed_table_is_no_bomb(tmp_path: Path) -> None:
    rows = b"".join(b"%d,%d\n" % (i, i * i) for i in range(200_000))

    assert content(written(tmp_path, gzip.compress(rows, mtime=0), "table.csv.gz")) == rows
