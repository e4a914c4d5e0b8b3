"""What `anomaly doctor` looks at."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; verdict is `ok`, `note` or `bad`."""

    verdict: str
    what: str
    detail: str


def diagnose() -> list[Finding]:
    """Look at everything; nothing is changed."""
    return [_python(), *_libraries(), _device(), _arithmetic(), _registry()]


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    return Finding("ok" if good else "bad", "python", platform.python_version())


def _libraries() -> list[Finding]:
    found = []
    for name in ("anomaly-vae", "numpy", "torch", "scikit-learn", "pyarrow", "mlflow", "fastapi"):
        try:
            found.append(Finding("ok", name, version(name)))
        except PackageNotFoundError:
            found.append(Finding("bad", name, "not installed: pip install it"))
    return found


def _device() -> Finding:
    from anomaly.backends.backend import Device, cuda_available

    if cuda_available(Device.AUTO):
        return Finding("ok", "device", "a GPU is used by default")
    return Finding("ok", "device", "no GPU: everything runs on the CPU")


def _arithmetic() -> Finding:
    """A row's bits must not depend on its place in a block, on this machine's BLAS."""
    from anomaly.models.ops import NumpyOps

    ops, rng = NumpyOps(), np.random.default_rng(0)
    for inputs in (1, 3, 7, 16, 30, 60, 128, 333):
        for outputs in (1, 2, 7, 16, 30, 128, 256):
            weight = rng.standard_normal((outputs, inputs)).astype(np.float32)
            rows = np.tile(rng.standard_normal(inputs).astype(np.float32), (512, 1))
            product = ops.linear(rows, weight, np.zeros(outputs, np.float32))
            if (product != product[0]).any():
                return Finding(
                    "bad",
                    "arithmetic",
                    f"equal rows differ within a block ({inputs} x {outputs}): scores would depend "
                    "on the batch. Use another build of NumPy's BLAS, or the torch backend.",
                )
    return Finding("ok", "arithmetic", "a row's score does not depend on its batch")


def _registry() -> Finding:
    from anomaly.artifact.mlflow_flavor import registry
    from anomaly.errors import AnomalyError

    try:
        uri, names = registry()
    except AnomalyError as error:
        return Finding("note", "registry", str(error))
    return Finding("ok", "registry", f"{uri}: {', '.join(names) or 'no model yet'}")
