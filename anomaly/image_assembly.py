"""The one sequence from normal images to a detector; see `anomaly.assembly` for tables.

Everything that shapes a score is a function of the fit and early-stop images: these choose scale
and weights, those the step that is kept, and what errors are usual where. The calibration images
only meet the finished score.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from dataclasses import dataclass as plain_dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Literal, TypeAlias, TypeVar

import numpy as np

from anomaly.arrays import Features, Float32, Int64, Objects
from anomaly.assembly import highest_of_each, library_versions, remembering
from anomaly.backends.backend import Device, ScoringModel, open_backend, trained_on
from anomaly.backends.defects import DefectModel, defect_levels
from anomaly.calibration import calibrate, supported
from anomaly.contamination import Contamination, ContaminationWarning
from anomaly.data.pixels import Pixels
from anomaly.data.splits import Splits
from anomaly.detector import Card
from anomaly.errors import NotEnoughRows
from anomaly.fitting import Corruption, Fitted, Progress, fit
from anomaly.fitting.defects import Sample, fit_defects
from anomaly.fitting.tiles import MOST_WATCHED, fit_tiles
from anomaly.image_config import ImageDetectorConfig, check_image_config, image_config_as_plain
from anomaly.image_detector import ImageDetector
from anomaly.inspection import Inspection
from anomaly.maps import Look, Maps, TileLook, TileMaps, WholeLook, WholeMaps
from anomaly.models.convolutional import ConvNetworks
from anomaly.models.defects import DefectNetwork
from anomaly.models.likelihood import ProductLikelihood
from anomaly.models.networks import Sizes
from anomaly.models.vae import VAE
from anomaly.notes import noted
from anomaly.preprocessing.images import (
    PLANES,
    Contrast,
    ImagePreprocessor,
    Tiled,
    contrasted,
    together,
)
from anomaly.preprocessing.watched import IMAGE_NUMBERS, watched_images
from anomaly.reference import Reference
from anomaly.scores import (
    HiddenCells,
    MissingFill,
    RememberingScore,
)
from anomaly.scores.cells import cell_masks
from anomaly.synthetic import with_defects
from anomaly.texture import Texture

ImageSource: TypeAlias = Callable[[Int64], Iterator[Pixels]]
"""The images of the given numbers, one after the other, in that order."""

AMPLITUDES = {Contrast.LOCAL: 1.0, Contrast.PLAIN: 0.5}
"""A strong change of a value of that contrast."""

MOST_MEASURED = 500
"""Fit images from which size and contrast are learned."""

FEWEST_HELD_OUT = 5
"""Early-stop images without which no scatter can be told."""

MOST_HELD_OUT = 500
"""Early-stop images that tell which errors are usual: more would not move a mean."""

MOST_RANKED = 100
"""Early-stop images from which the bins of scores are made."""

MOST_CACHED_BYTES = 2**30
"""Of prepared fit images, held in memory while training; tiles take about three times as much."""


@plain_dataclass(frozen=True)
class AssembledImages:
    """A detector of images, and how it came to be; see `anomaly.assembly.Assembled`."""

    detector: ImageDetector
    fitted: Fitted
    notes: tuple[str, ...]


def assemble_images(
    images: ImageSource,
    splits: Splits,
    config: ImageDetectorConfig,
    *,
    seed: int,
    device: Device = Device.AUTO,
    groups: Objects | None = None,
    exchangeability: str = "new normal images come from the same population as the calibration "
    "images",
    data: dict[str, str] | None = None,
    on_look: Callable[[Progress], None] | None = None,
) -> AssembledImages:
    """Preprocess, fit, score and calibrate.

    Args:
        images: Normal images; the splits number them.
        groups: (N,) the object each image shows. With groups the splits keep them whole, and each
            calibration group counts once, with its highest score.

    Raises:
        ConfigInvalid: parts that do not go together.
        TrainingDiverged: the fit broke down.
        AlphaNotSupported: too few calibration images, or groups, for the alpha that was given.
    """
    check_image_config(config)
    if len(splits.early_stop) < FEWEST_HELD_OUT:
        raise NotEnoughRows(
            f"{len(splits.early_stop)} early-stop images are too few to tell which errors are "
            f"usual: {FEWEST_HELD_OUT} are needed. Add normal images, or raise "
            "split.early_stop_share."
        )
    unit = "image" if groups is None else "group"
    if config.alpha is not None:
        units = splits.calibration if groups is None else set(groups[splits.calibration])
        supported(config.alpha, len(units), unit)
    with noted() as notes:
        rng = np.random.default_rng([seed, 1])
        preprocessor = fit_image_preprocessor(images, splits.fit, config, rng)
        vae = image_vae(config, preprocessor)
        watched = _watched(config, preprocessor, images, splits.early_stop)
        fit_images = images(splits.fit)
        inspection = None
        if config.layout.whole:
            tiled = within_memory(preprocessor.tiles(pixels) for pixels in fit_images)
            rows = together([of.features for of in tiled])
            fitted = _fit_whole(vae, config, rows, watched, seed, device, on_look)
        else:
            rows = watched
            values = list(within_memory(map(preprocessor.values, fit_images)))
            seen = [preprocessor.standardised(of) for of in values]
            fitted = _fit_tiles(vae, config, seen, watched, seed, device, on_look)
            defects = _fit_defects(config, preprocessor, values, seed, device)
            inspection = Inspection(defects, Texture.of(seen))
        constants = config.score.constants(vae, pixel_owner(preprocessor), rng)
        fill = MissingFill(np.zeros(vae.likelihood.targets), 0.0)
        model = ScoringModel(vae, ({**fitted.parameters, **constants},), config.score, fill)
        if isinstance(config.score, RememberingScore):
            model, _ = remembering(model, config.score, rows, rng, device, config.block_rows)
        backend = open_backend(model, None, device, config.block_rows)
        bare = ImageDetector(
            preprocessor,
            WholeMaps(np.zeros(0), np.ones(0), np.ones(1)),
            inspection,
            np.ones(1),
            calibrate(np.zeros(1), 0.5),
            Reference.of(IMAGE_NUMBERS, (), watched_images(()), np.zeros(1)),
            _card(splits, config, seed, unit, exchangeability, data or {}),
            backend,
        )
        held_out = images(evenly(splits.early_stop, MOST_HELD_OUT))
        detector = replace(bare, maps=_usual(bare.looks(held_out)))
        detector = replace(detector, reference=_reference(detector, images, splits))
        scores, hottest = detector.measured(images(splits.calibration))
        if groups is not None:
            scores = highest_of_each(scores, groups[splits.calibration])
        calibration = calibrate(scores, config.alpha, config.rule, unit)
        found = Contamination.of_scores(scores)
        if found.is_likely:
            warnings.warn(found.message_of_images(unit), ContaminationWarning, stacklevel=2)
    finished = detector.calibrated(calibration, hottest, replace(detector.card, notes=tuple(notes)))
    return AssembledImages(finished, fitted, tuple(notes))


def _reference(detector: ImageDetector, images: ImageSource, splits: Splits) -> Reference:
    """What images looked like that shaped the model; scores are those of early-stop images, which
    no weight was fitted to."""
    seen = watched_images(images(evenly(splits.fit, MOST_MEASURED)))
    scores = detector.anomaly_score(images(evenly(splits.early_stop, MOST_RANKED)))
    return Reference.of(IMAGE_NUMBERS, (), seen, scores)


def fit_image_preprocessor(
    images: ImageSource, numbers: Int64, config: ImageDetectorConfig, rng: np.random.Generator
) -> ImagePreprocessor:
    """Scale, channels and contrast, from at most `MOST_MEASURED` of the fit images."""
    chosen = np.sort(rng.permutation(numbers)[:MOST_MEASURED])
    sides, is_grey = [], True
    for pixels in images(chosen):
        sides.append(np.sqrt(pixels.shape[0] * pixels.shape[1]))
        is_grey = is_grey and shows_grey(pixels)
    scale = min(1.0, config.working_side / float(np.median(sides)))
    channels: Literal[1, 3] = 1 if is_grey else 3
    bare = ImagePreprocessor(
        config.layout, config.contrast, channels, scale, (0.0,) * channels, (1.0,) * channels
    )
    sums, squares, count = np.zeros(channels), np.zeros(channels), 0
    for pixels in images(chosen):
        values = contrasted(bare.working(pixels), config.contrast).astype(np.float64)
        sums += values.sum((0, 1))
        squares += (values**2).sum((0, 1))
        count += values.shape[0] * values.shape[1]
    center = sums / count
    spread = np.sqrt(np.maximum(squares / count - center**2, 1e-12))
    spread = np.where(spread > 1e-4, spread, 1.0)
    return replace(bare, center=tuple(center.tolist()), spread=tuple(spread.tolist()))


def shows_grey(pixels: Pixels) -> bool:
    """Whether all channels are the same."""
    return bool((pixels == pixels[..., :1]).all())


def image_vae(config: ImageDetectorConfig, preprocessor: ImagePreprocessor) -> VAE:
    """The model of one tile."""
    side, channels = config.layout.tile, preprocessor.channels
    networks = ConvNetworks(
        side, side, widths=config.widths, latent_channels=config.latent_channels
    )
    likelihood = ProductLikelihood(config.likelihood, channels * side * side)
    sizes = Sizes(
        inputs=(channels + PLANES) * side * side,
        context=0,
        latent=networks.latent,
        outputs=likelihood.outputs,
    )
    return VAE(networks, config.posterior, config.prior, likelihood, sizes)


def pixel_owner(preprocessor: ImagePreprocessor) -> Int64:
    """(P,) the pixel that each input belongs to: all channels of a pixel hide together."""
    pixels = np.arange(preprocessor.layout.tile**2)
    return np.tile(pixels, preprocessor.channels + PLANES)


def _watched(
    config: ImageDetectorConfig,
    preprocessor: ImagePreprocessor,
    images: ImageSource,
    early_stop: Int64,
) -> Features:
    """Rows that training looks at: those of a few images in tiles are enough."""
    chosen = evenly(early_stop, MOST_HELD_OUT if config.layout.whole else MOST_WATCHED // 4)
    return together([preprocessor.tiles(pixels).features for pixels in images(chosen)])


def evenly(numbers: Int64, most: int) -> Int64:
    """At most so many of them, evenly from the first to the last."""
    places = np.linspace(0, len(numbers) - 1, min(len(numbers), most))
    return numbers[places.astype(np.int64)]


def _usual(looks: Iterable[Look]) -> Maps:
    """What is usual, from images that took no part in fitting."""
    found = list(looks)
    of_tiles = [look for look in found if isinstance(look, TileLook)]
    if of_tiles:
        return TileMaps.of(of_tiles)
    return WholeMaps.of([look for look in found if isinstance(look, WholeLook)])


def _fit_whole(
    vae: VAE,
    config: ImageDetectorConfig,
    rows: Features,
    watched: Features,
    seed: int,
    device: Device,
    on_look: Callable[[Progress], None] | None,
) -> Fitted:
    is_number = np.arange(vae.sizes.inputs) < vae.likelihood.targets
    owner = np.tile(np.arange(config.layout.tile**2), len(is_number) // config.layout.tile**2)
    corruption = Corruption(owner, is_number)
    return fit(vae, config.fit, rows, watched, corruption, seed, trained_on(device), on_look)


def _fit_tiles(
    vae: VAE,
    config: ImageDetectorConfig,
    images: Sequence[Float32],
    watched: Features,
    seed: int,
    device: Device,
    on_look: Callable[[Progress], None] | None,
) -> Fitted:
    assert isinstance(config.score, HiddenCells)
    side, planes = config.layout.tile, images[0].shape[-1] + PLANES
    masks = cell_masks(side, side, planes, config.score.cell)
    return fit_tiles(vae, config.fit, images, watched, masks, seed, trained_on(device), on_look)


def _fit_defects(
    config: ImageDetectorConfig,
    preprocessor: ImagePreprocessor,
    values: Sequence[Float32],
    seed: int,
    device: Device,
) -> DefectModel:
    """Draw defects into fit images, and learn to find them."""
    network = DefectNetwork(preprocessor.channels)
    rng = np.random.default_rng([seed, 7])
    amplitude = AMPLITUDES[config.contrast]
    samples = []
    for number in range(config.defects.drawn):
        drawn = with_defects(rng, values[number % len(values)], values, amplitude)
        levels = defect_levels(preprocessor.standardised(drawn.values))
        samples.append(Sample.of(levels, drawn))
    parameters = fit_defects(network, config.defects, samples, seed, trained_on(device))
    return DefectModel(network, parameters)


Kept = TypeVar("Kept", Float32, Tiled)


def within_memory(images: Iterable[Kept]) -> Iterator[Kept]:
    """The first images that fit into `MOST_CACHED_BYTES`, with a warning if there are more."""
    used = 0
    for number, image in enumerate(images):
        used += image.nbytes
        if used > MOST_CACHED_BYTES and number:
            warnings.warn(
                f"only the first {number:,} fit images train the networks: more would take more "
                f"than {MOST_CACHED_BYTES / 2**30:g} GiB of memory. A smaller "
                "`detector.working_side` takes more of them.",
                ImagesLeftOut,
                stacklevel=2,
            )
            return
        yield image


class ImagesLeftOut(UserWarning):
    """There are more fit images than are held in memory."""


def _card(
    splits: Splits,
    config: ImageDetectorConfig,
    seed: int,
    unit: str,
    exchangeability: str,
    data: dict[str, str],
) -> Card:
    return Card(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        rows={name: len(rows) for name, rows in asdict(splits).items()},
        unit_of_calibration=unit,
        exchangeability=exchangeability,
        metrics={},
        notes=(),
        data=data,
        config={"seed": seed, **image_config_as_plain(config)},
        versions={**library_versions(), "pillow": version("pillow")},
    )
