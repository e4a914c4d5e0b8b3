"""The parameters of a network, as the optimiser wants them."""

from __future__ import annotations

from typing import Any

import numpy as np

from anomaly.arrays import Parameters


class Weights:
    """All parameters in one array, and their gradients in another.

    For small networks half of a step would go into visiting sixteen tensors one by one.
    """

    def __init__(self, initial: Parameters, device: Any) -> None:
        import torch

        flat = np.concatenate([value.ravel() for value in initial.values()])
        self.flat = torch.nn.Parameter(torch.tensor(flat, device=device))
        self.gradient = torch.zeros_like(self.flat)
        self.flat.grad = self.gradient
        self.parameters: Parameters = {}
        start = 0
        for name, value in initial.items():
            place = slice(start, start + value.size)
            # A view of the values, and a leaf of its own whose gradient is a view, too.
            leaf = self.flat.detach()[place].view(value.shape).requires_grad_()
            leaf.grad = self.gradient[place].view(value.shape)
            self.parameters[name] = leaf
            start += value.size

    def numpy(self) -> Parameters:
        """A copy as NumPy arrays."""
        return {name: leaf.detach().cpu().numpy().copy() for name, leaf in self.parameters.items()}
