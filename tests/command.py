"""The command `anomaly` as a user runs it, and a registry that it made."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "machines"
CHAMPION = f"models:/{NAME}@champion"


def run_anomaly(
    folder: Path, *arguments: object, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The real command, in a process of its own."""
    kept = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return subprocess.run(
        [sys.executable, "-m", "anomaly", *map(str, arguments)],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass(frozen=True)
class Registry:
    """A folder in which `anomaly train` was run once.

    Attributes:
        training: 500 normal rows and 60 anomalies, with the column `fault` (0 or 1).
        new: 257 rows without it: 250 normal ones, 7 anomalies at the end.
        answer: What `train --json` printed.
    """

    folder: Path
    training: Path
    new: Path
    answer: dict[str, Any]

    @property
    def uri(self) -> str:
        """The address of the registry."""
        return f"sqlite:///{self.folder / 'mlflow.db'}"
