"""Pictures of the latent space of a detector of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anomaly.arrays import Bool, Float32, Float64
from anomaly.data.pixels import Pixels
from anomaly.detector import between
from anomaly.image_detector import ImageDetector
from anomaly.preprocessing.images import Contrast
from training.canvas import (
    ANOMALY,
    LINE,
    NORMAL,
    blank,
    framed,
    name_row,
    new_figure,
    show_picture,
)
from training.latent_plots import (
    INTERPOLATIONS,
    MANIFOLD,
    PROJECTION,
    RECONSTRUCTIONS,
    SAMPLES,
    TRAVERSAL,
    UNITS,
    head,
    projection_figure,
    units_figure,
)
from training.latent_space import REACH, LatentSpace, across, opposites

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_REBUILT, MOST_TRAVERSED, MOST_PATHS = 8, 8, 5
TRAVERSAL_STEPS = np.linspace(-REACH, REACH, 7)
PATH_STEPS = 8
SAMPLES_ACROSS = 6
MANIFOLD_SIDE = 13
MANIFOLD_SHARES = (0.01, 0.99)
"""Quantiles of the rows' latents between which the manifold is shown."""

TONES = (0.005, 0.995)
"""Quantiles of real pixels that become black and white where contrast is stretched."""

GAP = 1
"""White pixels between the pictures of a manifold."""

LOWEST_ROW = 0.4
"""Inches: a row of pictures has a name of two lines."""

HOTTEST = 2.0
"""Where the colours of heat end."""


@dataclass(frozen=True)
class Look:
    """One image, and what the model makes of it.

    Attributes:
        seen: (height, width, channels) as the networks see it, in [0, 1].
        rebuilt: The same, decoded from posterior means.
        heat: (height, width); see `anomaly.heat`.
        means, deviations: (T, L) of its tiles.
        middle: Which of these tiles lies in the middle.
        tile: (height, width, channels) of it.
    """

    seen: Float32
    rebuilt: Float32
    heat: Float32
    score: float
    means: Float64
    deviations: Float64
    middle: int
    tile: Float32

    @property
    def latents(self) -> Float64:
        """(1, L) of the tile in the middle."""
        return self.means[self.middle : self.middle + 1]


def look(detector: ImageDetector, pixels: Pixels) -> Look:
    """Score an image, encode it and decode it again."""
    preprocessor, side = detector.preprocessor, detector.preprocessor.layout.tile
    (mapped,) = detector.mapped([pixels])
    tiled = preprocessor.tiles(pixels)
    means, deviations = detector.backend.encode(tiled.features)
    seen = preprocessor.shown(tiled.image.astype(np.float64))
    place = tiled.places[tiled.middle]
    return Look(
        seen,
        detector.rebuilt(means, tiled),
        detector.heat(mapped).values,
        mapped.score,
        means,
        deviations,
        tiled.middle,
        seen[place.top : place.top + side, place.left : place.left + side],
    )


def image_latent_figures(
    detector: ImageDetector,
    images: Iterable[Pixels],
    is_anomalous: Bool | None = None,
    seed: int = 0,
) -> dict[str, Figure]:
    """Every figure of the latent space that applies, by file name.

    Of a posterior that has collapsed there are two, which say so: its draws, ways and maps would
    only look like those of a VAE.

    Args:
        images: A few hundred at most: each stays in memory at the size at which the model works.
        is_anomalous: (N,) the truth, where it is known: what is usual is then told by the others.
        seed: Of draws from the prior.
    """
    looks = [look(detector, pixels) for pixels in images]
    usual = looks
    if is_anomalous is not None and not is_anomalous.all():
        usual = [one for one, odd in zip(looks, is_anomalous, strict=True) if not odd]
    space = space_of(detector, usual)
    found = {RECONSTRUCTIONS: reconstruction_figure(detector, looks, space)}
    if space.can_tell:
        found[UNITS] = units_figure(space)
    if not space.active.any():
        return found
    found[SAMPLES] = sample_figure(detector, usual, space, seed)
    found[TRAVERSAL] = traversal_figure(detector, usual, space)
    if len(usual) > 1:
        found[INTERPOLATIONS] = interpolation_figure(detector, usual, space)
    if space.means.shape[1] == 2:
        found[MANIFOLD] = manifold_figure(detector, space)
    if len(looks) > 2:
        points = np.array([one.means.mean(0) for one in looks])
        scores = np.array([one.score for one in looks])
        found[PROJECTION] = projection_figure(
            points, scores, detector.calibration, space, is_anomalous
        )
    return found


def space_of(detector: ImageDetector, looks: Sequence[Look]) -> LatentSpace:
    """The latent space, from all tiles."""
    means, deviations = (
        np.concatenate(parts)
        for parts in zip(*((a.means, a.deviations) for a in looks), strict=True)
    )
    unit = "images" if detector.preprocessor.layout.whole else "tiles"
    return LatentSpace.of(detector.model, means, deviations, unit)


def reconstruction_figure(
    detector: ImageDetector, looks: Sequence[Look], space: LatentSpace
) -> Figure:
    """Images from the lowest to the highest score: seen, rebuilt, error, heat."""
    scores = np.array([one.score for one in looks])
    calibration = detector.calibration
    chosen = across(scores, MOST_REBUILT)
    flagged = calibration.is_anomaly(calibration.p_values(scores))
    margins = calibration.margins(scores)
    ratio = float(np.median([looks[i].seen.shape[0] / looks[i].seen.shape[1] for i in chosen]))
    figure, axes = _picture_grid(4, len(chosen), ratio, (1.7, 1.05))
    rows = np.array(axes, dtype=object).reshape(4, -1)
    tone = tone_of(detector, looks)
    errors = [np.abs(looks[i].seen - looks[i].rebuilt).mean(-1) for i in chosen]
    top = max(float(error.max()) for error in errors) or 1.0
    for column, (number, error) in enumerate(zip(chosen, errors, strict=True)):
        one = looks[number]
        show_picture(rows[0, column], tone(one.seen))
        show_picture(rows[1, column], tone(one.rebuilt))
        by_error = show_picture(rows[2, column], error, cmap="magma", vmax=top)
        by_heat = show_picture(rows[3, column], one.heat, cmap="inferno", vmax=HOTTEST)
        color = ANOMALY if flagged[number] else LINE
        mark = "\nflagged" if flagged[number] else "\n"
        rows[0, column].set_title(f"margin {margins[number]:.2f}{mark}", fontsize=9, color=color)
    names = (_seen_words(detector), "reconstruction", "absolute error", "heat")
    for row, name in enumerate(names):
        name_row(rows[row, 0], name)
    # Pictures stay in the middle of their column.
    look: dict[str, Any] = {"aspect": 8, "pad": 0.01, "panchor": False}
    figure.colorbar(by_error, ax=rows[2].tolist(), **look)
    bar = figure.colorbar(by_heat, ax=rows[3].tolist(), extend="max", **look)
    bar.set_ticks([0, 1, HOTTEST])
    what = "every reconstruction is the same" if space.has_collapsed else ""
    head(
        figure,
        "Reconstructions from the posterior mean; left the lowest score, right the highest",
        space,
        what,
    )
    return figure


def sample_figure(
    detector: ImageDetector, looks: Sequence[Look], space: LatentSpace, seed: int
) -> Figure:
    """Pictures decoded from draws of the prior, next to real ones."""
    count = SAMPLES_ACROSS**2
    tone = tone_of(detector, looks)
    drawn = [tone(picture) for picture in detector.sample(count, seed)]
    chosen = np.random.default_rng(seed).permutation(len(looks))[:count]
    real = [tone(looks[i].tile) for i in chosen]
    figure = blank(_grid_size(SAMPLES_ACROSS, 2 * SAMPLES_ACROSS + 1, 1.0, (0.0, 1.0)))
    halves: Any = figure.subfigures(1, 2, wspace=0.03)
    for half, pictures, name in (
        (halves[0], drawn, f"drawn: {space.rows} decoded from the prior"),
        (halves[1], real, f"real {_unit_words(detector)}"),
    ):
        half.suptitle(name, fontsize=10)
        axes = half.subplots(SAMPLES_ACROSS, SAMPLES_ACROSS, squeeze=False).ravel()
        for number, axis in enumerate(axes):
            if number < len(pictures):
                show_picture(axis, pictures[number])
            else:
                axis.set_axis_off()
    alone = "each place is drawn by itself" if space.places > 1 else ""
    further = "; ".join(filter(None, (space.said_of_prior, alone)))
    head(figure, f"Draws from the prior next to real {space.rows}", space, further)
    return figure


def interpolation_figure(
    detector: ImageDetector, looks: Sequence[Look], space: LatentSpace
) -> Figure:
    """Ways between two images, with the images themselves at both ends."""
    points = np.array([one.latents[0] for one in looks])
    pairs = opposites(points, MOST_PATHS)
    tone = tone_of(detector, looks)
    columns = PATH_STEPS + 2
    figure, axes = _picture_grid(len(pairs), columns, 1.0, (0.5, 0.7))
    for row, (start, end) in enumerate(pairs):
        path = detector.decode(between(looks[start].latents, looks[end].latents, PATH_STEPS))
        on_row = axes[row * columns : (row + 1) * columns]
        for axis, picture in zip(on_row, (looks[start].tile, *path, looks[end].tile), strict=True):
            show_picture(axis, tone(picture))
        framed((on_row[0], on_row[-1]), NORMAL)
    last = axes[-columns:]
    last[0].set_xlabel("real", fontsize=9)
    last[-1].set_xlabel("real", fontsize=9)
    for number, share in enumerate(np.linspace(0, 1, PATH_STEPS)):
        last[number + 1].set_xlabel(f"{share:.0%}", fontsize=9)
    head(
        figure,
        f"Interpolation between {_unit_words(detector)} that lie far apart, "
        "decoded on the line between their latents",
        space,
    )
    return figure


def traversal_figure(detector: ImageDetector, looks: Sequence[Look], space: LatentSpace) -> Figure:
    """What each of the most active latents does to one picture, all others held."""
    channels = space.leading(MOST_TRAVERSED)
    points = np.array([one.latents[0] for one in looks])
    start = points[int(((points - points.mean(0)) ** 2).sum(1).argmin())]
    steps, tone = TRAVERSAL_STEPS, tone_of(detector, looks)
    figure, axes = _picture_grid(len(channels), len(steps), 1.0, (1.2, 0.7))
    for row, channel in enumerate(channels):
        pictures = detector.decode(space.traversal(start, channel, steps))
        on_row = axes[row * len(steps) : (row + 1) * len(steps)]
        for axis, picture in zip(on_row, pictures, strict=True):
            show_picture(axis, tone(picture))
        framed([on_row[len(steps) // 2]], NORMAL)
        name = "latent" if space.places == 1 else "channel"
        name_row(on_row[0], f"{name} {channel + 1}\nsd {space.spread(channel):.2g}")
    for axis, step in zip(axes[-len(steps) :], steps, strict=True):
        axis.set_xlabel(f"{step:+g} sd" if step else "0", fontsize=9)
    together = f", each at all {space.places} places" if space.places > 1 else ""
    what = "latents" if space.places == 1 else "channels"
    head(
        figure,
        f"Traversal: the {len(channels)} most active {what}{together}; framed, the reconstruction",
        space,
    )
    return figure


def manifold_figure(detector: ImageDetector, space: LatentSpace) -> Figure:
    """What the decoder makes of a grid over the two latents."""
    low, high = np.quantile(space.means, MANIFOLD_SHARES, axis=0)
    across_axis, up_axis = (np.linspace(low[k], high[k], MANIFOLD_SIDE) for k in (0, 1))
    grid = np.array([(a, b) for b in up_axis[::-1] for a in across_axis])
    pictures = detector.decode(grid)
    height, width = (side + GAP for side in pictures.shape[1:3])
    gaps = ((0, 0), (GAP, 0), (GAP, 0), (0, 0))
    mosaic = np.pad(pictures, gaps, constant_values=1.0)
    mosaic = mosaic.reshape(MANIFOLD_SIDE, MANIFOLD_SIDE, *mosaic.shape[1:])
    mosaic = mosaic.transpose(0, 2, 1, 3, 4)
    mosaic = mosaic.reshape(MANIFOLD_SIDE * height, MANIFOLD_SIDE * width, -1)
    figure, (axis,) = new_figure(1, 1, (7.0, 6.5 * height / width + 0.8))
    show_picture(axis, mosaic)
    every = range(0, MANIFOLD_SIDE, 2)
    middles = np.arange(MANIFOLD_SIDE) + 0.5
    axis.set_xticks(middles[every] * width, [_tick(across_axis[k]) for k in every])
    axis.set_yticks(middles[every] * height, [_tick(up_axis[::-1][k]) for k in every])
    axis.set(xlabel="latent 1", ylabel="latent 2")
    head(figure, f"Manifold: {_unit_words(detector)} decoded on a grid over both latents", space)
    return figure


def tone_of(detector: ImageDetector, looks: Sequence[Look]) -> Callable[[Float32], Float32]:
    """What makes pictures of one figure easy to see, the same for all of them.

    Brightness is left as it is; local contrast, which lies around grey, is stretched to the range
    of the real images.
    """
    if detector.preprocessor.contrast is Contrast.PLAIN:
        return lambda picture: picture
    low, high = np.quantile(np.concatenate([one.tile.ravel() for one in looks]), TONES)
    return lambda picture: np.clip((picture - low) / max(high - low, 1e-6), 0, 1)


def _tick(value: float) -> str:
    return f"{round(value, 1) + 0.0:g}"


def _unit_words(detector: ImageDetector) -> str:
    return "images" if detector.preprocessor.layout.whole else "tiles from the middle of images"


def _seen_words(detector: ImageDetector) -> str:
    return (
        "image"
        if detector.preprocessor.contrast is Contrast.PLAIN
        else "local contrast,\nstretched"
    )


def _grid_size(
    rows: int, columns: int, ratio: float, extra: tuple[float, float]
) -> tuple[float, float]:
    """Inches for a grid of pictures, `ratio` times as high as wide, and `extra` ones across and
    down."""
    width = min(1.0, 12.0 / columns)
    height = max(width * ratio, LOWEST_ROW)
    return max(8.5, columns * width + extra[0]), rows * height + extra[1] + 0.3


def _picture_grid(
    rows: int, columns: int, ratio: float, extra: tuple[float, float]
) -> tuple[Figure, list[Any]]:
    figure, axes = new_figure(rows, columns, _grid_size(rows, columns, ratio, extra))
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    return figure, axes
