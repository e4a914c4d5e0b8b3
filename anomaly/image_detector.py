"""The frozen whole for images: what `anomaly.detector` is for tables. It does no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from anomaly.arrays import Float32, Float64
from anomaly.backends.backend import Backend, BackendName, Device, ScoringModel, open_backend
from anomaly.calibration import Calibration, Rule, threshold
from anomaly.data.pixels import Pixels
from anomaly.detector import Card, Detector, Verdicts, between
from anomaly.errors import BadData, ConfigInvalid, ImageRejected
from anomaly.heat import Heat, heat_of
from anomaly.inspection import Inspection
from anomaly.maps import Evidence, Look, Maps, TileLook, TileMaps, WholeLook, WholeMaps
from anomaly.models.ops import NumpyOps
from anomaly.preprocessing.images import ImagePreprocessor, Tiled, joined, together
from anomaly.reference import Reference

SMALLEST_UNIT = 1e-3
"""Of heat: where normal images show none at all."""

MOST_TILES = 2_048
"""Of one image: half a gigabyte of memory."""

TILES_AT_ONCE = 256
"""Of images that are scored together: they fill blocks, and take some 400 kB of memory each."""


@dataclass(frozen=True)
class Mapped:
    """One image, scored pixel by pixel.

    Attributes:
        evidence: The score, and what it rests on.
        height, width: Of the image as the model sees it.
    """

    evidence: Evidence
    height: int
    width: int

    @property
    def score(self) -> float:
        """Higher is more anomalous."""
        return self.evidence.score

    @property
    def hottest(self) -> float:
        """The largest evidence in it."""
        return max(float(layer.max()) for layer in self.evidence.layers)

    def heat(self, unit: float) -> Heat:
        """Where it is anomalous; see `anomaly.heat.heat_of`."""
        return heat_of(self.evidence.layers, unit, self.height, self.width)


@dataclass(frozen=True)
class ImageDetector:
    """A fitted model of images with its threshold. Equal pixels give equal answers, alone or in any
    company.

    Attributes:
        preprocessor: Pixels to rows.
        maps: Errors and log odds to a score.
        inspection: What looks at tiles besides; None where images are seen whole.
        hottest: (n,) ascending, the largest evidence in each calibration image; see `heat_unit`.
        calibration: Scores to p-values, and alpha.
        reference: What the fit images looked like, for drift.
        card: What a reader must know.
        backend: The model on its device.
    """

    preprocessor: ImagePreprocessor
    maps: Maps
    inspection: Inspection | None
    hottest: Float64
    calibration: Calibration
    reference: Reference
    card: Card
    backend: Backend

    @property
    def heat_unit(self) -> float:
        """Evidence that counts as 1 on a heatmap: the hottest pixel of a normal image is a score
        like any other, and this its conformal threshold at alpha."""
        found = threshold(self.hottest, self.calibration.alpha, Rule.CONFORMAL)
        return max(found, SMALLEST_UNIT)

    @property
    def unit(self) -> str:
        """Of scores and threshold."""
        return "standard deviations" if self.inspection is not None else self.model.score.unit

    @property
    def model(self) -> ScoringModel:
        """The arrays behind the backend."""
        return self.backend.model

    def detect(self, images: Iterable[Pixels], alpha: float | None = None) -> Verdicts:
        """Score images and decide.

        Args:
            images: (height, width, channels) each, as `anomaly.data.images.decode` makes them.
            alpha: Another false-alarm rate, for this call only.

        Raises:
            AlphaNotSupported: the calibration scores cannot support that alpha.
        """
        return self.verdicts(self.anomaly_score(images), alpha)

    def verdicts(self, scores: Float64, alpha: float | None = None) -> Verdicts:
        """What scores (N,) of this detector mean."""
        p_values = self.calibration.p_values(scores)
        flagged = self.calibration.is_anomaly(p_values, alpha)
        in_force = self.calibration.alpha if alpha is None else alpha
        return Verdicts(scores, p_values, flagged, in_force, ())

    def anomaly_score(self, images: Iterable[Pixels]) -> Float64:
        """(N,) float64, higher is more anomalous."""
        return np.array([mapped.score for mapped in self.mapped(images)], dtype=np.float64)

    def explain(self, images: Iterable[Pixels]) -> Iterator[Heat]:
        """Where each image is anomalous."""
        for mapped in self.mapped(images):
            yield self.heat(mapped)

    def heat(self, mapped: Mapped) -> Heat:
        """The heatmap of an image that was scored."""
        return mapped.heat(self.heat_unit)

    def mapped(self, images: Iterable[Pixels]) -> Iterator[Mapped]:
        """Scores with the evidence behind them, image by image, in bounded memory."""
        for look in self.looks(images):
            yield self._read(look)

    def measured(self, images: Iterable[Pixels]) -> tuple[Float64, Float64]:
        """What a calibration needs of N images: scores (N,), and the largest evidence (N,)."""
        found = [(mapped.score, mapped.hottest) for mapped in self.mapped(images)]
        scores, hottest = zip(*found, strict=True) if found else ((), ())
        return np.array(scores, np.float64), np.array(hottest, np.float64)

    def looks(self, images: Iterable[Pixels]) -> Iterator[Look]:
        """What is found in images, before it is compared with what is usual."""
        for group in in_groups(images, self.preprocessor):
            yield from self._looked_at([self.preprocessor.tiles(pixels) for pixels in group])

    def encode(self, images: Iterable[Pixels]) -> Float64:
        """(N, L) posterior means: of the whole image, or the mean over its tiles."""
        found = []
        for pixels in images:
            latents = self.backend.encode(self.preprocessor.tiles(pixels).features)[0]
            found.append(latents.mean(0))
        return np.array(found)

    def reconstruct(self, images: Iterable[Pixels]) -> list[Float32]:
        """What the model expects of each image, from the posterior mean, nothing hidden.

        Returns:
            Pictures (height, width, channels) in [0, 1] at the size at which the model works. Those
            of tiles are joined as errors are.
        """
        found = (self.preprocessor.tiles(pixels) for pixels in images)
        return [self.rebuilt(self.backend.encode(of.features)[0], of) for of in found]

    def rebuilt(self, z: Float64, tiled: Tiled) -> Float32:
        """The picture (height, width, channels) of one image, from latents (rows, L) of its
        tiles."""
        squares = self._means(z)
        planes = [joined(plane, tiled, self.preprocessor.layout) for plane in squares]
        return self.preprocessor.shown(np.stack(planes, axis=-1))

    def sample(self, n: int, seed: int = 0) -> list[Float32]:
        """n pictures that the model holds for normal: decoded draws from the prior.

        Returns:
            (tile, tile, channels) in [0, 1]: whole images, or tiles.
        """
        prior = self.model.vae.latent_prior(NumpyOps(), self.model.first)
        return list(self.decode(prior.sample(n, np.random.default_rng(seed))))

    def interpolate(self, start: Pixels, end: Pixels, steps: int = 8) -> list[Float32]:
        """Pictures on the line between the latents of two images, both ends included.

        Returns:
            (tile, tile, channels) in [0, 1]: whole images, or the tiles in the middle of the two.
        """
        first, last = (self._middle(pixels) for pixels in (start, end))
        return list(self.decode(between(first, last, steps)))

    def decode(self, z: Float64) -> Float32:
        """Pictures (N, tile, tile, channels) in [0, 1] of latents (N, L)."""
        side = self.preprocessor.layout.tile
        squares = self._means(z).reshape(-1, len(z), side, side)
        return self.preprocessor.shown(np.moveaxis(squares, 0, -1))

    def calibrated(self, calibration: Calibration, hottest: Float64, card: Card) -> ImageDetector:
        """The same model with another calibration, and heat on the scale of its images.

        Args:
            hottest: (N,) of the calibration images, as `measured` finds them.
        """
        return replace(self, calibration=calibration, hottest=np.sort(hottest), card=card)

    def with_alpha(self, alpha: float, rule: Rule | None = None) -> ImageDetector:
        """The same model at another false-alarm rate."""
        return replace(self, calibration=self.calibration.with_alpha(alpha, rule))

    def on(self, name: BackendName | None = None, device: Device = Device.AUTO) -> ImageDetector:
        """The same detector on another backend or device, with the same block size."""
        backend = open_backend(self.model, name, device, self.backend.block_rows)
        return replace(self, backend=backend)

    def _looked_at(self, some: Sequence[Tiled]) -> list[Look]:
        terms = self.backend.score_features(together([tiled.features for tiled in some]))
        ends = np.cumsum([len(tiled.places) for tiled in some])
        found: list[Look] = []
        for tiled, end in zip(some, ends, strict=True):
            rows = slice(end - len(tiled.places), end)
            errors = self._errors(terms.per_target[rows], tiled)
            if self.inspection is None:
                found.append(WholeLook(errors, float(terms.scores[rows].sum())))
            else:
                found.append(TileLook(errors, *self.inspection.of(tiled.image, self.backend)))
        return found

    def _middle(self, pixels: Pixels) -> Float64:
        """(1, L) the latents of the tile in the middle."""
        tiled = self.preprocessor.tiles(pixels)
        return self.backend.encode(tiled.features.take(slice(at := tiled.middle, at + 1)))[0]

    def _means(self, z: Float64) -> Float64:
        """(channels, N, pixels) what tiles are expected to be."""
        means = self.backend.decode(z, np.zeros((len(z), 0), np.float32))[0]
        return np.moveaxis(means.reshape(len(z), self.preprocessor.channels, -1), 1, 0)

    def _errors(self, per_target: Float64, tiled: Tiled) -> Float64:
        """Terms (rows, channels * pixels) as one map, the mean over channels."""
        side = self.preprocessor.layout.tile
        by_pixel = per_target.reshape(len(per_target), -1, side * side).mean(1)
        return joined(by_pixel, tiled, self.preprocessor.layout)

    def _read(self, look: Look) -> Mapped:
        match self.maps, look:
            case WholeMaps() as maps, WholeLook():
                evidence = maps.read(look)
            case TileMaps() as maps, TileLook():
                evidence = maps.read(look)
            case _:
                raise AssertionError("maps of tiles are for images in tiles")
        return Mapped(evidence, *look.errors.shape)


def in_groups(images: Iterable[Pixels], preprocessor: ImagePreprocessor) -> Iterator[list[Pixels]]:
    """The images, a few at a time: of at most `TILES_AT_ONCE` tiles, or a single one.

    Raises:
        ImageRejected: one of them becomes more than `MOST_TILES`.
    """
    group: list[Pixels] = []
    total = 0
    for pixels in images:
        tiles = check_tiles(pixels, preprocessor)
        if group and total + tiles > TILES_AT_ONCE:
            yield group
            group, total = [], 0
        group.append(pixels)
        total += tiles
    if group:
        yield group


def check_tiles(pixels: Pixels, preprocessor: ImagePreprocessor) -> int:
    """How many tiles the image becomes.

    Raises:
        ImageRejected: more than `MOST_TILES`.
        BadData: it is no array of pixels.
    """
    if not is_pixels(pixels):
        raise BadData(
            "an image is an array (height, width, channels) of uint8 or uint16 with 1 or 3 "
            "channels, and images are an iterable of these. `anomaly.data.images.decode` makes one "
            "of the bytes of a PNG or JPEG file.",
            code="not_an_image",
        )
    height, width = pixels.shape[:2]
    tiles = preprocessor.count(height, width)
    if tiles > MOST_TILES:
        raise ImageRejected(
            f"an image of {width:,} x {height:,} pixels becomes {tiles:,} tiles of the model, and "
            f"{MOST_TILES:,} are allowed. Cut it into parts, or train with a smaller "
            "detector.working_side.",
            code="image_too_many_tiles",
        )
    return tiles


def is_pixels(pixels: object) -> bool:
    """Whether it is what `anomaly.data.images.decode` makes."""
    return (
        isinstance(pixels, np.ndarray)
        and pixels.dtype in (np.uint8, np.uint16)
        and pixels.ndim == 3
        and pixels.shape[-1] in (1, 3)
        and pixels.size > 0
    )


AnyDetector: TypeAlias = Detector | ImageDetector


def of_tables(detector: AnyDetector) -> Detector:
    """The detector, if it is one of tables.

    Raises:
        ConfigInvalid: it looks at images.
    """
    if isinstance(detector, ImageDetector):
        raise ConfigInvalid(
            "the model looks at images, not at columns of a table. Give it a folder of PNG or JPEG "
            "files, or a table of their paths with --image-column; in Python use `load_images`."
        )
    return detector


def of_images(detector: AnyDetector) -> ImageDetector:
    """The detector, if it is one of images.

    Raises:
        ConfigInvalid: it looks at the columns of a table.
    """
    if isinstance(detector, Detector):
        raise ConfigInvalid(
            "the model looks at columns of a table, not at images. Give it a CSV or Parquet file, "
            "or name a model that was trained on images; in Python use `anomaly.load`."
        )
    return detector
