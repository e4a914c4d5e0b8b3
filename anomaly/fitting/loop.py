"""One loop, for every combination of parts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from anomaly.arrays import Bool, Features, Parameters
from anomaly.errors import TrainingDiverged
from anomaly.fitting.config import FitConfig, default_steps, schedule
from anomaly.fitting.corruption import Corruption
from anomaly.fitting.source import RowSource, Source
from anomaly.fitting.weights import Weights
from anomaly.models.kernels import Kernels, training_kernels
from anomaly.models.objective import Loss, loss_of
from anomaly.models.vae import VAE

if TYPE_CHECKING:
    from anomaly.models.torch_ops import TorchOps

SMALL_STEP_FLOPS = 2e9
"""Steps below this run on one thread: about 10 ms of one core."""

ACTIVE_UNIT_VARIANCE = 0.01
"""A latent whose mean varies more than this between rows is active (Burda et al. 2016, sec. 5)."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """One look at the early-stop rows, or at fit rows where none are held out; in nats a row.

    Attributes:
        held_out: Whether the rows are early-stop rows.
        loss, reconstruction, kl: On these rows, nothing hidden or blurred, the weights so far.
        train_loss, train_reconstruction, train_kl: Means over the steps since the last look.
        active_units: Latents whose posterior mean has a variance above 0.01 over the rows.
        gradient_norm: Mean over the same steps, before clipping.
        best: Whether these weights are the ones to keep so far: of the smallest loss on early-stop
            rows, or simply the latest.
    """

    held_out: bool
    step: int
    of_steps: int
    loss: float
    reconstruction: float
    kl: float
    train_loss: float
    train_reconstruction: float
    train_kl: float
    active_units: int
    gradient_norm: float
    best: bool


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What training found.

    Attributes:
        parameters: Of the last look that is the best, NumPy float32.
        history: All looks in order.
        fit_kept, early_stop_kept: (N,) of the rows of each part, which ones these parameters do
            not leave aside; all, where nothing is trimmed.
    """

    parameters: Parameters
    history: tuple[Progress, ...]
    fit_kept: Bool
    early_stop_kept: Bool

    @property
    def best(self) -> Progress:
        """The look whose parameters were kept."""
        return [look for look in self.history if look.best][-1]


def fit(
    vae: VAE,
    config: FitConfig,
    fit_rows: Features,
    early_stop_rows: Features,
    corruption: Corruption,
    seed: int,
    device: str = "cpu",
    on_look: Callable[[Progress], None] | None = None,
    kernels: Kernels | None = None,
) -> Fitted:
    """Minimise the objective on the fit rows.

    With early-stop rows, training ends when their loss no longer falls, and the parameters of its
    minimum are kept; without, it takes all its steps and keeps the last.

    Deterministic for one seed, machine and device (and number of threads, for large steps).

    Args:
        kernels: Of networks of images; None is `training_kernels`.

    Raises:
        TrainingDiverged: the loss or a gradient is no longer finite.
    """
    import torch

    from anomaly.models.torch_ops import TorchOps

    kernels = kernels or training_kernels(device)
    ops = TorchOps(torch.device(device), for_scoring=False, kernels=kernels)
    generator = torch.Generator(ops.device).manual_seed(seed)
    initial = vae.initial(np.random.default_rng(seed), fit_rows.inputs, fit_rows.context)
    steps = config.steps or default_steps(len(fit_rows), config.batch_rows)
    with _threads(_step_flops(initial, min(config.batch_rows, len(fit_rows)))):
        source = RowSource(
            ops, vae, config, fit_rows, early_stop_rows, corruption, steps, generator
        )
        best, history = minimise(ops, vae, config, source, initial, steps, generator, on_look)
        fit_kept, early_stop_kept = source.kept({k: ops.array(v) for k, v in best.items()})
    return Fitted(best, history, fit_kept, early_stop_kept)


def _step_flops(parameters: Parameters, rows: int) -> float:
    """Operations of one training step, about: forward once, backward twice."""
    numbers: int = sum(array.size for array in parameters.values())
    return 6.0 * rows * numbers


@contextmanager
def _threads(step_flops: float) -> Iterator[None]:
    """One thread for small steps: several only wait for each other, for seconds on a busy machine.

    One thread also makes the parameters independent of the number of cores.
    """
    import torch

    before = torch.get_num_threads()
    if step_flops < SMALL_STEP_FLOPS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def minimise(
    ops: TorchOps,
    vae: VAE,
    config: FitConfig,
    source: Source,
    initial: Parameters,
    steps: int,
    generator: Any,
    on_look: Callable[[Progress], None] | None,
) -> tuple[Parameters, tuple[Progress, ...]]:
    """The loop: the parameters of the best look, and all looks."""
    import torch

    where = ops.device
    weights = Weights(initial, where)
    parameters = weights.parameters
    objective = config.objective
    noise_shape = (*objective.draws(config.batch_rows), vae.sizes.latent)
    look_shape = (*objective.look_draws(source.watched_rows), vae.sizes.latent)
    look_noise = torch.randn(look_shape, generator=generator, device=where)
    optimiser = torch.optim.AdamW(
        [weights.flat], lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    history: list[Progress] = []
    best = initial
    sums = torch.zeros(4, device=where)
    since_look = 0
    for step in range(steps):
        share = schedule(step, steps, config.lr_warmup_steps)
        optimiser.param_groups[0]["lr"] = config.learning_rate * share
        batch = source.batch(step, parameters)
        rows = len(batch.targets)
        noise = torch.randn(noise_shape, generator=generator, device=where)[:, :rows]
        seen = source.corrupted(batch)
        loss = loss_of(ops, vae, parameters, seen, noise, objective, step)
        weights.gradient.zero_()
        loss.total.backward()
        norm = weights.gradient.norm()
        weights.gradient.mul_((config.clip_norm / (norm + 1e-6)).clamp(max=1.0))
        optimiser.step()
        sums += torch.stack([loss.total, loss.reconstruction, loss.kl, norm]).detach()
        since_look += 1
        if since_look < config.check_every and step + 1 < steps:
            continue
        watched, its_noise = source.watched(look_noise, parameters)
        with torch.inference_mode():
            clean = loss_of(ops, vae, parameters, watched, its_noise, objective)
        means = (sums / since_look).tolist()
        look = _look(step + 1, steps, clean, means, history, source.held_out)
        history.append(look)
        if look.best and (look.held_out or step + 1 == steps):
            best = weights.numpy()
        if on_look is not None:
            on_look(look)
        sums.zero_()
        since_look = 0
        if not any(earlier.best for earlier in history[-config.patience :]):
            break
    return best, tuple(history)


def _look(
    step: int,
    of_steps: int,
    clean: Loss,
    means: list[float],
    history: list[Progress],
    held_out: bool,
) -> Progress:
    numbers = (clean.total.item(), clean.reconstruction.item(), clean.kl.item(), *means)
    if not all(math.isfinite(number) for number in numbers):
        raise TrainingDiverged(
            f"training diverged by step {step}: loss {numbers[0]:g}, while training "
            f"{means[0]:g}, gradient norm {means[3]:g}. Try a smaller learning rate "
            "(`--set detector.fit.learning_rate=0.0005`). In a table, look for columns with "
            "extreme values: `--set detector.preprocessing.numeric_target=rank_normal` tames them."
        )
    variance = clean.posterior.loc.var(0, correction=0)
    return Progress(
        held_out=held_out,
        step=step,
        of_steps=of_steps,
        loss=numbers[0],
        reconstruction=numbers[1],
        kl=numbers[2],
        train_loss=means[0],
        train_reconstruction=means[1],
        train_kl=means[2],
        active_units=int((variance > ACTIVE_UNIT_VARIANCE).sum().item()),
        gradient_norm=means[3],
        best=not held_out or all(numbers[0] < earlier.loss for earlier in history),
    )
