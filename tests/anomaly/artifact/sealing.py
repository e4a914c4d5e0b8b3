"""Altering an artifact as someone would who can write its digests, too."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from anomaly.arrays import Values
from anomaly.artifact.directory import FILES, MANIFEST
from anomaly.artifact.manifest import UNSEALED


def copied(artifact: Path, to: Path) -> Path:
    """A copy that may be altered."""
    shutil.copytree(artifact, to)
    return to


def manifest_of(directory: Path) -> Any:
    return json.loads((directory / MANIFEST).read_bytes())


def seal(directory: Path, manifest: Any) -> None:
    """Write the manifest with the digests that its files, and it itself, have now."""
    for name in FILES:
        data = (directory / name).read_bytes()
        if isinstance(manifest.get("files"), dict) and name in manifest["files"]:
            manifest["files"][name] = {
                "sha256": hashlib.sha256(data).hexdigest(),
                "bytes": len(data),
            }
    seal_text(directory, json.dumps({**manifest, "sha256": UNSEALED}))


def seal_text(directory: Path, text: str) -> None:
    """Write any text as manifest, its first `UNSEALED` replaced by its digest."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    (directory / MANIFEST).write_text(text.replace(UNSEALED, digest, 1))


def with_tensors(directory: Path, file: str, change: Callable[[dict[str, Values]], None]) -> Path:
    """The artifact with changed tensors, sealed again."""
    tensors = dict(load_file(directory / file))
    change(tensors)
    data = save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    (directory / file).write_bytes(data)
    seal(directory, manifest_of(directory))
    return directory
