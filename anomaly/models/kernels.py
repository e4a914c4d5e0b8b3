"""How torch computes networks of images while they train (docs/decisions/0009).

Dense networks, losses and the optimiser know nothing of it, nor does scoring: they are float32.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kernels:
    """Which of torch's kernels a network of images takes.

    Attributes:
        bfloat16: Its convolutions take and give bfloat16 where gradients are recorded, by autocast.
            Its parameters, their gradients and what it gives are float32 still.
        channels_last: Images lie in memory pixel by pixel, not plane by plane. Moves the last bits.
    """

    bfloat16: bool
    channels_last: bool


EXACT = Kernels(bfloat16=False, channels_last=False)
"""What scoring takes, always: verdicts must not depend on where they are found."""


def training_kernels(device: str, *, of_tiles: bool = False) -> Kernels:
    """What is fastest on `cpu` or `cuda`.

    Tensor cores multiply bfloat16, channels last. On a CPU float32 stays, and another layout pays
    for the networks of tiles alone: a sixth of a step, where others gain nothing.
    """
    on_gpu = device != "cpu"
    return Kernels(bfloat16=on_gpu, channels_last=on_gpu or of_tiles)
