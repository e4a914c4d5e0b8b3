"""The detector that is served: where it came from, loaded, verified and warm."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from anomaly.artifact.directory import digest, load_directory
from anomaly.artifact.golden import golden_rows
from anomaly.backends.backend import Device
from anomaly.data.schema import Kind
from anomaly.detector import Detector
from anomaly.image_detector import of_tables

UNREGISTERED = "unregistered"
"""The version of a detector that came from a directory."""


@dataclass(frozen=True)
class Served:
    """One detector and its origin.

    Attributes:
        name: Of the registered model, or of the directory.
        run_id: The MLflow run that made it; empty if none did.
        alias: The alias by which it was asked for, if it was.
        digest: SHA-256 of the manifest, which holds the digests of every other file.
        loaded_at: UTC.
        example: For each needed column two plausible values, as JSON has them.
    """

    detector: Detector
    name: str
    version: str
    run_id: str
    alias: str | None
    digest: str
    loaded_at: datetime
    example: dict[str, list[Any]]

    @property
    def device(self) -> str:
        """Where it computes: `cpu` or `cuda`."""
        return self.detector.backend.device


def open_served(model: str, device: Device) -> Served:
    """Load from a directory or from MLflow, and score a block once so that the first caller
    does not wait for it.

    Args:
        model: A directory, or a URI such as `models:/pumps@champion`.

    Raises:
        ModelNotFound: no such directory, model, version or alias.
        ArtifactRejected: incomplete, altered, or it scores its golden rows differently here.
        DependencyDown: the registry does not answer.
        DeviceUnavailable: `cuda` was asked for and there is none.
    """
    if not model.startswith("models:/"):
        directory = Path(model)
        return _served(directory, device, name=directory.resolve().name)
    from anomaly.artifact.mlflow_flavor import fetch

    # mkdtemp makes the directory with mode 0700: nobody else can swap a file between download
    # and check.
    with tempfile.TemporaryDirectory(prefix="anomaly-") as folder:
        found = fetch(model, Path(folder))
        return _served(
            found.directory,
            device,
            name=found.name,
            version=found.version,
            run_id=found.run_id,
            alias=found.alias,
        )


def _served(
    directory: Path,
    device: Device,
    *,
    name: str,
    version: str = UNREGISTERED,
    run_id: str = "",
    alias: str | None = None,
) -> Served:
    detector = of_tables(load_directory(directory, device))
    return Served(
        detector,
        name,
        version,
        run_id,
        alias,
        digest(directory),
        datetime.now(UTC),
        example_of(detector),
    )


def example_of(detector: Detector) -> dict[str, list[Any]]:
    """Two plausible values for each needed column; scoring them warms the detector up."""
    columns = golden_rows(detector).columns
    example: dict[str, list[Any]] = {}
    for column in detector.schema.required:
        values: list[Any] = list(columns[column.name][:2])
        match column.kind:
            case Kind.BOOLEAN:
                values = [bool(value) for value in values]
            case Kind.DATETIME:
                # A date that was never there is 0.0 among the golden rows.
                values = [value if isinstance(value, str) else None for value in values]
        example[column.name] = values
    return example
