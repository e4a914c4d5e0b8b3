"""A client of the service: tables and images in, a DataFrame out.

    with Client("http://127.0.0.1:8080", key="ak_...") as client:
        scored = client.score(frame)

`AsyncClient` does the same with `await`. Rows are sent in parts. Scoring changes nothing, so a
request that was turned away (429, 503) or lost on the way is sent again, after as long as the
service asks for.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import numpy as np
import pandas as pd

from anomaly.errors import AnomalyError, BadData, ConfigInvalid

MOST_ROWS, MOST_VALUES = 2_000, 250_000
"""Of one request; the service takes 10,000 rows and 10 MB by default."""

MOST_IMAGES = 4
"""Of one request, however large: the service takes 64 megapixels by default, and 16 of an image."""

TRIES = 5

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between two tries, unless the service says how long; doubled each time."""

TRY_AGAIN = frozenset({429, 503})


class ServiceError(AnomalyError):
    """The service refused, or did not answer.

    Attributes:
        status: Of the answer; None if there was none.
        code: The stable word of the service for it.
        errors: By row and column, as the service lists them.
    """

    code = "service"

    def __init__(
        self, message: str, status: int | None, code: str, errors: Sequence[dict[str, Any]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.errors = list(errors)


@dataclass(frozen=True)
class Call:
    """One request: POST scores, GET describes.

    Attributes:
        options: Of `httpx.Client.request`.
        first: How many rows, or images, were sent before.
    """

    options: dict[str, Any]
    first: int = 0
    method: str = "POST"


MODEL = Call({}, method="GET")


@dataclass
class Answers:
    """What came back, part by part, as one DataFrame."""

    parts: list[pd.DataFrame] = field(default_factory=list)

    def add(self, answer: dict[str, Any]) -> None:
        """One more part."""
        columns: dict[str, Any] = {} if "names" not in answer else {"image": answer["names"]}
        columns |= {
            "score": np.array(answer["scores"], dtype=np.float64),
            "p_value": np.array(answer["p_values"], dtype=np.float64),
            "is_anomaly": pd.array(answer["is_anomaly"], dtype="boolean"),
            "version": answer["model"]["version"],
        }
        for name in ("contributions", "explanations"):
            if answer.get(name) is not None:
                columns[name] = answer[name]
        if answer.get("errors") is not None:
            told: list[str | None] = [None] * len(answer["scores"])
            for error in answer["errors"]:
                where = f"{error['column']}: " if error["column"] else ""
                before = f"{told[error['row']]}; " if told[error["row"]] else ""
                told[error["row"]] = f"{before}{where}{error['msg']}"
            columns["error"] = told
        ids = answer.get("ids", {})
        if taken := ids.keys() & columns.keys():
            raise BadData(
                f"id columns are called like columns of the answer: {', '.join(sorted(taken))}. "
                "Rename them.",
                code="id_name_taken",
            )
        self.parts.append(pd.DataFrame({**ids, **columns}))

    def frame(self, index: pd.Index[Any] | None = None) -> pd.DataFrame:
        """All parts; with the index of what was sent."""
        found = pd.concat(self.parts, ignore_index=True)
        return found if index is None else found.set_axis(index, axis=0)


class _Common:
    """What both clients are made of; no network here."""

    def __init__(
        self, url: str, model: str | None, key: str | None, seconds: float, tries: int
    ) -> None:
        if tries < 1 or (key is not None and not key.isascii()):
            raise ConfigInvalid("tries must be 1 or more, and a key is made of ASCII characters.")
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._options: dict[str, Any] = {"base_url": url, "headers": headers, "timeout": seconds}
        self._tries = tries
        own = "/v1/model" if model is None else f"/v1/models/{quote(model, safe='')}"
        score = "/v1/score" if model is None else f"{own}/score"
        self._paths = {"GET": own, "POST": score}


class Client(_Common):
    """Speaks to one service; closes its connections at the end of a `with`.

    Args:
        url: Such as http://127.0.0.1:8080.
        model: One of several; by default the first.
        key: See `anomaly keys`.
        seconds: To wait for an answer.
        tries: Of a request that is turned away or lost.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        key: str | None = None,
        seconds: float = 60.0,
        tries: int = TRIES,
    ) -> None:
        super().__init__(url, model, key, seconds, tries)
        self._http = httpx.Client(**self._options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def model(self) -> dict[str, Any]:
        """What is served: columns, alpha, threshold, card; needs a key for `read`.

        Raises:
            ServiceError: the service refused, or did not answer.
        """
        return self._send(MODEL)

    def score(
        self,
        rows: pd.DataFrame | str | Path,
        *,
        alpha: float | None = None,
        explain: bool = False,
        partial: bool = False,
    ) -> pd.DataFrame:
        """Score the rows of a DataFrame, or of a CSV file with a header.

        Args:
            alpha: Another false-alarm rate.
            explain: Also say which columns make the score of each flagged row.
            partial: Score the good rows and tell what is wrong with the others, in the column
                `error`; otherwise one bad row refuses its part.

        Returns:
            For each row, in their order and with their index: ids that were sent, `score`,
            `p_value`, `is_anomaly`, the `version` that answered.

        Raises:
            ServiceError: the service refused, or did not answer; what was scored before is lost.
            BadData: the file is no CSV, or a column holds what the service does not take.
        """
        answers = Answers()
        for call in calls_for(rows, alpha, explain=explain, partial=partial):
            answers.add(self._send(call))
        return answers.frame(rows.index if isinstance(rows, pd.DataFrame) else None)

    def score_images(
        self,
        files: Iterable[str | Path],
        *,
        alpha: float | None = None,
        explain: bool = False,
        partial: bool = False,
    ) -> pd.DataFrame:
        """Score PNG and JPEG files; see `score`. `explain` adds heatmaps, PNG in base64."""
        answers = Answers()
        for call in calls_for_images(files, alpha, explain=explain, partial=partial):
            answers.add(self._send(call))
        return answers.frame()

    def _send(self, call: Call) -> dict[str, Any]:
        for tried in range(1, self._tries + 1):
            try:
                answer = self._http.request(call.method, self._paths[call.method], **call.options)
            except httpx.TransportError as error:
                if tried == self._tries or isinstance(error, httpx.UnsupportedProtocol):
                    raise lost(error) from error
                time.sleep(pause_before(tried))
                continue
            if answer.status_code in TRY_AGAIN and tried < self._tries:
                time.sleep(pause_before(tried, answer))
                continue
            break
        return read(answer, call.first)


class AsyncClient(_Common):
    """`Client`, for `async with` and `await`."""

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        key: str | None = None,
        seconds: float = 60.0,
        tries: int = TRIES,
    ) -> None:
        super().__init__(url, model, key, seconds, tries)
        self._http = httpx.AsyncClient(**self._options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def model(self) -> dict[str, Any]:
        """See `Client.model`."""
        return await self._send(MODEL)

    async def score(
        self,
        rows: pd.DataFrame | str | Path,
        *,
        alpha: float | None = None,
        explain: bool = False,
        partial: bool = False,
    ) -> pd.DataFrame:
        """See `Client.score`."""
        answers = Answers()
        for call in calls_for(rows, alpha, explain=explain, partial=partial):
            answers.add(await self._send(call))
        return answers.frame(rows.index if isinstance(rows, pd.DataFrame) else None)

    async def score_images(
        self,
        files: Iterable[str | Path],
        *,
        alpha: float | None = None,
        explain: bool = False,
        partial: bool = False,
    ) -> pd.DataFrame:
        """See `Client.score_images`."""
        answers = Answers()
        for call in calls_for_images(files, alpha, explain=explain, partial=partial):
            answers.add(await self._send(call))
        return answers.frame()

    async def _send(self, call: Call) -> dict[str, Any]:
        for tried in range(1, self._tries + 1):
            try:
                answer = await self._http.request(
                    call.method, self._paths[call.method], **call.options
                )
            except httpx.TransportError as error:
                if tried == self._tries or isinstance(error, httpx.UnsupportedProtocol):
                    raise lost(error) from error
                await asyncio.sleep(pause_before(tried))
                continue
            if answer.status_code in TRY_AGAIN and tried < self._tries:
                await asyncio.sleep(pause_before(tried, answer))
                continue
            break
        return read(answer, call.first)


def calls_for(
    rows: pd.DataFrame | str | Path, alpha: float | None, *, explain: bool, partial: bool
) -> Iterator[Call]:
    """The requests for rows of a table."""
    query = {"explain": "true"} if explain else {}
    if isinstance(rows, pd.DataFrame):
        asked: dict[str, Any] = {} if alpha is None else {"alpha": alpha}
        asked |= {"mode": "partial"} if partial else {}
        step = rows_of(rows.shape[1])
        for first in range(0, max(len(rows), 1), step):
            part = rows.iloc[first : first + step]
            body = {"columns": [str(name) for name in part.columns], "rows": plain_rows(part)}
            content = json.dumps({**body, **asked}).encode()
            yield _posted(content, "application/json", query, first)
        return
    query |= _options(alpha, partial=partial)
    first = 0
    for lines in csv_parts(Path(rows)):
        text = io.StringIO()
        csv.writer(text).writerows(lines)
        yield _posted(text.getvalue().encode(), "text/csv", query, first)
        first += len(lines) - 1


def csv_parts(path: Path) -> Iterator[list[list[str]]]:
    """The header and some rows, again and again; at least once. Blank lines are no rows.

    Raises:
        BadData: it is no CSV in UTF-8; it names the line.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        # Without `strict` a quote that is never closed would swallow the rest of the file.
        reader = csv.reader(file, strict=True)
        rows = (row for row in reader if row)
        try:
            header = next(rows, [])
            step = rows_of(len(header))
            part = list(islice(rows, step))
            while True:
                yield [header, *part]
                part = list(islice(rows, step))
                if not part:
                    return
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadData(
                f"{path} cannot be read as CSV in UTF-8 near line {reader.line_num}: {error}.",
                code="csv_invalid",
            ) from error


def rows_of(columns: int) -> int:
    """How many rows of so many columns are sent together."""
    return max(1, min(MOST_ROWS, MOST_VALUES // max(columns, 1)))


def calls_for_images(
    files: Iterable[str | Path], alpha: float | None, *, explain: bool, partial: bool
) -> Iterator[Call]:
    """The requests for images."""
    query = {"explain": "true"} if explain else {}
    query |= _options(alpha, partial=partial)
    paths = (Path(file) for file in files)
    first = 0
    while part := list(islice(paths, MOST_IMAGES)):
        forms = [("image", (path.name, path.read_bytes())) for path in part]
        yield Call({"files": forms, "params": query}, first)
        first += len(part)


def plain_rows(frame: pd.DataFrame) -> list[list[Any]]:
    """The rows as JSON has them: a missing value is None, a time is ISO 8601."""
    columns = [_plain(frame.iloc[:, place]) for place in range(frame.shape[1])]
    return [list(row) for row in zip(*columns, strict=True)]


def _plain(column: pd.Series[Any]) -> list[Any]:
    absent = column.isna()
    return [
        None if is_absent else _plain_value(value, column.name)
        for value, is_absent in zip(column, absent, strict=True)
    ]


def _plain_value(value: Any, column: Any) -> Any:
    match value:
        case np.datetime64():
            return pd.Timestamp(value).isoformat()
        case np.generic():
            return value.item()
        case date():  # and datetime
            return value.isoformat()
        case Decimal():
            return float(value)
        case str() | int() | float():
            return value
        case _:
            raise BadData(
                f"holds a {type(value).__name__}, which the service does not take. Send numbers, "
                "booleans, texts or times.",
                code="column_type",
                column=str(column),
            )


def pause_before(tried: int, answer: httpx.Response | None = None) -> float:
    """Seconds until the next try: as long as the service says and up to a quarter more, or ever
    longer; by chance, so that many callers do not come back together."""
    asked = "" if answer is None else answer.headers.get("retry-after", "")
    chance = random.uniform(0.5, 1.0)  # noqa: S311
    if asked.isdecimal():
        return float(asked) * (1.5 - 0.5 * chance)
    return min(SHORTEST_PAUSE * 2.0 ** (tried - 1), LONGEST_PAUSE) * chance


def read(answer: httpx.Response, first: int = 0) -> dict[str, Any]:
    """What the service said.

    Args:
        first: What is added to the rows of its errors.

    Raises:
        ServiceError: it refused.
    """
    try:
        told = answer.json()
    except ValueError:
        told = {}
    if answer.status_code == httpx.codes.OK and isinstance(told, dict):
        return told
    if not isinstance(told, dict):
        told = {}
    reason = told.get("detail") or f"the service answered {answer.status_code} without a reason."
    code = told.get("code") or "service"
    errors = [
        {**error, "row": None if error.get("row") is None else error["row"] + first}
        for error in told.get("errors") or ()
    ]
    raise ServiceError(str(reason), answer.status_code, str(code), errors)


def lost(error: httpx.TransportError) -> ServiceError:
    """No answer came."""
    return ServiceError(
        f"the service does not answer ({type(error).__name__}: {error}). Check the address, and "
        "that it runs.",
        None,
        "unreachable",
    )


def _options(alpha: float | None, *, partial: bool) -> dict[str, str]:
    found = {} if alpha is None else {"alpha": repr(alpha)}
    return {**found, "mode": "partial"} if partial else found


def _posted(body: bytes, media_type: str, query: dict[str, str], first: int) -> Call:
    return Call({"content": body, "headers": {"content-type": media_type}, "params": query}, first)
