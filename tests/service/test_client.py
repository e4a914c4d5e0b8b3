"""The client, against a real service: what comes back is what the detector says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anomaly import client as module
from anomaly.client import (
    AsyncClient,
    Client,
    ServiceError,
    pause_before,
    plain_rows,
    rows_of,
)
from anomaly.detector import Detector
from anomaly.errors import BadData
from anomaly.image_detector import ImageDetector
from service.access.keys import Role, make_key, write_keys
from tests.service.app.test_server import Process, running
from tests.service.pumps import normal_records
from tests.textiles import normal_images, written

RECORDS = normal_records(50, seed=21)


@pytest.fixture(scope="module")
def pumps(artifact: Path) -> Iterator[Process]:
    """The service of a table."""
    with running(artifact) as process:
        yield process


def table() -> pd.DataFrame:
    """The records as a user has them, some missing, with an index of their own."""
    found = pd.DataFrame({name: RECORDS.columns[name] for name in RECORDS.columns})
    found["valve_open"] = found["valve_open"].astype(bool)
    return found.set_axis(range(100, 150), axis=0)


def test_a_frame_comes_back_with_its_index_and_the_detectors_own_scores(
    pumps: Process, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts, which nobody notices."""
    monkeypatch.setattr(module, "MOST_ROWS", 7)
    expected = detector.detect(RECORDS)

    with Client(pumps.url) as client:
        found = client.score(table())

    assert found.index.tolist() == list(range(100, 150))
    np.testing.assert_array_equal(found["score"], expected.scores)
    np.testing.assert_array_equal(found["p_value"], expected.p_values)
    assert found["is_anomaly"].tolist() == expected.is_anomaly.tolist()
    assert set(found["version"]) == {"unregistered"}


def test_a_csv_file_is_scored_as_the_frame_that_it_holds(
    pumps: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 7)
    table().to_csv(tmp_path / "rows.csv", index=False)

    with Client(pumps.url) as client:
        expected = client.score(table(), alpha=0.2)
        found = client.score(tmp_path / "rows.csv", alpha=0.2)

    pd.testing.assert_frame_equal(found, expected.reset_index(drop=True))


@pytest.mark.parametrize(
    ("damage", "line"),
    [(lambda text: text + '1,"2', "line"), (lambda text: text + "\udcff", "UTF-8")],
    ids=["an open quote", "another encoding"],
)
def test_a_damaged_file_is_refused_and_no_row_is_lost_silently(
    pumps: Process, tmp_path: Path, damage: Callable[[str], str], line: str
) -> None:
    text = damage(table().to_csv(index=False))
    (tmp_path / "rows.csv").write_bytes(text.encode("utf-8", "surrogateescape"))

    with Client(pumps.url) as client, pytest.raises(BadData, match=line):
        client.score(tmp_path / "rows.csv")


def test_blank_lines_are_no_rows(
    pumps: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a part ends, too."""
    monkeypatch.setattr(module, "MOST_ROWS", 10)
    (tmp_path / "rows.csv").write_text(table().to_csv(index=False) + "\n\n")

    with Client(pumps.url) as client:
        assert len(client.score(tmp_path / "rows.csv")) == 50


def test_a_bad_row_is_named_by_its_place_in_everything_that_was_sent(
    pumps: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 7)
    rows = table().astype(object)
    rows.iloc[40, 1] = "wet"

    with Client(pumps.url) as client, pytest.raises(ServiceError) as refusal:
        client.score(rows)

    assert [error["row"] for error in refusal.value.errors] == [40]


def test_wide_rows_go_in_smaller_parts() -> None:
    assert rows_of(10) == module.MOST_ROWS
    assert rows_of(1_000) * 1_000 <= module.MOST_VALUES
    assert rows_of(10**9) == 1


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (date(2024, 5, 1), "2024-05-01"),
        (Decimal("1.5"), 1.5),
        (np.datetime64("2024-05-01T00:00:00"), "2024-05-01T00:00:00"),
        (np.float32(0.5), 0.5),
        (pd.NA, None),
        (True, True),
    ],
    ids=str,
)
def test_values_of_databases_are_sent_as_json_has_them(value: Any, plain: Any) -> None:
    assert plain_rows(pd.DataFrame({"x": pd.Series([value], dtype=object)})) == [[plain]]


def test_what_the_service_does_not_take_is_named_by_its_column() -> None:
    with pytest.raises(BadData, match="bytes") as refusal:
        plain_rows(pd.DataFrame({"x": [b"1"]}))
    assert refusal.value.column == "x"


def test_both_clients_say_the_same(pumps: Process) -> None:
    async def ask() -> pd.DataFrame:
        async with AsyncClient(pumps.url) as client:
            return await client.score(table(), alpha=0.2, explain=True)

    with Client(pumps.url) as client:
        expected = client.score(table(), alpha=0.2, explain=True)

    pd.testing.assert_frame_equal(asyncio.run(ask()), expected)
    assert expected["contributions"].notna().tolist() == expected["is_anomaly"].tolist()


def test_what_is_wrong_with_a_row_is_told(pumps: Process) -> None:
    rows = table().iloc[:3].astype(object)
    rows.iloc[1, 1] = "wet"

    with Client(pumps.url) as client:
        with pytest.raises(ServiceError) as refusal:
            client.score(rows)
        found = client.score(rows, partial=True)

    assert (refusal.value.status, refusal.value.code) == (422, "invalid_rows")
    assert [error["column"] for error in refusal.value.errors] == ["flow"]
    assert found["score"].isna().tolist() == [False, True, False]
    assert "flow" in found["error"].iloc[1]


def test_a_model_says_what_it_is(pumps: Process, detector: Detector) -> None:
    with Client(pumps.url) as client:
        assert client.model()["alpha"] == detector.calibration.alpha


def test_keys_are_sent(artifact: Path, tmp_path: Path) -> None:
    key, token = make_key(Role.SCORE)
    write_keys(tmp_path / "keys.json", [key])
    with running(artifact, "--keys", str(tmp_path / "keys.json")) as process:
        with Client(process.url, key=token) as client:
            assert len(client.score(table())) == 50
            with pytest.raises(ServiceError) as refusal:
                client.model()
        assert (refusal.value.status, refusal.value.code) == (403, "forbidden")
        with Client(process.url) as stranger, pytest.raises(ServiceError) as refusal:
            stranger.score(table())
        assert refusal.value.status == 401


def test_images_are_files(
    image_artifact: Path, image_detector: ImageDetector, tmp_path: Path
) -> None:
    images = normal_images(3, seed=5)
    paths = written(images, tmp_path)
    with running(image_artifact) as process, Client(process.url, seconds=120) as client:
        found = client.score_images(paths, explain=True)

    np.testing.assert_array_equal(found["score"], image_detector.anomaly_score(images))
    assert found["image"].tolist() == [path.name for path in paths]
    assert all(heat["heatmap"] for heat in found["explanations"])


class Moody(BaseHTTPRequestHandler):
    """A service that turns the first requests away, each in another way."""

    moods: list[str]

    def do_GET(self) -> None:
        mood = self.moods.pop(0) if self.moods else "good"
        if mood == "gone":
            self.connection.close()
            return
        body = b'{"detail": "not now.", "code": "overloaded"}' if mood != "good" else b'{"a": 1}'
        self.send_response({"busy": 503, "greedy": 429, "bad": 400, "good": 200}[mood])
        if mood in ("busy", "greedy"):
            self.send_header("retry-after", "0")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def moody() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Moody) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("moods", [["busy", "greedy", "busy"], ["gone", "busy"]], ids=str)
def test_whoever_is_turned_away_comes_again(
    moody: str, moods: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHORTEST_PAUSE", 0.01)

    async def ask() -> dict[str, Any]:
        async with AsyncClient(moody) as client:
            return await client.model()

    Moody.moods = list(moods)
    with Client(moody) as client:
        assert client.model() == {"a": 1}
    Moody.moods = list(moods)
    assert asyncio.run(ask()) == {"a": 1}


@pytest.mark.parametrize(("moods", "status"), [(["busy"] * 9, 503), (["bad"], 400)], ids=str)
def test_what_stays_refused_is_an_error_with_its_reason(
    moody: str, moods: list[str], status: int
) -> None:
    Moody.moods = list(moods)
    with Client(moody, tries=3) as client, pytest.raises(ServiceError, match="not now") as refusal:
        client.model()

    assert refusal.value.status == status
    assert len(Moody.moods) == (6 if status == 503 else 0)


def test_nobody_at_the_address_is_an_error_that_says_so() -> None:
    with Client("http://127.0.0.1:9", tries=1) as client, pytest.raises(ServiceError) as refusal:
        client.model()

    assert (refusal.value.status, refusal.value.code) == (None, "unreachable")


def test_pauses_grow_and_are_never_the_same() -> None:
    pauses = [[pause_before(tried) for _ in range(50)] for tried in range(1, 10)]

    for shorter, longer in pairwise(pauses):
        assert max(shorter) <= 2 * max(longer)
        assert len(set(shorter)) > 1
    assert max(max(of) for of in pauses) <= module.LONGEST_PAUSE
