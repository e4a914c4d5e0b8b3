"""A detector as a directory of files, and back. No file in it can run code."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from anomaly.arrays import Parameters
from anomaly.artifact.card import card_text
from anomaly.artifact.golden import check_golden_rows
from anomaly.artifact.images import build_images, check_golden_images, describe_images
from anomaly.artifact.manifest import (
    FORMAT_VERSION,
    UNSEALED,
    CalibrationEntry,
    FileEntry,
    ImageEntry,
    Manifest,
    TableEntry,
)
from anomaly.artifact.tables import build_table, describe_table
from anomaly.artifact.tensors import Tensors
from anomaly.backends.backend import BackendName, Device, ScoringModel, open_backend
from anomaly.calibration import Calibration, supported
from anomaly.compatibility import check_prior, check_score
from anomaly.data.schema import first_reason
from anomaly.detector import Detector
from anomaly.errors import ArtifactRejected, CannotWrite, ModelNotFound
from anomaly.image_detector import AnyDetector, ImageDetector
from anomaly.reference import Reference
from anomaly.scores import ROWS, MissingFill, RememberingScore

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
CALIBRATION = "calibration.safetensors"
REFERENCE = "reference.json"
CARD = "README.md"
FILES = (WEIGHTS, CALIBRATION, REFERENCE, CARD)
"""The closed set of names: the loader opens these and no other."""

LARGEST_MANIFEST_BYTES = 64 * 2**20
MEMBER = "member."


def save(detector: AnyDetector, directory: Path) -> None:
    """Write the artifact. The directory appears complete or not at all.

    Raises:
        CannotWrite: the directory exists and is not empty, or the disk refuses.
    """
    from safetensors.numpy import save as to_bytes

    of: TableEntry | ImageEntry
    match detector:
        case Detector():
            of, tensors = describe_table(detector)
        case ImageDetector():
            of, tensors = describe_images(detector)
    model, calibration = detector.model, detector.calibration
    tensors |= {
        f"{MEMBER}{number}.{name}": array
        for number, member in enumerate(model.members)
        for name, array in member.items()
    }
    tensors["fill.per_target"] = model.fill.per_target
    contents = {
        WEIGHTS: to_bytes({name: np.ascontiguousarray(array) for name, array in tensors.items()}),
        CALIBRATION: to_bytes({"scores": calibration.scores}),
        REFERENCE: json.dumps(detector.reference.to_plain(), allow_nan=False).encode(),
        CARD: card_text(detector).encode(),
    }
    manifest = Manifest(
        sha256=UNSEALED,
        format_version=FORMAT_VERSION,
        of=of,
        vae=model.vae,
        score=model.score,
        members=len(model.members),
        block_rows=detector.backend.block_rows,
        fill_rest=model.fill.rest,
        calibration=CalibrationEntry(calibration.alpha, calibration.rule, calibration.tolerance),
        card=detector.card,
        files={name: FileEntry(_sha256(data), len(data)) for name, data in contents.items()},
    )
    text = json.dumps(manifest.to_plain(), indent=1, allow_nan=False)
    contents[MANIFEST] = text.replace(UNSEALED, _sha256(text.encode()), 1).encode()
    _write(directory, contents)


def _write(directory: Path, contents: dict[str, bytes]) -> None:
    directory = directory.resolve()
    partial = directory.with_name(f".{directory.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        for name, data in contents.items():
            with (partial / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        partial.rename(directory)  # refused where something is, except an empty directory
    except OSError as error:
        raise CannotWrite(
            f"cannot write the model to {directory}: {error.strerror}. Free some space, or give a "
            "new directory; nothing was left behind there."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_directory(
    directory: Path, device: Device = Device.AUTO, backend: BackendName | None = None
) -> AnyDetector:
    """Read, verify and re-score the golden rows.

    Raises:
        ModelNotFound: there is no artifact.
        ArtifactRejected: a file is missing, altered, too large or not finite, the format is
            another one, or the golden rows score differently here.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    manifest = read_manifest(directory)
    if set(manifest.files) != set(FILES):
        raise ArtifactRejected(
            f"{directory}: the manifest names {', '.join(sorted(manifest.files))}; an artifact has "
            f"{', '.join(sorted(FILES))} and no other file. Download the model again."
        )
    contents = {name: _verified(directory, name, manifest) for name in FILES}
    try:
        tensors: Tensors = from_bytes(contents[WEIGHTS])
        scores = from_bytes(contents[CALIBRATION])["scores"]
        _check_tensors({**tensors, "scores": scores})
        reference = Reference.from_json(contents[REFERENCE])
        detector = _build(manifest, tensors, scores, reference, device, backend)
    except ArtifactRejected:
        raise
    except (SafetensorError, LookupError, ValueError, TypeError, AssertionError) as error:
        raise ArtifactRejected(
            f"{directory}: the tensors do not fit the manifest ({type(error).__name__}: {error}). "
            "The artifact was not written by this project; train or download it again."
        ) from error
    return detector


def read_manifest(directory: Path) -> Manifest:
    """The manifest alone, checked for its form.

    Raises:
        ModelNotFound: there is none.
        ArtifactRejected: not a manifest of this format.
    """
    path = directory / MANIFEST
    if path.is_symlink():
        raise ArtifactRejected(f"{path} is a link. Download the model again, as files.")
    if not path.is_file():
        raise ModelNotFound(
            f"{directory} holds no {MANIFEST}, so it is not a saved detector. Give the directory "
            "that `anomaly train` or `save` wrote, or a URI such as `models:/name@champion`."
        )
    text = _read(path, LARGEST_MANIFEST_BYTES)
    try:
        found: Any = json.loads(text)
        format_version = found.get("format_version") if isinstance(found, dict) else None
    except (ValueError, RecursionError) as error:
        raise ArtifactRejected(f"{path} is not JSON: {error}. Download the model again.") from error
    if format_version != FORMAT_VERSION:
        raise ArtifactRejected(
            f"{path} has format version {format_version!r}; this release reads {FORMAT_VERSION}. "
            "Train the model again, or install the release that wrote it."
        )
    _check_seal(path, text, str(found.get("sha256")))
    try:
        return Manifest.from_json(text)
    except ValidationError as error:
        raise ArtifactRejected(
            f"{path} does not hold together: {first_reason(error)}. Download the model again."
        ) from error


def _check_seal(path: Path, text: bytes, sha256: str) -> None:
    """Find damage, not malice: whoever can write the file can write its digest."""
    is_digest = re.fullmatch("[0-9a-f]{64}", sha256) is not None
    if not is_digest or _sha256(text.replace(sha256.encode(), UNSEALED.encode(), 1)) != sha256:
        raise ArtifactRejected(
            f"{path} is not the file that was saved: its SHA-256 differs. It was altered or "
            "damaged; download the model again."
        )


def digest(directory: Path) -> str:
    """SHA-256 of the manifest, which holds the digests of every other file."""
    return _sha256(_read(directory / MANIFEST, LARGEST_MANIFEST_BYTES))


def _build(
    manifest: Manifest,
    tensors: Tensors,
    scores: Any,
    reference: Reference,
    device: Device,
    backend: BackendName | None,
) -> AnyDetector:
    members = tuple(_member(tensors, number) for number in range(manifest.members))
    _check_fit(manifest, members, tensors)
    model = ScoringModel(
        vae=manifest.vae,
        members=members,
        score=manifest.score,
        fill=MissingFill(tensors["fill.per_target"], manifest.fill_rest),
    )
    entry = manifest.calibration
    unit = manifest.card.unit_of_calibration
    alpha = supported(entry.alpha, len(scores), unit)
    calibration = Calibration(scores, alpha, entry.rule, entry.tolerance, unit)
    runs = open_backend(model, backend, device, manifest.block_rows)
    match manifest.of:
        case TableEntry():
            table = build_table(manifest.of, tensors, calibration, reference, manifest.card, runs)
            check_golden_rows(table, manifest.of.golden)
            return table
        case ImageEntry():
            images = build_images(manifest.of, tensors, calibration, reference, manifest.card, runs)
            check_golden_images(images, manifest.of)
            return images


def _check_fit(manifest: Manifest, members: tuple[Parameters, ...], tensors: Tensors) -> None:
    """Compare what the manifest declares with what is there, before anything is allocated."""
    vae = manifest.vae
    check_prior(vae.prior, vae.posterior)
    check_score(manifest.score, vae.posterior)
    if vae.likelihood.outputs != vae.sizes.outputs:
        raise ArtifactRejected("the decoder gives other numbers than the likelihood needs")
    if any(
        {name: array.shape for name, array in member.items()} != _shapes(manifest, member)
        or any(array.dtype != np.float32 for array in member.values())
        for member in members
    ):
        raise ArtifactRejected("the weights have other names, shapes or types than the model")
    if tensors["fill.per_target"].shape != (vae.likelihood.targets,):
        raise ArtifactRejected("the fill has another shape than the model needs")


def _member(tensors: Tensors, number: int) -> Parameters:
    prefix = f"{MEMBER}{number}."
    return {
        name.removeprefix(prefix): array
        for name, array in tensors.items()
        if name.startswith(prefix)
    }


def _shapes(manifest: Manifest, member: Parameters) -> dict[str, tuple[int, ...]]:
    """What a member must hold. How many rows it remembers, up to the most, only it knows."""
    vae, score = manifest.vae, manifest.score
    shapes = {**vae.shapes(), **score.shapes(vae)}
    if isinstance(score, RememberingScore):
        remembered = min(max(len(member[ROWS]), 1), score.most_rows)
        shapes[ROWS] = (remembered, score.width(vae))
    return shapes


def _check_tensors(tensors: Tensors) -> None:
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise ArtifactRejected(
                f"the tensor {name!r} holds values that are not finite: the model is broken. "
                "Train it again."
            )
    scores = tensors["scores"]
    if scores.ndim != 1 or scores.dtype != np.float64 or (np.diff(scores) < 0).any():
        raise ArtifactRejected("the calibration scores are not ascending float64 numbers")


def _verified(directory: Path, name: str, manifest: Manifest) -> bytes:
    entry, path = manifest.files[name], directory / name
    if not path.is_file() or path.is_symlink():
        raise ArtifactRejected(
            f"{directory}: {name} is missing or a link. Download the model again."
        )
    data = _read(path, entry.bytes)
    if len(data) != entry.bytes or _sha256(data) != entry.sha256:
        raise ArtifactRejected(
            f"{path} is not the file that was saved: its SHA-256 or size differs. It was altered "
            "or damaged; download the model again."
        )
    return data


def _read(path: Path, most_bytes: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ArtifactRejected(f"{path} is larger than {most_bytes} bytes, which it must not be.")
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
