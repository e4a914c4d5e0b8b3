"""Two small detectors, of rows and of images, saved and served as a user's would be."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anomaly.artifact.directory import save
from anomaly.assembly import DetectorConfig, assemble
from anomaly.backends.backend import Device
from anomaly.data.splits import split_rows
from anomaly.detector import Detector
from anomaly.fitting import FitConfig
from service.app import create_app
from service.app.edge import Edge
from service.detectors import Served, open_directory
from service.scoring.scorer import Common
from service.settings import Settings
from tests.service.pumps import NUMBERS, SCHEMA, Caller, normal_records, numbers
from tests.service.weave import ImageCaller


@pytest.fixture(scope="session")
def detector() -> Detector:
    """Fitted on 600 rows; rough, but every part of it is real."""
    records = normal_records(600)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return assemble(
            SCHEMA,
            records,
            split_rows(len(records), seed=0),
            DetectorConfig(fit=FitConfig(steps=100)),
            seed=0,
            device=Device.CPU,
        ).detector


@pytest.fixture(scope="session")
def artifact(detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The saved detector."""
    directory = tmp_path_factory.mktemp("models") / "pumps"
    save(detector, directory)
    return directory


@pytest.fixture(scope="session")
def served(artifact: Path) -> Served:
    """The detector as the service loads it."""
    return open_directory(artifact, Device.CPU)


@pytest.fixture
def make_app(served: Served) -> Callable[..., Edge]:
    """An application with settings of its own."""

    def make(**settings: Any) -> Edge:
        app = create_app(served, Common(Settings(models=("pumps",), **settings)))
        app.scorer.begin()
        return app

    return make


@pytest.fixture
def caller(make_app: Callable[..., Edge]) -> Caller:
    """Speaks to an application with default settings."""
    return Caller(make_app())


@pytest.fixture(scope="session")
def served_images(image_artifact: Path) -> Served:
    """The detector of images as the service loads it."""
    return open_directory(image_artifact, Device.CPU)


@pytest.fixture
def make_image_app(served_images: Served) -> Callable[..., Edge]:
    """An application for images with settings of its own."""

    def make(**settings: Any) -> Edge:
        app = create_app(served_images, Common(Settings(models=("weave",), **settings)))
        app.scorer.begin()
        return app

    return make


@pytest.fixture
def image_caller(make_image_app: Callable[..., Edge]) -> ImageCaller:
    """Speaks to an application for images with default settings."""
    return ImageCaller(make_image_app())


@pytest.fixture(scope="session")
def numbers_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved detector of rows that are nothing but numbers."""
    records = numbers(600)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = assemble(
            NUMBERS,
            records,
            split_rows(len(records), seed=0),
            DetectorConfig(fit=FitConfig(steps=100)),
            seed=0,
            device=Device.CPU,
        ).detector
    directory = tmp_path_factory.mktemp("models") / "numbers"
    save(detector, directory)
    return directory


@pytest.fixture(scope="session")
def served_numbers(numbers_artifact: Path) -> Served:
    """That detector as the service loads it."""
    return open_directory(numbers_artifact, Device.CPU)


@pytest.fixture
def numbers_caller(served_numbers: Served) -> Caller:
    """Speaks to an application for rows of numbers with default settings."""
    app = create_app(served_numbers, Common(Settings(models=("numbers",))))
    app.scorer.begin()
    return Caller(app)
