"""The MLflow face of the artifact: log, find and fetch.

`mlflow.pyfunc` gets a loader module and a data path, which writes no pickle and loads with
`MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false`. Everything of ours that loads from MLflow downloads
the directory and parses it itself (`fetch`).
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from anomaly.artifact.card import card_text
from anomaly.artifact.directory import save
from anomaly.artifact.wheel import pack_wheel
from anomaly.errors import AnomalyError, ConfigInvalid, DependencyDown, ModelNotFound
from anomaly.image_detector import AnyDetector

DATABASE_ERRORS: tuple[type[Exception], ...] = ()
"""Of a registry that is a database; none with mlflow-skinny, which only talks to servers."""

with suppress(ImportError):
    from sqlalchemy.exc import SQLAlchemyError

    DATABASE_ERRORS = (SQLAlchemyError,)

FOLDER = "detector"
"""The artifact's folder within the MLflow model, below `data/`."""

CHAMPION = "champion"

DEFAULT_REGISTRY = "sqlite:///mlflow.db"
"""A file in the current folder: tracking and registry without a server."""

REQUIREMENTS = (
    *("mlflow", "numpy", "pandas", "pillow", "pyarrow", "pydantic", "PyYAML", "safetensors"),
    "scipy",
)
"""What scoring needs; pinned to what is installed. torch is not among them."""


@dataclass(frozen=True)
class Fetched:
    """A model that was downloaded.

    Attributes:
        directory: The artifact.
        alias: The alias by which it was asked for, if it was.
    """

    directory: Path
    name: str
    version: str
    alias: str | None
    run_id: str


def connect(*, create: bool = False) -> mlflow.MlflowClient:
    """A client of the registry that MLFLOW_TRACKING_URI names, or of the default one.

    Args:
        create: Whether a registry that is a file may be made; looking something up must not.

    Raises:
        ModelNotFound: the registry is a file that does not exist.
        ConfigInvalid: MLflow knows no registry of that kind.
        DependencyDown: its database cannot be opened.
    """
    # MLflow's own patience, 7 retries of 120 s, looks like a hang.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(DEFAULT_REGISTRY)
    if not create:
        _refuse_missing_file(mlflow.get_registry_uri())
    try:
        with _one_at_a_time(mlflow.get_tracking_uri()):
            return mlflow.MlflowClient()
    except MlflowException as error:
        raise ConfigInvalid(
            f"MLflow cannot use the registry at {mlflow.get_tracking_uri()!r}: {error.message} Set "
            f"MLFLOW_TRACKING_URI to an address such as http://host:5000 or {DEFAULT_REGISTRY}."
        ) from error
    except DATABASE_ERRORS as error:
        raise DependencyDown(
            f"the database of the registry at {mlflow.get_tracking_uri()!r} cannot be opened "
            f"({type(error).__name__}). Check MLFLOW_TRACKING_URI, that the database runs, and "
            "that its folder may be written to."
        ) from error


def address() -> str:
    """Which registry is asked, with the whole path of one that is a file."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(DEFAULT_REGISTRY)
    found = str(mlflow.get_registry_uri())
    path = found.removeprefix("sqlite:///")
    return found if path == found else f"sqlite:///{Path(path).absolute()}"


def log_model(detector: AnyDetector, name: str) -> tuple[ModelVersion, bool]:
    """Log the detector to the active run and register it as the next version of `name`.

    The first version of a name becomes its champion; later ones by `promote`.

    Returns:
        The version, and whether it became the champion.

    Raises:
        DependencyDown: the registry does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="anomaly-") as folder:
        directory = Path(folder) / FOLDER
        save(detector, directory)
        wheel = pack_wheel(Path(folder))
        with registry_errors(name):
            return _log_and_register(detector, name, directory, wheel)


def _log_and_register(
    detector: AnyDetector, name: str, directory: Path, wheel: Path
) -> tuple[ModelVersion, bool]:
    # Of MLflow it needs more than mlflow-skinny has, which is enough to serve.
    from anomaly.artifact.pyfunc import LOADER, example_of, signature_of

    info = mlflow.pyfunc.log_model(
        name=FOLDER,
        loader_module=LOADER,
        data_path=str(directory),
        code_paths=[str(wheel)],
        pip_requirements=[
            f"code/{wheel.name}",
            *(f"{package}=={version(package)}" for package in REQUIREMENTS),
        ],
        signature=signature_of(detector),
        input_example=example_of(detector),
    )
    client = connect(create=True)
    if not _is_registered(client, name):
        client.create_registered_model(name)
    registered = client.create_model_version(
        name,
        info.model_uri,
        run_id=info.run_id,
        description=card_text(detector),
        tags={
            "alpha": f"{detector.calibration.alpha:g}",
            "data_digest": detector.card.data.get("sha256", ""),
        },
        model_id=info.model_id,
    )
    is_champion = CHAMPION not in client.get_registered_model(name).aliases
    if is_champion:
        client.set_registered_model_alias(name, CHAMPION, registered.version)
    return registered, is_champion


def promote(name: str, version: str, alias: str = CHAMPION) -> str | None:
    """Point the alias at a version.

    Returns:
        The version it pointed at before, or None.

    Raises:
        ModelNotFound: no such model or version.
        DependencyDown: the registry does not answer.
    """
    client = connect()
    with registry_errors(f"{name} version {version}"):
        client.get_model_version(name, version)
        before = client.get_registered_model(name).aliases.get(alias)
        client.set_registered_model_alias(name, alias, version)
    return None if before is None else str(before)


def fetch(uri: str, destination: Path) -> Fetched:
    """Download the artifact behind `models:/name@alias` or `models:/name/version`.

    Only the artifact's own directory is used; nothing of the MLflow model is loaded or run.

    Raises:
        ConfigInvalid: not such a URI.
        ModelNotFound: no such model, version or alias, or not a model of this project.
        DependencyDown: the registry does not answer.
    """
    found = find(uri)
    name = found.name
    alias = uri.partition("@")[2] or None
    with registry_errors(uri):
        folder = Path(
            mlflow.artifacts.download_artifacts(
                artifact_uri=f"models:/{name}/{found.version}", dst_path=str(destination)
            )
        )
    directory = folder / "data" / FOLDER
    if not directory.is_dir():
        raise ModelNotFound(
            f"{uri} is an MLflow model, but not one that `anomaly train` registered: it has no "
            f"data/{FOLDER}. Train and register one under this name, or give another name."
        )
    return Fetched(directory, name, str(found.version), alias, found.run_id or "")


NAME = r"[\w .-]+"
URI = rf"models:/(?P<name>{NAME})(?:@(?P<alias>{NAME})|/(?P<version>\d+))"


def check_name(name: str) -> None:
    """Refuse a name under which no model could be found again.

    Raises:
        ConfigInvalid: empty, or with other characters than letters, digits and ` _.-`.
    """
    if re.fullmatch(NAME, name) is None:
        raise ConfigInvalid(
            f"{name!r} cannot name a model: use letters, digits, spaces and `_.-`, so that "
            "`models:/NAME@champion` finds it."
        )


def check_registry() -> None:
    """Find out whether the registry answers, before any work is done.

    Raises:
        DependencyDown: it does not.
    """
    client = connect(create=True)
    with registry_errors("all models"):
        client.search_registered_models(max_results=1)


def find(uri: str) -> ModelVersion:
    """The registered version behind a URI; see `fetch`."""
    parts = re.fullmatch(URI, uri)
    if parts is None:
        raise ConfigInvalid(
            f"{uri!r} is not a model URI. Write `models:/NAME@ALIAS`, such as "
            "`models:/pumps@champion`, or `models:/NAME/VERSION`."
        )
    client = connect()
    with registry_errors(uri):
        if parts["alias"]:
            return client.get_model_version_by_alias(parts["name"], parts["alias"])
        return client.get_model_version(parts["name"], parts["version"])


def registry() -> tuple[str, list[str]]:
    """Which registry is asked, and the names of all models in it.

    Raises:
        DependencyDown: the registry does not answer.
    """
    client = connect()
    with registry_errors("all models"):
        names = [model.name for model in client.search_registered_models()]
    return mlflow.get_registry_uri(), names


@contextmanager
def registry_errors(what: str) -> Iterator[None]:
    """MLflow's errors as ours."""
    try:
        yield
    except MlflowException as error:
        # MLflow calls an alias that nobody set an invalid parameter, too.
        is_missing = "not found" in str(error.message)
        if error.error_code == "INVALID_PARAMETER_VALUE" and not is_missing:
            raise ConfigInvalid(f"{what}: MLflow refuses it: {error.message}") from error
        if is_missing or error.error_code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            raise ModelNotFound(
                f"{what}: the registry at {mlflow.get_registry_uri()} has no such model, version "
                f"or alias ({error.message}). `anomaly train DATA --name NAME` registers one; the "
                "environment variable MLFLOW_TRACKING_URI says which registry is asked."
            ) from error
        raise DependencyDown(
            f"{what}: the registry at {mlflow.get_registry_uri()} refused ({error.message}). Check "
            "MLFLOW_TRACKING_URI and that the server runs."
        ) from error
    except OSError as error:
        if isinstance(error, AnomalyError):
            raise
        raise DependencyDown(
            f"{what}: the registry at {mlflow.get_registry_uri()} does not answer "
            f"({type(error).__name__}). Check MLFLOW_TRACKING_URI and that the server runs."
        ) from error


def _refuse_missing_file(registry_uri: str) -> None:
    path = Path(registry_uri.removeprefix("sqlite:///"))
    if registry_uri.startswith("sqlite:///") and not path.exists():
        raise ModelNotFound(
            f"there is no registry at {path.absolute()}. Run in the folder where the model "
            "was trained, or set MLFLOW_TRACKING_URI."
        )


@contextmanager
def _one_at_a_time(registry_uri: str) -> Iterator[None]:
    """Let no other process open a registry that is a file meanwhile: of two that find none, each
    would make its tables, and one fail.

    Its folder is locked, so that no other file is left behind; the lock ends with the process.
    """
    folder = Path(registry_uri.removeprefix("sqlite:///")).parent
    if not registry_uri.startswith("sqlite:///") or not folder.is_dir():
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some network file systems lock no folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_registered(client: mlflow.MlflowClient, name: str) -> bool:
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return True
