"""Tables that are damaged, forged, or far larger than they look: refused before they cost much."""

from __future__ import annotations

import asyncio
import io
import random
import struct
from collections.abc import Callable
from typing import Any

import httpx
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import ipc, parquet

from service.app.edge import Edge
from service.settings import Limits
from tests.service.pumps import Caller, normal_records
from tests.service.table_forms import (
    ARROW,
    CSV,
    EVERY_FORM,
    LINES,
    PARQUET,
    table_of,
    with_column,
    written,
)

CANARY = "kanarienvogel"
TABLE = table_of(normal_records(5, seed=2), serial=[CANARY] * 5, extra=[CANARY] * 5)
HEADER = b"flow,pressure,valve_open,site,taken\n"
BODIES = {form: written(TABLE, form) for form in (CSV, PARQUET, ARROW)}
BODIES[LINES] = written(TABLE.drop_columns(["extra"]), LINES)


def send(caller: Caller, body: bytes, form: str, query: str = "") -> httpx.Response:
    return caller("POST", f"/v1/score{query}", content=body, headers={"content-type": form})


def refusal(caller: Caller, body: bytes, form: str) -> tuple[int, str]:
    answer = send(caller, body, form)
    assert answer.headers["content-type"] == "application/problem+json"
    assert CANARY not in answer.text
    return answer.status_code, answer.json()["code"]


def one_text(n_bytes: int, n_rows: int = 1) -> pa.Table:
    """A table of which one text, in every row, is that long."""
    table = table_of(normal_records(n_rows))
    return with_column(table, "site", pa.array(["a" * n_bytes]).take(pa.array([0] * n_rows)))


@pytest.fixture
def small(make_app: Callable[..., Edge]) -> Caller:
    """Speaks to an application that takes bodies of 30 kB, which may unpack to 600 kB."""
    return Caller(make_app(limits=Limits(body_bytes=30_000, rows=1_000)))


@pytest.mark.parametrize(
    ("form", "code"), [(CSV, "csv_invalid"), (PARQUET, "parquet_invalid"), (ARROW, "arrow_invalid")]
)
def test_a_body_of_another_format_is_refused(form: str, code: str, caller: Caller) -> None:
    other = ARROW if form == PARQUET else PARQUET

    assert refusal(caller, BODIES[other], form) == (400, code)


@pytest.mark.parametrize("form", EVERY_FORM)
def test_an_empty_body_is_400(form: str, caller: Caller) -> None:
    assert refusal(caller, b"", form) == (400, "body_empty")


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b"flow,site\n", CSV),
        (written(TABLE[:0], PARQUET), PARQUET),
        (written(TABLE[:0], ARROW), ARROW),
        (b"\n \n", LINES),
    ],
)
def test_a_table_without_rows_is_422(body: bytes, form: str, caller: Caller) -> None:
    status, code = refusal(caller, body, form)

    assert (status, code) in {(422, "no_rows"), (422, "missing_column")}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (HEADER + b"1,\xff", "csv_invalid"),
        (HEADER + b"1,a\0b", "csv_invalid"),
        (HEADER + b'1,"kanarienvogel', "csv_invalid"),
        ("flow,site\n1,a".encode("utf-16"), "csv_invalid"),
        (b"\n\n", "no_rows"),
        (b"a" * 3_000_000, "csv_invalid"),
        (b'"' + b"a" * 3_000_000, "csv_invalid"),
    ],
)
def test_text_that_is_no_table_is_refused(body: bytes, code: str, caller: Caller) -> None:
    assert refusal(caller, body, CSV)[1] == code


@pytest.mark.parametrize("form", EVERY_FORM)
def test_too_many_rows_are_413(form: str, make_app: Callable[..., Edge]) -> None:
    caller = Caller(make_app(limits=Limits(rows=4)))

    assert refusal(caller, BODIES[form], form) == (413, "too_many_rows")


@pytest.mark.parametrize("form", [CSV, PARQUET, ARROW])
def test_too_many_columns_are_413(form: str, make_app: Callable[..., Edge]) -> None:
    caller = Caller(make_app(limits=Limits(columns=10)))
    wide = TABLE
    for number in range(9):
        wide = wide.append_column(f"x{number}", pa.array([1] * 5))

    assert refusal(caller, written(wide, form), form) == (413, "too_many_columns")


def test_a_file_of_a_billion_rows_is_refused_by_its_footer(caller: Caller) -> None:
    out = io.BytesIO()
    table = pa.table({"flow": pa.nulls(3_000_000, pa.float64())})
    parquet.write_table(table, out)

    assert len(out.getvalue()) < 20_000
    assert refusal(caller, out.getvalue(), PARQUET)[0] in (413, 422)


def test_a_batch_of_a_billion_rows_without_bytes_is_refused(caller: Caller) -> None:
    nothing = pa.nulls(10**9)
    table = pa.table(dict.fromkeys(TABLE.column_names, nothing))

    assert refusal(caller, written(table, ARROW), ARROW) == (413, "too_many_rows")


def test_a_page_that_unpacks_to_too_much_is_refused_before_it_is(small: Caller) -> None:
    body = written(one_text(5_000_000), PARQUET, compression="zstd")
    before = pa.default_memory_pool().max_memory()

    assert len(body) < 30_000
    assert refusal(small, body, PARQUET) == (413, "unpacked_too_large")
    assert pa.default_memory_pool().max_memory() == before


def test_a_long_text_that_is_repeated_is_refused_before_it_is_written_out(small: Caller) -> None:
    long = one_text(10_000, 500)
    packed = with_column(long, "site", long["site"].dictionary_encode())

    for body, form in (
        (written(long, PARQUET, compression="zstd"), PARQUET),
        (written(packed, ARROW), ARROW),
    ):
        assert len(body) < 60_000
        assert refusal(Caller(small.app), body[: 10**6], form)[1] in (
            "unpacked_too_large",
            "body_too_large",
        )


def test_text_told_by_what_it_shares_with_the_text_before_is_refused(small: Caller) -> None:
    body = written(
        one_text(4_000, 300),
        PARQUET,
        use_dictionary=False,
        column_encoding={"site": "DELTA_BYTE_ARRAY"},
    )

    assert len(body) < 30_000
    assert refusal(small, body, PARQUET) == (400, "parquet_invalid")


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_compressed_stream_is_refused(codec: str, caller: Caller) -> None:
    body = written(one_text(50_000), ARROW, options=ipc.IpcWriteOptions(compression=codec))

    assert refusal(caller, body, ARROW) == (400, "arrow_invalid")


def test_a_stream_that_adds_to_its_dictionaries_is_refused(caller: Caller) -> None:
    out = io.BytesIO()
    texts = [pa.array(words).dictionary_encode() for words in (["a"], ["a", "b"])]
    options = ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    first = pa.RecordBatch.from_arrays([texts[0]], ["site"])
    with ipc.new_stream(out, first.schema, options=options) as stream:
        stream.write_batch(first)
        stream.write_batch(pa.RecordBatch.from_arrays([texts[1]], ["site"]))

    assert refusal(caller, out.getvalue(), ARROW) == (400, "arrow_invalid")


def test_offsets_that_point_out_of_the_body_are_refused(caller: Caller) -> None:
    sound, forged = struct.pack("<ii", 0, 77), struct.pack("<ii", 0, 2**30)
    body = written(one_text(77), ARROW)

    # The first of them is the place of the text among the buffers, and not its offsets.
    assert body.count(sound) == 2
    at = body.rindex(sound)
    body = body[:at] + forged + body[at + 8 :]
    assert refusal(caller, body, ARROW) == (400, "arrow_invalid")


def test_text_that_is_no_utf8_is_refused_in_typed_columns_too(caller: Caller) -> None:
    forged = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(struct.pack("<ii", 0, 2)), pa.py_buffer(b"\xff\xfe")]
    )
    table = with_column(table_of(normal_records(1)), "site", forged)

    for form in (ARROW, PARQUET):
        assert refusal(caller, written(table, form), form)[0] == 400


def test_nested_columns_of_a_file_are_refused_by_name(caller: Caller) -> None:
    table = TABLE.append_column("more", pa.array([{"a": {"b": 1}}] * 5))

    assert refusal(caller, written(table, PARQUET), PARQUET) == (422, "wrong_type")


@pytest.mark.parametrize("form", [CSV, PARQUET, ARROW])
def test_no_refusal_repeats_a_value_or_a_name_of_a_type(form: str, caller: Caller) -> None:
    for column in ("flow", "valve_open", "taken"):
        table = with_column(TABLE, column, pa.array([CANARY] * 5))

        status, code = refusal(caller, written(table, form), form)

        assert (status, code) == (422, "invalid_rows")
    zoned = with_column(TABLE, "flow", pa.array([1] * 5, pa.timestamp("s", CANARY)))
    if form != CSV:
        assert refusal(caller, written(zoned, form), form)[0] in (400, 422)


def test_a_table_of_nothing_but_faults_is_answered_in_time(caller: Caller) -> None:
    body = HEADER + b"x,x,x,x,x\n" * 10_000

    answer = send(caller, body, CSV, "?mode=partial")

    assert answer.status_code == 200
    assert len(answer.json()["errors"]) == 10_000


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[str, bytes]:
    """A sound body of any format with a few of its bytes changed, cut or repeated."""
    form = draw(st.sampled_from(EVERY_FORM))
    body = bytearray(BODIES[form])
    chance = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(1, 6))):
        at = chance.randrange(len(body))
        match chance.randrange(4):
            case 0:
                body[at] = chance.randrange(256)
            case 1:
                body[at : at + 4] = struct.pack("<i", chance.choice([-1, 0, 2**31 - 1, 2**20]))
            case 2:
                del body[at : at + chance.randrange(1, 9)]
            case _:
                body[at:at] = body[at : at + chance.randrange(1, 60)]
    return form, bytes(body)


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(bodies=st.lists(spoiled(), min_size=20, max_size=20))
def test_no_damage_is_a_5xx_and_no_refusal_repeats_a_value(
    bodies: list[tuple[str, bytes]], caller: Caller
) -> None:
    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=caller.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://pumps") as client:
            return await asyncio.gather(
                *(
                    client.post("/v1/score", content=body, headers={"content-type": form})
                    for form, body in bodies
                )
            )

    for answer in asyncio.run(main()):
        if answer.status_code != 200:
            assert 400 <= answer.status_code < 500
            document: dict[str, Any] = answer.json()
            assert answer.headers["content-type"] == "application/problem+json"
            # Names that are repeated or unknown are told; a value may be spoiled into a name.
            told = document["detail"] if not document["errors"] else ""
            assert CANARY not in told
