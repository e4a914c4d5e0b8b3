"""This project, as installed, packed again as a wheel.

It is logged beside every model and named in its requirements, so that an environment built for
the model gets exactly this code and never asks an index for a package of the same name.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

DISTRIBUTION = "anomaly-vae"
PACKAGES = ("anomaly", "training", "service")
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The time stamp of every entry: the same code gives the same bytes."""


def pack_wheel(folder: Path) -> Path:
    """Write the wheel into the folder; works for wheels and editable installs alike."""
    metadata = distribution(DISTRIBUTION)
    stem = f"{DISTRIBUTION.replace('-', '_')}-{metadata.version}"
    contents = dict(sorted(_sources().items()))
    info = f"{stem}.dist-info"
    # The model's own requirements name the few packages that scoring needs. The wheel's would
    # pull in training and serving, torch before all.
    lines = ("Metadata-Version: 2.1", f"Name: {DISTRIBUTION}", f"Version: {metadata.version}", "")
    contents[f"{info}/METADATA"] = "\n".join(lines).encode()
    contents[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: anomaly\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    entry_points = metadata.read_text("entry_points.txt")
    if entry_points:
        contents[f"{info}/entry_points.txt"] = entry_points.encode()
    record = "".join(f"{name},{_hash(data)},{len(data)}\n" for name, data in contents.items())
    contents[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(zipfile.ZipInfo(name, EARLIEST), data, zipfile.ZIP_DEFLATED)
    return path


def _sources() -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None, f"{package} is not installed"
        for root in map(Path, spec.submodule_search_locations or ()):
            for path in root.rglob("*"):
                if path.is_file() and "__pycache__" not in path.parts:
                    contents[f"{package}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    return contents


def _hash(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"
