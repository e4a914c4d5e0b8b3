"""Models come from a folder or a registry; when that is gone, the last good copy is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from anomaly.backends.backend import Device
from anomaly.detector import Detector
from anomaly.errors import ArtifactRejected, ConfigInvalid, DependencyDown, ModelNotFound
from anomaly.image_detector import of_tables
from service.detectors import UNREGISTERED
from service.origin import MOST_COPIES, Origin, open_model
from tests.service.pumps import normal_records
from tests.service.registered import NOBODY, URI, Registry, point_at

RECORDS = normal_records(10, seed=4)


@pytest.fixture
def registry(detector: Detector, tmp_path: Path) -> Iterator[Registry]:
    """One with one version."""
    found = Registry(tmp_path / "registry")
    found.folder.mkdir()
    found.add(detector)
    yield found
    point_at("")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_folder_is_served_as_it_is(artifact: Path, cache: Path) -> None:
    served, origin, is_stale = open_model(str(artifact), Device.CPU, cache)

    assert (served.name, served.version) == ("pumps", UNREGISTERED)
    assert origin is None
    assert not is_stale
    assert not cache.exists()


@pytest.mark.parametrize(("uri", "alias"), [(URI, "champion"), ("models:/pumps/1", None)])
def test_a_registered_model_is_served_by_its_alias_and_its_version(
    registry: Registry, cache: Path, detector: Detector, uri: str, alias: str | None
) -> None:
    served, _, is_stale = open_model(uri, Device.CPU, cache)

    assert (served.name, served.version, served.alias) == ("pumps", "1", alias)
    assert served.run_id
    assert not is_stale
    scores = of_tables(served.detector).anomaly_score(RECORDS)
    assert scores.tolist() == detector.anomaly_score(RECORDS).tolist()


def test_what_the_registry_does_not_have_is_not_served_from_a_copy(
    registry: Registry, cache: Path
) -> None:
    open_model(URI, Device.CPU, cache)

    with pytest.raises(ModelNotFound):
        open_model("models:/pumps@challenger", Device.CPU, cache)


def test_without_its_registry_the_last_good_copy_is_served(registry: Registry, cache: Path) -> None:
    before, _, _ = open_model(URI, Device.CPU, cache)

    with registry.down():
        served, origin, is_stale = open_model(URI, Device.CPU, cache)

    assert is_stale
    assert origin is not None
    told = ("name", "version", "alias", "run_id", "digest")
    assert [getattr(served, of) for of in told] == [getattr(before, of) for of in told]
    scores = [of_tables(of.detector).anomaly_score(RECORDS).tolist() for of in (before, served)]
    assert scores[0] == scores[1]


def test_without_registry_and_copy_there_is_nothing_to_serve(cache: Path) -> None:
    point_at(NOBODY)
    try:
        with pytest.raises(DependencyDown):
            open_model(URI, Device.CPU, cache)
    finally:
        point_at("")


def test_a_copy_that_was_altered_is_not_served(registry: Registry, cache: Path) -> None:
    open_model(URI, Device.CPU, cache)
    (weights,) = cache.rglob("weights.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    with registry.down(), pytest.raises(ArtifactRejected):
        open_model(URI, Device.CPU, cache)

    open_model(URI, Device.CPU, cache)
    with registry.down():
        assert open_model(URI, Device.CPU, cache)[2], "the next good one took its place"


def test_another_registry_has_copies_of_its_own(registry: Registry, cache: Path) -> None:
    """Theirs may be called the same."""
    open_model(URI, Device.CPU, cache)
    point_at(NOBODY)

    with pytest.raises(DependencyDown):
        open_model(URI, Device.CPU, cache)


def test_what_was_not_served_is_not_the_last_good_one(
    registry: Registry, cache: Path, detector: Detector
) -> None:
    _, origin, _ = open_model(URI, Device.CPU, cache)
    assert origin is not None
    registry.promote(registry.add(detector.with_alpha(0.3)))

    assert origin.fetch().version == "2"

    with registry.down():
        assert open_model(URI, Device.CPU, cache)[0].version == "1"


def test_a_folder_that_others_may_write_to_is_not_trusted(registry: Registry, cache: Path) -> None:
    open_model(URI, Device.CPU, cache)
    (own,) = cache.iterdir()
    own.chmod(0o777)

    with pytest.raises(ConfigInvalid, match="others may write"):
        open_model(URI, Device.CPU, cache)


def test_copies_are_not_kept_for_ever(registry: Registry, cache: Path, detector: Detector) -> None:
    origin = Origin(URI, Device.CPU, cache)
    for alpha in (0.05, 0.1, 0.2, 0.3):
        registry.promote(registry.add(detector.with_alpha(alpha)))
        served = origin.fetch()
        assert served.detector.calibration.alpha == alpha
        origin.keep(served)

    (own,) = cache.iterdir()
    assert len([path for path in own.iterdir() if path.is_dir()]) == MOST_COPIES
    last = origin.last()
    assert last is not None
    assert (last.version, last.detector.calibration.alpha) == ("5", 0.3)
