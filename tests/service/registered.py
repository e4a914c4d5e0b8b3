"""A real registry, its versions, and what they score."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow

from anomaly.artifact.mlflow_flavor import log_model, promote
from anomaly.image_detector import AnyDetector

NAME = "pumps"
URI = f"models:/{NAME}@champion"
NOBODY = "http://127.0.0.1:9"
"""An address at which nothing listens."""


@dataclass(frozen=True)
class Registry:
    """Versions of models in a registry that is a file."""

    folder: Path

    @property
    def address(self) -> str:
        """For MLFLOW_TRACKING_URI."""
        return f"sqlite:///{self.folder}/mlflow.db"

    def use(self) -> None:
        """Ask this one."""
        point_at(self.address)

    def add(self, detector: AnyDetector, name: str = NAME) -> str:
        """Register a version; the first one of a name is its champion."""
        self.use()
        found = mlflow.get_experiment_by_name(NAME)
        place = str(self.folder / "artifacts")
        experiment = (
            mlflow.create_experiment(NAME, artifact_location=place)
            if found is None
            else found.experiment_id
        )
        with mlflow.start_run(experiment_id=experiment):
            version, _ = log_model(detector, name)
        return str(version.version)

    def promote(self, version: str, name: str = NAME, alias: str = "champion") -> None:
        """Move the alias."""
        self.use()
        promote(name, version, alias)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Its database cannot be read for a while."""
        place = self.folder / "mlflow.db"
        content = place.read_bytes()
        place.write_bytes(b"not a database" * 1000)
        try:
            yield
        finally:
            place.write_bytes(content)


def point_at(address: str) -> None:
    """Have MLflow ask there; an empty address is none."""
    mlflow.set_tracking_uri(address)
    if address:
        os.environ["MLFLOW_TRACKING_URI"] = address
    else:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
