"""Torch's operations: what scoring adds to them, and that gradients are right."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomaly.models.torch_ops import TorchOps

CPU = torch.device("cpu")


@pytest.mark.parametrize("outputs", [1, 5, 16, 17])
def test_padding_for_scoring_changes_no_result(outputs: int) -> None:
    rng = np.random.default_rng(outputs)
    x, weight, bias = (
        torch.as_tensor(rng.normal(size=shape)) for shape in ((32, 7), (outputs, 7), (outputs,))
    )
    plain = TorchOps(CPU, for_scoring=False).linear(x, weight, bias)
    padded = TorchOps(CPU, for_scoring=True).linear(x, weight, bias)
    assert padded.shape == (32, outputs)
    torch.testing.assert_close(padded, plain)


def test_scoring_records_nothing_for_gradients() -> None:
    ops = TorchOps(CPU, for_scoring=True)
    weight = torch.ones((2, 3), requires_grad=True)
    with ops.inference():
        out = ops.linear(torch.ones((16, 3)), weight, torch.zeros(2))
    assert not out.requires_grad


@pytest.mark.parametrize("name", ["silu", "exp", "log", "sigmoid", "softplus"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    operation = getattr(TorchOps(CPU, for_scoring=False), name)
    x = torch.linspace(0.1, 2.0, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(operation, (x,))


def test_picking_and_summing_exponentials_pass_gradients_on() -> None:
    ops = TorchOps(CPU, for_scoring=False)
    x = torch.randn((2, 3, 4), dtype=torch.float64, requires_grad=True)
    index = torch.tensor([0.0, 3.0, 1.0])
    assert torch.autograd.gradcheck(lambda x: ops.pick(x, index), (x,))
    assert torch.autograd.gradcheck(lambda x: ops.logsumexp(x, -1), (x,))
