"""The images: what their Dockerfiles promise, and that what is left out is not needed."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from anomaly.backends.backend import Device
from service.detectors import open_directory
from tests.deploy.dockerfile import instructions

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "docker"
DOCKERFILES = sorted(FOLDER.glob("Dockerfile.*"))
SERVING = [
    Requirement(line)
    for line in (FOLDER / "serving.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.fixture(params=DOCKERFILES, ids=lambda path: path.name)
def dockerfile(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    program = Path(sys.executable).with_name("hadolint")

    found = subprocess.run([program, dockerfile], capture_output=True, text=True, check=False)

    assert (found.stdout, found.returncode) == ("", 0)


def test_bases_are_pinned_by_full_version(dockerfile: Path) -> None:
    base = next(i.value for i in instructions(dockerfile) if i.name == "ARG")

    assert re.fullmatch(r"BASE=python:\d+\.\d+\.\d+-slim-\w+", base)
    stages = {i.stage for i in instructions(dockerfile)}
    for step in instructions(dockerfile):
        if step.name == "FROM":
            assert step.value.split()[0] in {"${BASE}", *stages}


def test_the_image_runs_as_nobody_in_particular_and_tells_its_health(dockerfile: Path) -> None:
    steps = [i for i in instructions(dockerfile) if i.stage not in ("build",)]
    users = [i.value for i in steps if i.name == "USER"]

    assert users == ["65532:65532"]
    assert sum(i.name == "HEALTHCHECK" for i in steps) == 1
    if dockerfile.name != "Dockerfile.mlflow":
        assert any(i.name == "HEALTHCHECK" and ":8080/readyz" in i.value for i in steps)


def test_what_is_copied_is_there_and_not_ignored(dockerfile: Path) -> None:
    allowed = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    for step in instructions(dockerfile):
        if step.name == "COPY" and not step.value.startswith("--from="):
            for source in step.value.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(source == a or source.startswith(f"{a}/") for a in allowed), source


def test_indexes_come_as_arguments_alone(dockerfile: Path) -> None:
    assert not re.search(r"https?://(?!127\.0\.0\.1)", dockerfile.read_text())


def test_what_serving_needs_is_part_of_what_the_project_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["grpc"], *extras["otel"], "mlflow-skinny"]
    needed = {Requirement(line).name for line in lines}

    assert {requirement.name for requirement in SERVING} <= needed


def closure(requirements: list[Requirement]) -> set[str]:
    """The names of the distributions that pip would install."""
    found: set[tuple[str, str]] = set()
    waiting = [
        (canonicalize_name(r.name), extra) for r in requirements for extra in (*r.extras, "")
    ]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue  # for another platform
        found.add((name, extra))
        for needed in map(Requirement, lines):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                extras = (*needed.extras, "")
                waiting += [(canonicalize_name(needed.name), each) for each in extras]
    return {name for name, _ in found}


def missing_modules() -> list[str]:
    """The top modules that are installed here and would not be in the image."""
    kept = closure(SERVING)
    return sorted(
        module
        for module, owners in packages_distributions().items()
        if not kept & {canonicalize_name(owner) for owner in owners}
        and module not in ("anomaly", "training", "service", "tests")
    )


PROGRAM = """
import sys
from pathlib import Path
class Image:
    left_out = frozenset(sys.argv[2].split(","))
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *rest):
        if name.partition(".")[0] not in self.left_out:
            return self.finder.find_spec(name, *rest)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Image, sys.meta_path)
from anomaly.backends.backend import Device
from service.app import create_app
from service.detectors import open_directory
from service.scoring.scorer import Common
from service.settings import Settings
import service.app.server, service.origin, service.grpc, anomaly.artifact.mlflow_flavor
app = create_app(open_directory(Path(sys.argv[1]), Device.CPU), Common(Settings(models=("m",))))
app.scorer.begin()

import asyncio
async def post(headers, body):
    sent = []
    async def receive():
        return {"type": "http.request", "body": body}
    async def send(message):
        sent.append(message)
    scope = {"type": "http", "method": "POST", "path": "/v1/score", "query_string": b"",
             "headers": [(b"content-type", headers), (b"content-length", b"%d" % len(body))],
             "http_version": "1.1", "scheme": "http", "state": {}}
    await app(scope, receive, send)
    print(sent[0]["status"])
asyncio.run(post(sys.argv[3].encode(), Path(sys.argv[4]).read_bytes()))
"""


def status_without(missing: list[str], artifact: Path, kind: str, body: Path) -> str:
    """Of a request that a service answers which cannot import those."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, artifact, ",".join(missing), kind, body],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_torch_and_pandas_are_not_in_the_serving_image() -> None:
    assert {"torch", "pandas", "sklearn", "matplotlib", "sqlalchemy"} <= set(missing_modules())


def bodies(artifact: Path) -> dict[str, str]:
    """Two rows that the model knows, in some of the forms that a table may have."""
    example = open_directory(artifact, Device.CPU).example
    rows = [dict(zip(example, row, strict=True)) for row in zip(*example.values(), strict=True)]
    text = io.StringIO()
    table = csv.DictWriter(text, list(example))
    table.writeheader()
    for row in rows:
        said = {name: "true" if value is True else value for name, value in row.items()}
        table.writerow({name: "false" if value is False else value for name, value in said.items()})
    return {
        "application/json": json.dumps({"records": rows}),
        "application/x-ndjson": "\n".join(map(json.dumps, rows)),
        "text/csv": text.getvalue(),
    }


@pytest.mark.parametrize("kind", ["application/json", "text/csv", "application/x-ndjson"])
def test_tables_are_served_without_what_is_left_out(
    artifact: Path, tmp_path: Path, kind: str
) -> None:
    body = tmp_path / "body"
    body.write_text(bodies(artifact)[kind])

    assert status_without(missing_modules(), artifact, kind, body) == "200"


def test_images_are_served_without_what_is_left_out(image_artifact: Path, tmp_path: Path) -> None:
    body = tmp_path / "body.png"
    Image.new("L", (64, 64), 128).save(body)

    assert status_without(missing_modules(), image_artifact, "image/png", body) == "200"


def test_the_program_for_mlflow_is_a_shell_script_without_faults() -> None:
    shell = shutil.which("sh")
    assert shell is not None
    assert subprocess.run([shell, "-n", FOLDER / "mlflow-server"], check=False).returncode == 0
