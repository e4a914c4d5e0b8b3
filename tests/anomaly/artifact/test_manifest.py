"""The manifest is JSON of known keys and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from anomaly.artifact.directory import MANIFEST
from anomaly.artifact.manifest import Manifest


def test_it_reads_what_it_writes(artifact: Path) -> None:
    text = (artifact / MANIFEST).read_bytes()

    manifest = Manifest.from_json(text)

    assert manifest.to_plain() == json.loads(text)


@pytest.mark.parametrize(
    "where", [(), ("of",), ("of", "schema"), ("vae",), ("card",), ("calibration",)]
)
def test_an_unknown_key_is_refused_everywhere(artifact: Path, where: tuple[str, ...]) -> None:
    plain = json.loads((artifact / MANIFEST).read_bytes())
    inner = plain
    for key in where:
        inner = inner[key]
    inner["loader_module"] = "os"

    with pytest.raises(ValidationError, match="loader_module"):
        Manifest.from_json(json.dumps(plain).encode())


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "G" * 64, "../../etc/passwd"])
def test_a_digest_is_64_hexadecimal_digits(artifact: Path, digest: str) -> None:
    plain = json.loads((artifact / MANIFEST).read_bytes())
    plain["files"]["README.md"]["sha256"] = digest

    with pytest.raises(ValidationError, match="sha256"):
        Manifest.from_json(json.dumps(plain).encode())
