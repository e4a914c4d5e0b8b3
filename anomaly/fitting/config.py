"""How the parameters are found."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.data.schema import STRICT
from anomaly.models.objective import ELBO, Objective


@dataclass(frozen=True, config=STRICT)
class FitConfig:
    """How the parameters are found: AdamW (Loshchilov & Hutter 2019) with a cosine schedule.

    Attributes:
        steps: At most so many; with early-stop rows training ends when their loss no longer falls.
            None follows the rule of `default_steps`.
        lr_warmup_steps: The learning rate rises linearly over so many steps.
        mask_rate: Share of the encoder's inputs hidden at each step (denoising; Vincent et al.
            2008): the model learns each column from the others.
        noise: Gaussian noise on the encoder's numbers, of standard deviation noise * U(0, 2),
            one draw a row.
        check_every: Steps between looks at the loss.
        patience: Looks at early-stop rows without improvement before training stops; without such
            rows nothing stops it.
        trim: Share of the rows that training leaves aside, those of the largest loss: about as many
            as may be anomalies (see `anomaly.trimming`). The loss of a look leaves as many out.
    """

    steps: Annotated[int, Field(ge=1)] | None = None
    batch_rows: Annotated[int, Field(ge=1)] = 256
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    lr_warmup_steps: Annotated[int, Field(ge=0)] = 100
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    clip_norm: Annotated[float, Field(gt=0)] = 5.0
    mask_rate: Annotated[float, Field(ge=0, lt=1)] = 0.25
    noise: Annotated[float, Field(ge=0)] = 0.2
    check_every: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=1)] = 10
    trim: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    objective: Annotated[Objective, Field(discriminator="kind")] = ELBO()


def default_steps(rows: int, batch_rows: int) -> int:
    """3,000 steps, or two passes over the rows where that is more, at most 10,000."""
    return min(max(3_000, 2 * rows // batch_rows), 10_000)


def schedule(step: int, steps: int, warmup: int) -> float:
    """Share of the learning rate at a step: linear rise, then a half cosine to 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
