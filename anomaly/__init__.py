"""Fit on normal data, get a detector with a stated false-alarm rate.

The names below are imported when they are first used, so that a service that only scores does
not pay for what only training needs (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomaly.artifact import load, load_images
    from anomaly.data.schema import Schema
    from anomaly.detector import Detector
    from anomaly.estimator import VAEDetector
    from anomaly.image_detector import ImageDetector

__all__ = ["Detector", "ImageDetector", "Schema", "VAEDetector", "load", "load_images"]

_HOMES = {
    "Detector": "anomaly.detector",
    "ImageDetector": "anomaly.image_detector",
    "Schema": "anomaly.data.schema",
    "VAEDetector": "anomaly.estimator",
    "load": "anomaly.artifact",
    "load_images": "anomaly.artifact",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'anomaly' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
