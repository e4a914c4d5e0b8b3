"""Where models come from: a folder, or a registry with a copy of its last good model on disk."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from anomaly.artifact.directory import digest
from anomaly.backends.backend import Device
from anomaly.errors import ArtifactRejected, ConfigInvalid, DependencyDown
from service.detectors import Served, load_served, open_directory
from service.logs import LOGGER

log = logging.getLogger(LOGGER)

LAST = "last.json"

MOST_COPIES = 2
"""Of models on disk: the last good one, and the one before."""


@dataclass(frozen=True)
class Copy:
    """A model on disk, as the registry knew it.

    Attributes:
        digest: Of the artifact; also the name of its folder.
    """

    name: str
    version: str
    alias: str | None
    run_id: str
    digest: str


class Origin:
    """The model behind one URI.

    Args:
        uri: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        cache: The folder of all copies; each model of each registry has one of its own in it.
    """

    def __init__(self, uri: str, device: Device, cache: Path) -> None:
        self.uri = uri
        self.device = device
        self._cache = cache

    def version(self) -> str:
        """Which version the registry names now.

        Raises:
            ModelNotFound, DependencyDown, ConfigInvalid: see `anomaly.artifact.mlflow_flavor.find`.
        """
        from anomaly.artifact.mlflow_flavor import find

        patience()
        return str(find(self.uri).version)

    def fetch(self) -> Served:
        """Download what the registry names, verify it and load it.

        Raises:
            ModelNotFound, DependencyDown, ConfigInvalid: see `mlflow_flavor.fetch`.
            ArtifactRejected: incomplete, altered, or it scores its golden rows differently here.
        """
        from anomaly.artifact.mlflow_flavor import fetch

        patience()
        folder = self._folder()
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as new:
            found = fetch(self.uri, Path(new))
            copy = Copy(
                found.name, found.version, found.alias, found.run_id, digest(found.directory)
            )
            served = self._load(found.directory, copy)
            with locked(folder):
                place = folder / copy.digest
                if place.exists():
                    # It may have been altered; this one was verified.
                    place.replace(Path(new) / "old")
                found.directory.replace(place)
        return served

    def keep(self, served: Served) -> None:
        """Remember what is served as the last good one, and forget all but the one before.

        Raises:
            ConfigInvalid, OSError: the folder cannot be written to.
        """
        folder = self._folder()
        copy = Copy(served.name, served.version, served.alias, served.run_id, served.digest)
        with locked(folder):
            written = folder / f".{LAST}"
            written.write_text(json.dumps(asdict(copy)))
            written.replace(folder / LAST)
            others = [p for p in folder.iterdir() if p.is_dir() and p.name != copy.digest]
            kept = [path for path in others if not path.name.startswith(".")]
            kept.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
            for old in kept[MOST_COPIES - 1 :]:
                shutil.rmtree(old, ignore_errors=True)

    def last(self) -> Served | None:
        """The copy of the last good model; None if there is none.

        Raises:
            ConfigInvalid: others may write to the folder.
            ArtifactRejected: the copy was altered.
        """
        folder = self._folder()
        with locked(folder):
            if not (folder / LAST).is_file():
                return None
            try:
                copy = Copy(**json.loads((folder / LAST).read_bytes()))
            except (ValueError, TypeError) as error:
                raise ArtifactRejected(f"{folder / LAST} does not describe a copy") from error
            return self._load(folder / copy.digest, copy)

    def _folder(self) -> Path:
        """That of this model of this registry, made if need be."""
        from anomaly.artifact.mlflow_flavor import address

        name = sha256(f"{address()}\n{self.uri}".encode()).hexdigest()[:16]
        own_folder(self._cache / name)
        return self._cache / name

    def _load(self, directory: Path, copy: Copy) -> Served:
        served = load_served(
            directory,
            self.device,
            name=copy.name,
            version=copy.version,
            run_id=copy.run_id,
            alias=copy.alias,
        )
        if served.digest != copy.digest:
            raise ArtifactRejected(f"the model in {directory} is not the one that was kept there")
        return served


class Opened(NamedTuple):
    """A model to begin with.

    Attributes:
        origin: Where newer versions come from; None of a folder.
        is_stale: Whether the registry did not answer, so that this is the last good one.
    """

    served: Served
    origin: Origin | None
    is_stale: bool


def open_model(model: str, device: Device, cache: Path) -> Opened:
    """The model to begin with.

    Raises:
        ModelNotFound, ArtifactRejected, DependencyDown, ConfigInvalid, DeviceUnavailable: there is
            nothing to serve.
    """
    if not model.startswith("models:/"):
        return Opened(open_directory(Path(model), device), None, False)
    origin = Origin(model, device, cache)
    try:
        served = origin.fetch()
        origin.keep(served)
        return Opened(served, origin, False)
    except DependencyDown as error:
        last = origin.last()
        if last is None:
            raise
        log.warning("%s The last good copy is served: version %s.", error, last.version)
        return Opened(last, origin, True)


def patience() -> None:
    """MLflow's own, 7 retries of 120 s, looks like a hang. To be said before it is imported."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def own_folder(folder: Path) -> None:
    """Make the folder, for nobody else.

    Raises:
        ConfigInvalid: it cannot be made, or others may write to it: what lies in it is served.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigInvalid(
            f"the folder {folder} for copies of models cannot be made ({error.strerror}). Set "
            "ANOMALY_SERVICE__CACHE to one that can."
        ) from error
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigInvalid(
            f"the folder {folder} for copies of models belongs to another user, or others may "
            "write to it. Set ANOMALY_SERVICE__CACHE to a folder of your own."
        )
