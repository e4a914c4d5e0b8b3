"""Arrays in, a trained model out."""

from anomaly.fitting.batches import on_device
from anomaly.fitting.config import FitConfig, default_steps, schedule
from anomaly.fitting.corruption import Corruption
from anomaly.fitting.loop import ACTIVE_UNIT_VARIANCE, Fitted, Progress, fit

__all__ = [
    "ACTIVE_UNIT_VARIANCE",
    "Corruption",
    "FitConfig",
    "Fitted",
    "Progress",
    "default_steps",
    "fit",
    "on_device",
    "schedule",
]
