"""`Ops` of torch, for training and for the torch backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)

from anomaly.arrays import Tensor, Values
from anomaly.models.kernels import EXACT, Kernels
from anomaly.models.ops import NORM_FLOOR, TILE_ROWS


class TorchOps:
    """`Ops` of torch on one device.

    Args:
        for_scoring: Make each row's bits independent of its place in the block. Training does not
            need that, and is faster without.
        kernels: How networks of images are computed in training.
    """

    def __init__(
        self, device: torch.device, *, for_scoring: bool, kernels: Kernels = EXACT
    ) -> None:
        assert kernels == EXACT or not for_scoring, "scores are float32, whatever trained"
        self.device = device
        self.for_scoring = for_scoring
        self.kernels = kernels
        if device.type == "cuda":
            # cuDNN rounds convolutions to TF32 unless told otherwise, which moves scores by some
            # seventy times the tolerance, and may add in another order each time.
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cudnn.deterministic = True

    def array(self, values: Values) -> Tensor:
        return torch.as_tensor(values, device=self.device)

    def numpy(self, x: Tensor) -> Values:
        return np.asarray(x.detach().cpu().numpy())

    def inference(self) -> AbstractContextManager[object]:
        return torch.inference_mode()

    def network(self, forward: Callable[[], Tensor]) -> Tensor:
        # Looks and rankings record no gradients: they see the network as it will score.
        if not (self.kernels.bfloat16 and torch.is_grad_enabled()):
            return forward()
        with torch.autocast(self.device.type, torch.bfloat16):
            narrow = forward()
        return narrow.float()

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        missing = -len(weight) % TILE_ROWS if self.for_scoring else 0
        if not missing:
            return F.linear(x, weight, bias)
        # Products with few outputs take kernels that add in another order at other rows; padded
        # to 16 outputs they do not (docs/decisions/0002).
        padded = F.linear(x, F.pad(weight, (0, 0, 0, missing)), F.pad(bias, (0, missing)))
        return padded[:, : len(weight)]

    def perceptron(self, x: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        for number, (weight, bias) in enumerate(layers):
            x = self.linear(self.silu(x) if number else x, weight, bias)
        return x

    def nearest(self, x: Tensor, points: Tensor) -> Tensor:
        return self.linear(x, -2.0 * points, (points**2).sum(-1)).argmin(-1)

    def convolve(
        self, x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, dilation: int = 1
    ) -> Tensor:
        around = dilation * (weight.shape[-1] - 1) // 2
        if self.kernels.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, weight, bias, stride=stride, padding=around, dilation=dilation)

    def group_norm(self, x: Tensor, groups: int, weight: Tensor, bias: Tensor) -> Tensor:
        return F.group_norm(x, groups, weight, bias, NORM_FLOOR)

    def pixel_shuffle(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, 2)

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

    def concatenate(self, parts: Sequence[Tensor], axis: int = -1) -> Tensor:
        return torch.cat(list(parts), dim=axis) if len(parts) > 1 else parts[0]

    def broadcast(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return x.expand(shape)

    def pick(self, x: Tensor, index: Tensor) -> Tensor:
        where = index.long().reshape((1,) * (x.ndim - 2) + (-1, 1))
        return x.gather(-1, where.expand(*x.shape[:-1], 1)).squeeze(-1)

    def narrow(self, x: Tensor) -> Tensor:
        return x.float()

    def stop_gradient(self, x: Tensor) -> Tensor:
        return x.detach()
