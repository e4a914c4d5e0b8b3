"""The torch side of the backend; the one place of this room that imports torch."""

from __future__ import annotations

import torch

from anomaly.models.torch_ops import TorchOps


def torch_ops(device: str) -> TorchOps:
    """Operations on `cpu` or `cuda`, in full float32 precision: TF32 would move verdicts."""
    return TorchOps(torch.device(device), for_scoring=True)


def cuda_bytes() -> int:
    """Memory of the GPU that torch holds in this process, used or kept for the next batch."""
    return int(torch.cuda.memory_reserved())


def torch_sees_cuda() -> bool:
    """Whether torch was built for CUDA and finds a device."""
    return bool(torch.cuda.is_available())
