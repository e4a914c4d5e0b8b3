"""A Dockerfile as its instructions, and its steps tried without Docker.

    python -m tests.deploy.dockerfile deploy/docker/Dockerfile.cpu serving FOLDER [ARG=VALUE ...]

copies and runs, in a folder, what the stage and those that it is made of copy and run. The roots of
the image become folders in it, and `USER` is passed over; all else is as Docker would do it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One of them, with its continuation lines joined; `stage` is the name it belongs to."""

    stage: str
    name: str
    value: str


def instructions(path: Path) -> list[Instruction]:
    """Every instruction, in order."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[Instruction] = []
    stage = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        name, value = line.split(maxsplit=1)
        if name == "FROM":
            stage = value.split()[-1]
        found.append(Instruction(stage, name, " ".join(value.split())))
    return found


def rehearse(path: Path, stage: str, folder: Path, given: dict[str, str]) -> Path:
    """Do what the stage does, after those it is built from; returns where it works at the end."""
    steps = instructions(path)
    base = next(i.value.split()[0] for i in steps if i.name == "FROM" and i.stage == stage)
    folder.mkdir(parents=True, exist_ok=True)
    place = rehearse(path, base, folder, given) if base in {i.stage for i in steps} else folder
    environment = dict(os.environ)
    for step in (i for i in steps if i.stage == stage):
        match step.name:
            case "ARG":
                name, _, default = step.value.partition("=")
                environment[name] = given.get(name, default)
            case "WORKDIR":
                place = _inside(step.value, folder)
                place.mkdir(parents=True, exist_ok=True)
            case "COPY" if step.value.startswith("--from="):
                rehearse(path, step.value.split()[0].removeprefix("--from="), folder, given)
            case "COPY":
                *sources, target = step.value.split()
                _copy(sources, _inside(target, folder, place))
            case "RUN":
                command = re.sub(r"(?<=\s)(/opt/|/var/)", rf"{folder}\1", step.value)
                print(f"[{stage}] {command}", flush=True)
                subprocess.run(["/bin/sh", "-c", command], cwd=place, env=environment, check=True)
    return place


def _inside(path: str, folder: Path, place: Path | None = None) -> Path:
    return folder / path.lstrip("/") if path.startswith("/") else (place or folder) / path


def _copy(sources: list[str], target: Path) -> None:
    for source in map(Path, sources):
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


if __name__ == "__main__":
    dockerfile, name, root, *arguments = sys.argv[1:]
    rehearse(Path(dockerfile), name, Path(root).resolve(), dict(a.split("=", 1) for a in arguments))
