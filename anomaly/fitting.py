"""Arrays in, a trained model out. One loop, for every combination of parts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Bool, Features, Int64, Parameters
from anomaly.data.schema import STRICT
from anomaly.errors import TrainingDiverged
from anomaly.models.objective import ELBO, Batch, Loss, Objective, loss_of
from anomaly.models.vae import VAE
from anomaly.trimming import kept_rows, moments, taken

if TYPE_CHECKING:
    from anomaly.models.torch_ops import TorchOps

SMALL_STEP_FLOPS = 2e9
"""Steps below this run on one thread: about 10 ms of one core."""

ACTIVE_UNIT_VARIANCE = 0.01
"""A latent whose mean varies more than this between rows is active (Burda et al. 2016, sec. 5)."""


@dataclass(frozen=True, config=STRICT)
class FitConfig:
    """How the parameters are found: AdamW (Loshchilov & Hutter 2019) with a cosine schedule.

    Attributes:
        steps: At most so many; training stops earlier when the held-out loss no longer falls.
            None follows the rule of `default_steps`.
        lr_warmup_steps: The learning rate rises linearly over so many steps.
        mask_rate: Share of the encoder's inputs hidden at each step (denoising; Vincent et al.
            2008): the model learns each column from the others.
        noise: Gaussian noise on the encoder's numbers, of standard deviation noise * U(0, 2),
            one draw a row.
        check_every: Steps between looks at the early-stop rows.
        patience: Looks without improvement before training stops.
        trim: Share of the rows that training leaves aside, those of the largest loss: about as many
            as may be anomalies (see `anomaly.trimming`). The early-stop loss leaves as many out.
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


@dataclasses.dataclass(frozen=True)
class Progress:
    """One look at the early-stop rows; means a row, in nats.

    Attributes:
        loss, reconstruction, kl: On early-stop rows, clean inputs, the final weights.
        train_loss, train_reconstruction, train_kl: Means over the steps since the last look.
        active_units: Latents whose posterior mean has a variance above 0.01 over the rows.
        gradient_norm: Mean over the same steps, before clipping.
        best: Whether this is the smallest held-out loss so far.
    """

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
        parameters: Of the best look, NumPy float32.
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


@dataclasses.dataclass(frozen=True)
class Corruption:
    """What can be hidden or blurred of the encoder's inputs.

    Attributes:
        owner: (P,) the target that each input belongs to; all inputs of a target hide together.
        is_number: (P,) whether noise may be added.
    """

    owner: Int64
    is_number: Bool


def fit(
    vae: VAE,
    config: FitConfig,
    fit_rows: Features,
    early_stop_rows: Features,
    corruption: Corruption,
    seed: int,
    device: str = "cpu",
    on_look: Callable[[Progress], None] | None = None,
) -> Fitted:
    """Minimise the objective on the fit rows; keep the parameters that are best on the others.

    Deterministic for one seed, machine and device (and number of threads, for large steps).

    Raises:
        TrainingDiverged: the loss or a gradient is no longer finite.
    """
    import torch

    from anomaly.models.torch_ops import TorchOps

    where = torch.device(device)
    ops = TorchOps(where, for_scoring=False)
    generator = torch.Generator(where).manual_seed(seed)
    initial = vae.initial(np.random.default_rng(seed), fit_rows.inputs, fit_rows.context)
    with _threads(_step_flops(initial, min(config.batch_rows, len(fit_rows)))):
        return _fit(
            vae, config, fit_rows, early_stop_rows, corruption, initial, ops, generator, on_look
        )


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


def _fit(
    vae: VAE,
    config: FitConfig,
    fit_rows: Features,
    early_stop_rows: Features,
    corruption: Corruption,
    initial: Parameters,
    ops: TorchOps,
    generator: Any,
    on_look: Callable[[Progress], None] | None,
) -> Fitted:
    import torch

    where = ops.device
    weights = _Weights(initial, where)
    parameters = weights.parameters
    seen = _on_device(fit_rows, where)
    batches = _batches(seen, torch.arange(len(fit_rows), device=where), config, generator)
    held_out = _on_device(early_stop_rows, where)
    corrupt = _Corrupter(corruption, config, generator, where)
    objective = config.objective
    steps = config.steps or default_steps(len(fit_rows), config.batch_rows)
    noise_shape = (*objective.draws(config.batch_rows), vae.sizes.latent)
    fixed_noise = torch.randn(
        (*objective.held_out_draws(len(early_stop_rows)), vae.sizes.latent),
        generator=generator,
        device=where,
    )
    optimiser = torch.optim.AdamW(
        [weights.flat], lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    history: list[Progress] = []
    best = initial
    sums = torch.zeros(4, device=where)
    since_look = 0
    ranked_before = moments(steps, config.trim)
    for step in range(steps):
        if step in ranked_before:
            kept = kept_rows(ops, vae, parameters, seen, config.trim)
            batches = _batches(seen, kept, config, generator)
        share = schedule(step, steps, config.lr_warmup_steps)
        optimiser.param_groups[0]["lr"] = config.learning_rate * share
        batch = next(batches)
        rows = len(batch.targets)
        noise = torch.randn(noise_shape, generator=generator, device=where)[:, :rows]
        loss = loss_of(
            ops,
            vae,
            parameters,
            dataclasses.replace(batch, inputs=corrupt(batch)),
            noise,
            objective,
            step,
        )
        weights.gradient.zero_()
        loss.total.backward()
        norm = weights.gradient.norm()
        weights.gradient.mul_((config.clip_norm / (norm + 1e-6)).clamp(max=1.0))
        optimiser.step()
        sums += torch.stack([loss.total, loss.reconstruction, loss.kl, norm]).detach()
        since_look += 1
        if since_look < config.check_every and step + 1 < steps:
            continue
        told, told_noise = held_out, fixed_noise
        if config.trim:
            kept = kept_rows(ops, vae, parameters, held_out, config.trim)
            told = taken(held_out, kept)
            told_noise = fixed_noise if fixed_noise.shape[1] == 1 else fixed_noise[:, kept]
        with torch.inference_mode():
            held = loss_of(ops, vae, parameters, told, told_noise, objective)
        look = _look(step + 1, steps, held, (sums / since_look).tolist(), history)
        history.append(look)
        if look.best:
            best = weights.numpy()
        if on_look is not None:
            on_look(look)
        sums.zero_()
        since_look = 0
        if not any(earlier.best for earlier in history[-config.patience :]):
            break
    final = {name: ops.array(value) for name, value in best.items()}
    fit_kept, early_stop_kept = (
        _kept(ops, vae, final, rows, config.trim) for rows in (seen, held_out)
    )
    return Fitted(best, tuple(history), fit_kept, early_stop_kept)


def _kept(ops: TorchOps, vae: VAE, parameters: Parameters, rows: Batch, trim: float) -> Bool:
    if not trim:
        return np.ones(len(rows.targets), dtype=bool)
    kept = np.zeros(len(rows.targets), dtype=bool)
    kept[kept_rows(ops, vae, parameters, rows, trim).cpu().numpy()] = True
    return kept


class _Weights:
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


def schedule(step: int, steps: int, warmup: int) -> float:
    """Share of the learning rate at a step: linear rise, then a half cosine to 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _look(
    step: int, of_steps: int, held: Loss, means: list[float], history: list[Progress]
) -> Progress:
    numbers = (held.total.item(), held.reconstruction.item(), held.kl.item(), *means)
    if not all(math.isfinite(number) for number in numbers):
        raise TrainingDiverged(
            f"training diverged by step {step}: held-out loss {numbers[0]:g}, training loss "
            f"{means[0]:g}, gradient norm {means[3]:g}. Try a smaller learning rate "
            "(`--set detector.fit.learning_rate=0.0005`), and look for columns with extreme "
            "values: `--set detector.preprocessing.numeric_target=rank_normal` tames them."
        )
    variance = held.posterior.loc.var(0, correction=0)
    return Progress(
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
        best=all(numbers[0] < earlier.loss for earlier in history),
    )


def _on_device(features: Features, device: Any) -> Batch:
    """The rows in float32 on the device: the whole table, once."""
    import torch

    return Batch(
        *(
            torch.as_tensor(np.asarray(array, dtype=np.float32), device=device)
            for array in (features.inputs, features.targets, features.observed, features.context)
        )
    )


def _batches(rows: Batch, drawn: Any, config: FitConfig, generator: Any) -> Any:
    """Endless batches of the drawn rows (K,), by number.

    Each epoch is a fresh permutation, the short rest of an epoch included.
    """
    import torch

    n = len(drawn)
    while True:
        order = drawn[torch.randperm(n, generator=generator, device=drawn.device)]
        for start in range(0, n, config.batch_rows):
            chosen = order[start : start + config.batch_rows]
            yield Batch(
                rows.inputs.index_select(0, chosen),
                rows.targets.index_select(0, chosen),
                rows.observed.index_select(0, chosen),
                rows.context.index_select(0, chosen),
            )


class _Corrupter:
    """Hides and blurs the encoder's inputs, the same way a missing value hides them: by zeros."""

    def __init__(
        self, corruption: Corruption, config: FitConfig, generator: Any, device: Any
    ) -> None:
        import torch

        self.owner = torch.as_tensor(corruption.owner, device=device)
        self.targets = int(corruption.owner.max(initial=-1)) + 1
        self.is_number = torch.as_tensor(corruption.is_number.astype(np.float32), device=device)
        self.config = config
        self.generator = generator

    def __call__(self, batch: Batch) -> Any:
        import torch

        inputs = batch.inputs
        rows, device = len(inputs), inputs.device
        if self.config.noise:
            width = torch.rand((rows, 1), generator=self.generator, device=device)
            blur = torch.randn(inputs.shape, generator=self.generator, device=device)
            # What is missing stays exactly zero, as it will be when rows are scored.
            blurred = self.is_number * batch.observed.index_select(1, self.owner)
            inputs = inputs + (2 * self.config.noise) * width * blur * blurred
        if self.config.mask_rate:
            hide = torch.rand((rows, self.targets), generator=self.generator, device=device)
            inputs = inputs * (hide >= self.config.mask_rate).index_select(1, self.owner)
        return inputs
