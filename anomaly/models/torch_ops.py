"""`Ops` of torch, for training and for the torch backend."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)

from anomaly.arrays import Tensor, Values


class TorchOps:
    """`Ops` of torch on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def array(self, values: Values) -> Tensor:
        return torch.as_tensor(values, device=self.device)

    def numpy(self, x: Tensor) -> Values:
        return np.asarray(x.detach().cpu().numpy())

    def inference(self) -> AbstractContextManager[object]:
        return torch.inference_mode()

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.linear(x, weight, bias)

    def silu(self, x: Tensor) -> Tensor:
        return F.silu(x)

    def exp(self, x: Tensor) -> Tensor:
        return torch.exp(x)

    def log(self, x: Tensor) -> Tensor:
        return torch.log(x)

    def sigmoid(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def softplus(self, x: Tensor) -> Tensor:
        return F.softplus(x)

    def logsumexp(self, x: Tensor, axis: int) -> Tensor:
        return torch.logsumexp(x, dim=axis)

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return torch.clamp(x, low, high)

    def where(self, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return torch.where(condition, x, y)

    def concatenate(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts), dim=-1) if len(parts) > 1 else parts[0]

    def broadcast(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return x.expand(shape)

    def pick(self, x: Tensor, index: Tensor) -> Tensor:
        where = index.long().reshape((1,) * (x.ndim - 2) + (-1, 1))
        return x.gather(-1, where.expand(*x.shape[:-1], 1)).squeeze(-1)
