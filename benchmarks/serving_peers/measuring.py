"""One server: started, asked and checked, loaded, asked and checked again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from anomaly.arrays import Float64
from anomaly.detector import Detector
from benchmarks.record import ROOT, Record
from benchmarks.serving_peers.formats import Format, Kind
from benchmarks.serving_peers.load import Load, run_load, write_bodies
from benchmarks.serving_peers.processes import Tree, started
from benchmarks.serving_peers.servers import HOST, Models, Server, free_port

START_SECONDS = 120
POLL_SECONDS = 0.02
ASK_SECONDS = 30
WARM_SECONDS = 1
QUOTED = 1500
"""Characters of an answer or a log that a fault quotes."""


class Fault(Exception):
    """A server did not start, failed a request or gave another score."""


@dataclass(frozen=True)
class Scenario:
    """What is asked of a server.

    Attributes:
        rows: Of one request.
        connections: At once; each asks again as soon as it has its answer.
    """

    name: str
    rows: int
    connections: int
    kind: Kind = Kind.JSON


@dataclass(frozen=True)
class Work:
    """What every server gets.

    Attributes:
        detector: Gives the scores that are right.
        rows: For each number of rows of a request the different requests (N, D), sent in turn.
        seconds: Of each load.
    """

    models: Models
    detector: Detector
    rows: Mapping[int, Sequence[Float64]]
    seconds: int
    server_core: int
    load_core: int


@dataclass(frozen=True)
class Door:
    """Where rows are posted to, and how.

    Attributes:
        port: Of this machine.
    """

    port: int
    path: str
    format: Format

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}{self.path}"

    def ask(self, body: bytes) -> tuple[int, bytes]:
        """Status and answer.

        Raises:
            OSError, HTTPException: there is none.
        """
        connection = HTTPConnection(HOST, self.port, timeout=ASK_SECONDS)
        try:
            connection.request("POST", self.path, body, {"Content-Type": self.format.content_type})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@dataclass(frozen=True)
class Question:
    """One request, and the scores that are right."""

    body: bytes
    scores: list[float]


def measure(
    server: Server, python: Path, scenarios: Sequence[Scenario], work: Work, folder: Path
) -> Iterator[Record]:
    """Start the server, put it through the scenarios, end it.

    Args:
        folder: Is made, for what the server and the load need.

    Yields:
        One record a scenario; none of a format that the server does not read.

    Raises:
        Fault: it did not start, failed a request or gave another score.
    """
    with running(server, python, work, folder) as (tree, port, ready_s):
        for scenario in scenarios:
            if scenario.kind not in server.formats:
                continue
            door = Door(port, server.path, server.formats[scenario.kind])
            questions = questions_of(door.format, work, scenario.rows)
            if door.ask(questions[0].body)[0] == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
                print(f"{server.title} does not read {door.format.content_type}: left out")
                continue
            check(door, questions, scenario.connections)
            bodies = folder / scenario.name
            write_bodies(bodies, [question.body for question in questions])
            load, cpu_seconds = loaded(door, bodies, scenario, work, tree)
            memory = tree.memory_mb()
            check(door, questions, scenario.connections)
            yield {
                "server": server.name,
                "scenario": scenario.name,
                "rows": scenario.rows,
                "connections": scenario.connections,
                "format": scenario.kind.value,
                **asdict(load),
                "cpu_seconds": cpu_seconds,
                **memory,
                "ready_s": ready_s,
            }


@contextmanager
def running(
    server: Server, python: Path, work: Work, folder: Path
) -> Iterator[tuple[Tree, int, float]]:
    """The server, its port, and the seconds it took until the first right answer.

    Raises:
        Fault: from here or the body, with the end of what the server said.
    """
    folder.mkdir()
    log, port = folder / "log", free_port()
    launch = server.prepare(python, work.models, port, folder)
    command = [str(part) for part in launch.command]
    environment = {"PYTHONPATH": str(ROOT), **launch.environment}
    door = Door(port, server.path, server.formats[Kind.JSON])
    question = questions_of(door.format, work, 1)[0]
    began = time.perf_counter()
    try:
        with (
            log.open("wb") as said,
            started(command, environment, work.server_core, folder, said) as tree,
        ):
            wait_until_right(door, question, tree)
            yield tree, port, time.perf_counter() - began
    except Fault as fault:
        tail = log.read_text(encoding="utf-8", errors="replace")[-QUOTED:]
        raise Fault(f"{fault}\nIt said: {tail}") from fault


def questions_of(asked_in: Format, work: Work, rows: int) -> list[Question]:
    """The requests of so many rows, with what the detector itself says of them."""
    names = [column.name for column in work.detector.schema.required]
    return [
        Question(asked_in.encode(names, values), work.detector.anomaly_score(values).tolist())
        for values in work.rows[rows]
    ]


def wait_until_right(door: Door, question: Question, tree: Tree) -> None:
    """Until the server answers, and rightly.

    Raises:
        Fault: it ended, or that took too long.
    """
    deadline = time.perf_counter() + START_SECONDS
    last = "nothing listened"
    while time.perf_counter() < deadline:
        if tree.root.poll() is not None:
            raise Fault(f"it ended with {tree.root.returncode}")
        try:
            return judge(door.format, question, *door.ask(question.body))
        except (OSError, HTTPException, Fault) as error:
            last = str(error)
        time.sleep(POLL_SECONDS)
    raise Fault(f"not ready after {START_SECONDS} s: {last}")


def check(door: Door, questions: Sequence[Question], connections: int) -> None:
    """Ask every question, so many at once.

    Raises:
        Fault: an answer is not right.
    """
    with ThreadPoolExecutor(connections) as pool:
        answers = pool.map(door.ask, [question.body for question in questions])
        for question, (status, answer) in zip(questions, answers, strict=True):
            judge(door.format, question, status, answer)


def judge(asked_in: Format, question: Question, status: int, answer: bytes) -> None:
    """Accept the right scores only, to the last bit.

    Raises:
        Fault: another status, or another score.
    """
    if status != HTTPStatus.OK:
        raise Fault(f"it answered {status}: {answer[:QUOTED]!r}")
    if asked_in.decode is not None and (scores := asked_in.decode(answer)) != question.scores:
        raise Fault(f"scores are {scores[:3]}... instead of {question.scores[:3]}...")


def loaded(
    door: Door, bodies: Path, scenario: Scenario, work: Work, tree: Tree
) -> tuple[Load, float]:
    """A load after a short one to warm up, and the CPU seconds of the server meanwhile.

    Raises:
        Fault: a request failed.
    """

    def once(seconds: int) -> Load:
        return run_load(
            door.url,
            bodies,
            door.format.content_type,
            connections=scenario.connections,
            seconds=seconds,
            core=work.load_core,
        )

    once(WARM_SECONDS)
    before = tree.cpu_seconds()
    load = once(work.seconds)
    spent = tree.cpu_seconds() - before
    if load.failed:
        raise Fault(f"{load.failed} of {load.requests} requests failed under load")
    return load, spent
