"""A backend runs a model. `score_features` is the only path from features to scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial, reduce
from importlib.util import find_spec
from operator import add

import numpy as np

from anomaly.arrays import Features, Float32, Float64, Parameters, Tensor, Values
from anomaly.backends.blocks import in_blocks
from anomaly.errors import ConfigInvalid, DeviceUnavailable
from anomaly.models.objective import Batch
from anomaly.models.ops import TILE_ROWS, NumpyOps, Ops
from anomaly.models.vae import VAE
from anomaly.scores import MissingFill, RememberingScore, Score, ScoreTerms

BLOCK_ROWS = 256
"""The default block: large enough for full speed, small enough for the processor's cache."""


class BackendName(StrEnum):
    """Which library computes.

    Attributes:
        NUMPY: On the CPU; needs no torch and starts in a blink.
        TORCH: On the CPU or a GPU.
    """

    NUMPY = "numpy"
    TORCH = "torch"


class Device(StrEnum):
    """Where to compute; `auto` takes a GPU if there is one and torch is installed."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def device_named(name: str) -> Device:
    """The device of that name.

    Raises:
        ConfigInvalid: there is none.
    """
    if name not in tuple(Device):
        raise ConfigInvalid(f"no device is named {name!r}. There are: {', '.join(Device)}.")
    return Device(name)


@dataclass(frozen=True)
class ScoringModel:
    """Everything that turns features into scores; NumPy arrays only.

    Attributes:
        members: For each network of the ensemble its learned numbers and the constants of its
            score, float32. The score is the mean of the members' scores.
        fill: What stands in for the terms of missing entries.
    """

    vae: VAE
    members: tuple[Parameters, ...]
    score: Score
    fill: MissingFill

    @property
    def first(self) -> Parameters:
        """The member whose latents and reconstructions are shown."""
        return self.members[0]


class Backend:
    """One model on one device.

    Bit-equal results for one model, machine, backend, block size and number of threads (NumPy: for
    every block size); within the calibration's tolerance otherwise.
    """

    def __init__(self, model: ScoringModel, name: BackendName, ops: Ops, device: str, block: int):
        self.model = model
        self.name = name
        self.device = device
        self.block_rows = block
        self._multiple = TILE_ROWS if name is BackendName.NUMPY else block
        self.ops = ops
        self._members = [
            {key: ops.array(value) for key, value in member.items()} for member in model.members
        ]

    def score_features(self, features: Features) -> ScoreTerms:
        """Scores of N rows, taken apart, missing entries filled; NumPy float64."""
        return self.model.fill.fill(self.raw_terms(features), features.observed)

    def raw_terms(self, features: Features) -> ScoreTerms:
        """The same before the terms of missing entries are replaced."""
        per_target, rest = self._in_blocks(self._terms_of_block, _arrays(features))
        # Without numeric targets the terms would be the networks' float32.
        return ScoreTerms(
            per_target.astype(np.float64, copy=False), rest.astype(np.float64, copy=False)
        )

    def remembered(self, features: Features, score: RememberingScore) -> tuple[Float32, ...]:
        """What each member's score keeps of N rows, (N, F) each."""
        found = self._in_blocks(partial(self._remember_block, score), _arrays(features))
        return tuple(array.astype(np.float32) for array in found)

    def encode(self, features: Features) -> tuple[Float64, Float64]:
        """Posterior means and standard deviations, (N, L) each; a point has deviation 0."""
        loc, scale = self._in_blocks(self._encode_block, _arrays(features))
        return loc.astype(np.float64), scale.astype(np.float64)

    def decode(self, z: Float64, context: Float32) -> list[Float64]:
        """What rows with latents z (N, L) are expected to be.

        Returns:
            [means (N, G), probabilities (N, B), and for each category (N, C)].
        """
        arrays = (z.astype(np.float32), context)
        decoded = self._in_blocks(self._decode_block, arrays)
        return [array.astype(np.float64) for array in decoded]

    @property
    def device_bytes(self) -> int:
        """Memory of the GPU that this process holds, for all its models; 0 without one."""
        if self.device == "cpu":
            return 0
        from anomaly.backends.torch_backend import cuda_bytes

        return cuda_bytes()

    def _in_blocks(
        self, function: Callable[[tuple[Values, ...]], list[Values]], arrays: tuple[Values, ...]
    ) -> list[Values]:
        return in_blocks(function, arrays, self.block_rows, self._multiple)

    def _terms_of_block(self, block: tuple[Values, ...]) -> list[Values]:
        ops, model = self.ops, self.model
        with ops.inference():
            batch = Batch(*(ops.array(array) for array in block))
            each = [model.score.terms(ops, model.vae, member, batch) for member in self._members]
            per_target = _mean([terms.per_target for terms in each])
            return [ops.numpy(per_target), ops.numpy(_mean([terms.rest for terms in each]))]

    def _remember_block(self, score: RememberingScore, block: tuple[Values, ...]) -> list[Values]:
        ops, vae = self.ops, self.model.vae
        with ops.inference():
            batch = Batch(*(ops.array(array) for array in block))
            return [ops.numpy(score.remembered(ops, vae, m, batch)) for m in self._members]

    def _encode_block(self, block: tuple[Values, ...]) -> list[Values]:
        ops = self.ops
        with ops.inference():
            batch = Batch(*(ops.array(array) for array in block))
            q = self.model.vae.encode(ops, self._members[0], batch.inputs, batch.context)
            scale = 0.0 * q.loc if q.log_scale is None else ops.exp(q.log_scale)
            return [ops.numpy(q.loc), ops.numpy(scale)]

    def _decode_block(self, block: tuple[Values, ...]) -> list[Values]:
        ops, vae = self.ops, self.model.vae
        with ops.inference():
            z, context = (ops.array(array) for array in block)
            outputs = vae.decode(ops, self._members[0], z[None], context)
            means, probabilities, classes = vae.likelihood.expected(ops, outputs)
            return [ops.numpy(array[0]) for array in (means, probabilities, *classes)]


def _mean(of_members: list[Tensor]) -> Tensor:
    return reduce(add, of_members) / len(of_members) if len(of_members) > 1 else of_members[0]


def _arrays(features: Features) -> tuple[Values, ...]:
    return (features.inputs, features.targets, features.observed, features.context)


def open_backend(
    model: ScoringModel,
    name: BackendName | None = None,
    device: Device = Device.AUTO,
    block_rows: int = BLOCK_ROWS,
) -> Backend:
    """The backend of that name; by default NumPy on a CPU and torch on a GPU.

    Raises:
        DeviceUnavailable: `cuda` was asked for and there is none.
        ConfigInvalid: NumPy was asked to compute on a GPU.
    """
    if name is BackendName.NUMPY and device is Device.CUDA:
        raise ConfigInvalid("the numpy backend has no GPU. Use the torch backend, or device cpu.")
    on_gpu = name is not BackendName.NUMPY and device is not Device.CPU and cuda_available(device)
    if name is BackendName.TORCH or on_gpu:
        from anomaly.backends.torch_backend import torch_ops

        where = "cuda" if on_gpu else "cpu"
        return Backend(model, BackendName.TORCH, torch_ops(where), where, block_rows)
    return Backend(model, BackendName.NUMPY, NumpyOps(), "cpu", block_rows)


def trained_on(device: Device) -> str:
    """Where torch is to compute: `cuda` or `cpu`.

    Raises:
        DeviceUnavailable: `cuda` was asked for and there is none.
    """
    return "cuda" if device is not Device.CPU and cuda_available(device) else "cpu"


def cuda_available(device: Device) -> bool:
    """Whether a GPU can be used.

    Raises:
        DeviceUnavailable: `cuda` was asked for by name and there is none.
    """
    if device is Device.AUTO and not _has_nvidia_driver():
        # Importing torch takes a second and more: not where no GPU can be.
        return False
    found = False
    if find_spec("torch") is not None:
        from anomaly.backends.torch_backend import torch_sees_cuda

        found = torch_sees_cuda()
    if device is Device.CUDA and not found:
        raise DeviceUnavailable(
            "device `cuda` was asked for, but there is no torch that finds a usable GPU here. "
            "Check the driver and that the CUDA build of torch is installed, or use device `cpu` "
            "or `auto`."
        )
    return found


def _has_nvidia_driver() -> bool:
    from pathlib import Path

    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()
