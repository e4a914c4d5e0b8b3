"""A detector on disk: a directory of safetensors and JSON, and its MLflow face."""

from __future__ import annotations

import tempfile
from pathlib import Path

from anomaly.artifact.directory import load_directory, save
from anomaly.backends.backend import BackendName, Device
from anomaly.detector import Detector
from anomaly.image_detector import AnyDetector, ImageDetector, of_images, of_tables

__all__ = ["load", "load_any", "load_directory", "load_images", "save"]


def load(
    source: str | Path, device: Device = Device.AUTO, backend: BackendName | None = None
) -> Detector:
    """Load a detector of tables from a directory or from MLflow.

    Args:
        source: A directory, or a URI such as `models:/pumps@champion` or `models:/pumps/3`.
        device: Where to score.
        backend: Which library computes; None is the one for the device.

    Raises:
        ArtifactRejected: incomplete, altered, of another format, or it computes other scores.
        ModelNotFound: no such directory, model, version or alias.
        DependencyDown: the registry does not answer.
        DeviceUnavailable: `cuda` was asked for and there is none.
        ConfigInvalid: it looks at images.
    """
    return of_tables(load_any(source, device, backend))


def load_images(
    source: str | Path, device: Device = Device.AUTO, backend: BackendName | None = None
) -> ImageDetector:
    """Load a detector of images; as `load`.

    Raises:
        ConfigInvalid: it looks at a table.
    """
    return of_images(load_any(source, device, backend))


def load_any(
    source: str | Path, device: Device = Device.AUTO, backend: BackendName | None = None
) -> AnyDetector:
    """Load a detector, whatever it looks at; as `load`."""
    if not str(source).startswith("models:/"):
        return load_directory(Path(source), device, backend)
    from anomaly.artifact.mlflow_flavor import fetch

    with tempfile.TemporaryDirectory(prefix="anomaly-") as folder:
        return load_directory(fetch(str(source), Path(folder)).directory, device, backend)
