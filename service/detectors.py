"""The detector that is served: where it came from, loaded, verified and warm."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, assert_never

from anomaly.artifact.directory import digest, load_directory
from anomaly.artifact.golden import golden_rows
from anomaly.artifact.images import golden_images
from anomaly.backends.backend import Device
from anomaly.data.schema import Kind
from anomaly.detector import Detector
from anomaly.heat_png import layer_png
from anomaly.image_detector import AnyDetector, ImageDetector
from service.logs import LOGGER

log = logging.getLogger(LOGGER)

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
        example: Of a table: for each needed column two plausible values, as JSON has them.
    """

    detector: AnyDetector
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

    @property
    def trained_at(self) -> float:
        """Seconds since 1970; NaN if the card tells no time."""
        return _seconds(self.detector.card.created)

    @property
    def calibrated_at(self) -> float:
        """The same, at first or anew."""
        card = self.detector.card
        return _seconds(card.calibrated or card.created)

    @property
    def unit(self) -> str:
        """What is scored: `rows` or `images`."""
        return "rows" if isinstance(self.detector, Detector) else "images"

    def tell(self) -> None:
        """Log that this is what is served from now on."""
        names = {"model": self.name, "version": self.version, "digest": self.digest}
        log.info("version %s of %s is served", self.version, self.name, extra=names)


def _seconds(time: str) -> float:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return float("nan")


def open_directory(directory: Path, device: Device) -> Served:
    """Load what `anomaly train` or `save` wrote; it has the name of its directory.

    Raises:
        ModelNotFound, ArtifactRejected, DeviceUnavailable: see `load_served`.
    """
    return load_served(directory, device, name=directory.resolve().name)


def load_served(
    directory: Path,
    device: Device,
    *,
    name: str,
    version: str = UNREGISTERED,
    run_id: str = "",
    alias: str | None = None,
) -> Served:
    """Load and verify, and score a block once so that the first caller does not wait for it.

    Raises:
        ModelNotFound: there is no model in the directory.
        ArtifactRejected: incomplete, altered, or it scores its golden rows differently here.
        DeviceUnavailable: `cuda` was asked for and there is none.
    """
    detector = load_directory(directory, device)
    return Served(
        detector,
        name,
        version,
        run_id,
        alias,
        digest(directory),
        datetime.now(UTC),
        warmed_up(detector),
    )


def warmed_up(detector: AnyDetector) -> dict[str, list[Any]]:
    """Score what no caller waits for; an example of it, where JSON can hold one."""
    match detector:
        case Detector():
            return example_of(detector)
        case ImageDetector():
            for heat in detector.explain(golden_images(detector)):
                layer_png(heat, *heat.values.shape)
                heat.boxes()
            return {}
        case _:
            assert_never(detector)


def example_of(detector: Detector) -> dict[str, list[Any]]:
    """Two plausible values for each needed column; they come with scores of their rows."""
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
