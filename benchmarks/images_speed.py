"""How fast the networks of images train and score, with each choice of kernels, in one run.

    python -m benchmarks.images_speed [--device cpu|cuda] [--repeats 5] [--steps 20]

The networks and batches of the preset `tiles` on made weaves of 160 x 160 pixels. The choices of
`anomaly.models.kernels` take turns; seconds of training are medians over repeats, without the start
of a fit and its look at held-out tiles: wall clock on a GPU, and CPU time on a CPU, where whoever
else is busy would decide the ratios. A ratio above 1 is faster than float32, plane by plane.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from anomaly.arrays import Features, Float32, Parameters
from anomaly.backends.backend import Device
from anomaly.backends.defects import defect_levels
from anomaly.data.pixels import Pixels
from anomaly.data.splits import Splits
from anomaly.fitting import Fitted
from anomaly.fitting.defects import Sample, fit_defects
from anomaly.fitting.tiles import fit_tiles
from anomaly.image_assembly import (
    AMPLITUDES,
    ImageSource,
    assemble_images,
    fit_image_preprocessor,
    image_vae,
)
from anomaly.image_config import IMAGE_PRESETS
from anomaly.image_detector import ImageDetector
from anomaly.models.defects import DefectNetwork
from anomaly.models.kernels import EXACT, Kernels, training_kernels
from anomaly.preprocessing.images import PLANES, ImagePreprocessor, together
from anomaly.scores import HiddenCells
from anomaly.scores.cells import cell_masks
from anomaly.synthetic import with_defects
from benchmarks.record import RESULTS, Record, Results, heading, markdown
from benchmarks.timing import median_seconds

PRESET = IMAGE_PRESETS["tiles"]
SPLITS = Splits(np.arange(30), np.arange(30, 36), np.arange(36, 60), np.arange(60, 80))
IMAGES = 80
SIDE = 160

CHOICES: dict[str, Kernels] = {
    "float32": EXACT,
    "float32, channels last": Kernels(bfloat16=False, channels_last=True),
    "bfloat16": Kernels(bfloat16=True, channels_last=False),
    "bfloat16, channels last": Kernels(bfloat16=True, channels_last=True),
}

FITS = {
    "network": "{network}",
    "kernels": "{kernels}",
    "s per 100 steps": "{s_per_100_steps:.3g}",
    "ratio": "{ratio:.2f}x",
    "as shipped": "{shipped}",
}
REST = {"what": "{what}", "images/s": "{images_per_s:.3g}"}


def main() -> int:
    """Take turns, print medians and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="that are timed, of each fit")
    arguments = parser.parse_args()
    device = str(arguments.device)
    if device == "cuda" and not has_gpu():
        print("SKIPPED: torch finds no GPU here. `--device cpu` measures the processor.")
        return 0
    print(f"{heading()}device: {name_of(device)}\n", flush=True)
    results = Results.open(RESULTS / "images_speed.jsonl", fresh=True)
    work = Work.made(weaves(IMAGES))
    networks = {
        "hidden cells": (work.fit_hidden_cells, training_kernels(device, of_tiles=True)),
        "drawn defects": (work.fit_drawn_defects, training_kernels(device)),
    }
    for network, (fit, shipped) in networks.items():
        for kernels, found in in_turns(fit, device, arguments.steps, arguments.repeats).items():
            results.add(
                {
                    "network": network,
                    "device": device,
                    "kernels": kernels,
                    "s_per_100_steps": statistics.median(found),
                    "shipped": "yes" if CHOICES[kernels] == shipped else "",
                }
            )
    print(markdown(with_ratios(results.records), FITS) + "\n", flush=True)
    images = work.images[-len(SPLITS.test) :]
    detector = quick_detector(work.images, Device(device))
    calls: dict[str, Callable[[], object]] = {
        f"scored, {detector.backend.name} on {detector.backend.device}": (
            lambda: detector.anomaly_score(images)
        ),
        "drawn defects into, on the processor": lambda: work.drawn(len(images)),
    }
    for what, call in calls.items():
        speed = len(images) / median_seconds(call, arguments.repeats)
        results.add({"what": what, "device": device, "images_per_s": speed})
    print(markdown([record for record in results.records if "what" in record], REST))
    return 0


def has_gpu() -> bool:
    """Whether torch finds one."""
    import torch

    return bool(torch.cuda.is_available())


def name_of(device: str) -> str:
    """What the maker calls it."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else "the processor"


def weaves(n: int) -> list[Pixels]:
    """n pieces of an even weave, grey, (160, 160, 1) each."""
    rng = np.random.default_rng(0)
    down, across = np.mgrid[:SIDE, :SIDE]
    found = []
    for _ in range(n):
        waves = np.sin(down / 2 + rng.uniform(0, 6)) + np.sin(across / 2 + rng.uniform(0, 6))
        values = 130 + 40 * waves + rng.normal(0, 6, (SIDE, SIDE))
        found.append(np.clip(values, 0, 255).astype(np.uint8)[..., None])
    return found


@dataclass(frozen=True)
class Work:
    """What both networks are trained on.

    Attributes:
        values, seen: (height, width, channels) of each fit image, before and after what surrounds a
            pixel is taken away.
        held_out: Tiles of early-stop images.
        samples: Fit images with defects.
    """

    images: Sequence[Pixels]
    preprocessor: ImagePreprocessor
    values: Sequence[Float32]
    seen: Sequence[Float32]
    held_out: Features
    samples: Sequence[Sample]

    @staticmethod
    def made(images: Sequence[Pixels]) -> Work:
        """Of images that `SPLITS` numbers."""
        rng = np.random.default_rng(1)
        preprocessor = fit_image_preprocessor(source_of(images), SPLITS.fit, PRESET, rng)
        values = [preprocessor.values(images[number]) for number in SPLITS.fit]
        seen = [preprocessor.standardised(of) for of in values]
        held_out = together([preprocessor.tiles(images[n]).features for n in SPLITS.early_stop])
        bare = Work(images, preprocessor, values, seen, held_out, ())
        return replace(bare, samples=bare.drawn(PRESET.defects.batch_images * 4))

    def drawn(self, n: int) -> list[Sample]:
        """n fit images with defects drawn into them."""
        rng = np.random.default_rng(2)
        found = []
        for number in range(n):
            of = self.values[number % len(self.values)]
            drawn = with_defects(rng, of, self.values, AMPLITUDES[PRESET.contrast])
            levels = defect_levels(self.preprocessor.standardised(drawn.values))
            found.append(Sample.of(levels, drawn))
        return found

    def fit_hidden_cells(self, steps: int, device: str, kernels: Kernels) -> Fitted:
        """So many steps of the spatial VAE, and one look."""
        assert isinstance(PRESET.score, HiddenCells)
        side, planes = PRESET.layout.tile, self.preprocessor.channels + PLANES
        return fit_tiles(
            image_vae(PRESET, self.preprocessor),
            replace(PRESET.fit, steps=steps, check_every=steps),
            self.seen,
            self.held_out,
            cell_masks(side, side, planes, PRESET.score.cell),
            seed=0,
            device=device,
            kernels=kernels,
        )

    def fit_drawn_defects(self, steps: int, device: str, kernels: Kernels) -> Parameters:
        """So many steps of the network that looks for defects."""
        config = replace(PRESET.defects, steps=steps)
        network = DefectNetwork(self.preprocessor.channels)
        return fit_defects(network, config, self.samples, 0, device, kernels)


def in_turns(
    fit: Callable[[int, str, Kernels], object], device: str, steps: int, repeats: int
) -> dict[str, list[float]]:
    """Seconds of 100 steps, by choice of kernels: of a fit, less one of a single step."""
    found: dict[str, list[float]] = {name: [] for name in CHOICES}
    clock = time.process_time if device == "cpu" else time.perf_counter
    for kernels in CHOICES.values():
        fit(2, device, kernels)
    for _ in range(repeats):
        for name, kernels in CHOICES.items():
            started = clock()
            fit(1, device, kernels)
            between = clock()
            fit(1 + steps, device, kernels)
            found[name].append(100 * (clock() - between - (between - started)) / steps)
    return found


def quick_detector(images: Sequence[Pixels], device: Device) -> ImageDetector:
    """The preset after two steps: it scores as fast as after a thousand."""
    config = replace(
        PRESET,
        alpha=0.1,
        fit=replace(PRESET.fit, steps=2),
        defects=replace(PRESET.defects, steps=2, drawn=PRESET.defects.batch_images),
    )
    return assemble_images(source_of(images), SPLITS, config, seed=0, device=device).detector


def source_of(images: Sequence[Pixels]) -> ImageSource:
    """Images by number."""
    return lambda numbers: (images[number] for number in numbers)


def with_ratios(records: Sequence[Record]) -> list[Record]:
    """Each record beside float32, plane by plane, of the same network."""
    plain = {r["network"]: r["s_per_100_steps"] for r in records if r["kernels"] == "float32"}
    return [{**r, "ratio": plain[r["network"]] / r["s_per_100_steps"]} for r in records]


if __name__ == "__main__":
    sys.exit(main())
