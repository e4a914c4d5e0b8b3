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
from datetime import datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
import pandas as pd

from anomaly.errors import AnomalyError

MOST_ROWS = 2_000
"""Of one request; the service takes 10,000 by default."""

MOST_IMAGES = 16
"""Of one request; the service takes 64 by default."""

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
    """One request that scores.

    Attributes:
        options: Of `httpx.Client.request`.
    """

    options: dict[str, Any]
    method: str = "POST"
    path: str = "/v1/score"


@dataclass
class Answers:
    """What came back, part by part, as one DataFrame."""

    parts: list[pd.DataFrame] = field(default_factory=list)

    def add(self, answer: dict[str, Any]) -> None:
        """One more part."""
        columns: dict[str, Any] = {**answer.get("ids", {})}
        if "names" in answer:
            columns["image"] = answer["names"]
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
        self.parts.append(pd.DataFrame(columns))

    def frame(self, index: pd.Index[Any] | None = None) -> pd.DataFrame:
        """All parts; with the index of what was sent."""
        found = pd.concat(self.parts, ignore_index=True)
        return found if index is None else found.set_axis(index, axis=0)


class _Common:
    """What both clients are made of; no network here."""

    def __init__(self, url: str, key: str | None, seconds: float, tries: int) -> None:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._options: dict[str, Any] = {"base_url": url, "headers": headers, "timeout": seconds}
        self._tries = tries


class Client(_Common):
    """Speaks to one service; closes its connections at the end of a `with`.

    Args:
        url: Such as http://127.0.0.1:8080.
        key: See `anomaly keys`.
        seconds: To wait for an answer.
        tries: Of a request that is turned away or lost.
    """

    def __init__(
        self, url: str, *, key: str | None = None, seconds: float = 60.0, tries: int = TRIES
    ) -> None:
        super().__init__(url, key, seconds, tries)
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
        return self._send(Call({}, "GET", "/v1/model"))

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
            ServiceError: the service refused, or did not answer.
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
                answer = self._http.request(call.method, call.path, **call.options)
            except httpx.TransportError as error:
                if tried == self._tries:
                    raise lost(error) from error
                time.sleep(pause_before(tried))
                continue
            if answer.status_code in TRY_AGAIN and tried < self._tries:
                time.sleep(pause_before(tried, answer))
                continue
            break
        return read(answer)


class AsyncClient(_Common):
    """`Client`, for `async with` and `await`."""

    def __init__(
        self, url: str, *, key: str | None = None, seconds: float = 60.0, tries: int = TRIES
    ) -> None:
        super().__init__(url, key, seconds, tries)
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
        return await self._send(Call({}, "GET", "/v1/model"))

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
                answer = await self._http.request(call.method, call.path, **call.options)
            except httpx.TransportError as error:
                if tried == self._tries:
                    raise lost(error) from error
                await asyncio.sleep(pause_before(tried))
                continue
            if answer.status_code in TRY_AGAIN and tried < self._tries:
                await asyncio.sleep(pause_before(tried, answer))
                continue
            break
        return read(answer)


def calls_for(
    rows: pd.DataFrame | str | Path, alpha: float | None, *, explain: bool, partial: bool
) -> Iterator[Call]:
    """The requests for rows of a table."""
    query = {"explain": "true"} if explain else {}
    if isinstance(rows, pd.DataFrame):
        asked: dict[str, Any] = {} if alpha is None else {"alpha": alpha}
        asked |= {"mode": "partial"} if partial else {}
        for start in range(0, max(len(rows), 1), MOST_ROWS):
            part = rows.iloc[start : start + MOST_ROWS]
            body = {"columns": [str(name) for name in part.columns], "rows": plain_rows(part)}
            yield _posted(json.dumps({**body, **asked}).encode(), "application/json", query)
        return
    query |= _options(alpha, partial=partial)
    with Path(rows).open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        part_of = list(islice(lines, MOST_ROWS))
        while True:
            text = io.StringIO()
            csv.writer(text).writerows([header, *part_of])
            yield _posted(text.getvalue().encode(), "text/csv", query)
            part_of = list(islice(lines, MOST_ROWS))
            if not part_of:
                return


def calls_for_images(
    files: Iterable[str | Path], alpha: float | None, *, explain: bool, partial: bool
) -> Iterator[Call]:
    """The requests for images."""
    query = {"explain": "true"} if explain else {}
    query |= _options(alpha, partial=partial)
    paths = (Path(file) for file in files)
    while part := list(islice(paths, MOST_IMAGES)):
        forms = [("image", (path.name, path.read_bytes())) for path in part]
        yield Call({"files": forms, "params": query})


def plain_rows(frame: pd.DataFrame) -> list[list[Any]]:
    """The rows as JSON has them: a missing value is None, a time is ISO 8601."""
    columns = [_plain(frame.iloc[:, place]) for place in range(frame.shape[1])]
    return [list(row) for row in zip(*columns, strict=True)]


def _plain(column: pd.Series[Any]) -> list[Any]:
    absent = column.isna()
    return [
        None if is_absent else _plain_value(value)
        for value, is_absent in zip(column, absent, strict=True)
    ]


def _plain_value(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case np.generic():
            return value.item()
        case _:
            return value


def pause_before(tried: int, answer: httpx.Response | None = None) -> float:
    """Seconds until the next try: as long as the service says, or ever longer, by chance so that
    many callers do not come back together."""
    asked = "" if answer is None else answer.headers.get("retry-after", "")
    if asked.isdecimal():
        return min(float(asked), LONGEST_PAUSE)
    longest = min(SHORTEST_PAUSE * 2.0 ** (tried - 1), LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311


def read(answer: httpx.Response) -> dict[str, Any]:
    """What the service said.

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
    raise ServiceError(str(reason), answer.status_code, str(code), told.get("errors") or ())


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


def _posted(body: bytes, media_type: str, query: dict[str, str]) -> Call:
    return Call({"content": body, "headers": {"content-type": media_type}, "params": query})
