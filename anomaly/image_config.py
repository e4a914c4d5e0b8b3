"""The choices that make a detector of images, their names, and which of them go together."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from anomaly.calibration import Rule
from anomaly.compatibility import check_objective, check_prior, check_score
from anomaly.data.schema import STRICT
from anomaly.errors import ConfigInvalid
from anomaly.fitting import FitConfig
from anomaly.fitting.defects import DefectFit
from anomaly.models.convolutional import Channels
from anomaly.models.likelihood import LikelihoodConfig, Variance
from anomaly.models.objective import ELBO
from anomaly.models.ops import BLOCK_MULTIPLE
from anomaly.models.posterior import GaussianPosterior, Posterior
from anomaly.models.prior import Prior, StandardNormalPrior
from anomaly.preprocessing.images import Contrast, Layout
from anomaly.scores import HiddenCells, NearestRow, ReconstructionError, Score

HIDDEN_SHARE = 0.25
"""Of a tile: one of four masks."""

WHOLE_SIDES = (8, 16, 32, 64)
"""Tiles that small images are seen in: the smallest that is no smaller than their usual side."""

LARGEST_WHOLE = WHOLE_SIDES[-1]
"""Images whose usual side is at most this are seen whole."""

WORKING_SIDE = 160
"""Larger images are reduced until their usual side has so many pixels."""


@dataclass(frozen=True, config=STRICT)
class ImageDetectorConfig:
    """Everything that shapes a detector of images besides the images and the seed.

    Attributes:
        working_side: Images whose usual side is larger are reduced until it has so many pixels.
        widths, latent_channels: Of the networks; see `ConvNetworks`.
        score: Of a row. Tiles are scored by `hidden_cells`, images seen whole by any other.
        defects: How the network that looks for defects in tiles is trained.
        alpha: The false-alarm rate; None is 0.01, or the smallest that the images support.
        block_rows: Tiles of a scoring block; part of what makes scores equal to the bit.
    """

    layout: Layout = Layout()
    working_side: Annotated[int, Field(ge=8, le=4096)] = WORKING_SIDE
    contrast: Contrast = Contrast.LOCAL
    widths: Annotated[tuple[Channels, ...], Field(min_length=1, max_length=6)] = (24, 32, 48)
    latent_channels: Channels = 8
    posterior: Annotated[Posterior, Field(discriminator="kind")] = GaussianPosterior()
    prior: Annotated[Prior, Field(discriminator="kind")] = StandardNormalPrior()
    likelihood: LikelihoodConfig = LikelihoodConfig(variance=Variance.PER_ROW, sigma_floor=0.02)
    fit: FitConfig = FitConfig(
        steps=1_200,
        batch_rows=24,
        learning_rate=3e-3,
        lr_warmup_steps=180,
        noise=0.0,
        objective=ELBO(beta=1.0),
    )
    score: Annotated[Score, Field(discriminator="kind")] = HiddenCells()
    defects: DefectFit = DefectFit()
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = None
    rule: Rule = Rule.CONFORMAL
    block_rows: Annotated[int, Field(ge=BLOCK_MULTIPLE, le=65_536, multiple_of=BLOCK_MULTIPLE)] = (
        BLOCK_MULTIPLE
    )


WHOLE = ImageDetectorConfig(
    layout=Layout(tile=32, overlap=0, whole=True),
    contrast=Contrast.PLAIN,
    widths=(32, 64),
    likelihood=LikelihoodConfig(variance=Variance.PER_FEATURE),
    fit=FitConfig(steps=1_000, batch_rows=128, objective=ELBO(beta=0.1)),
    score=ReconstructionError(draws=0),
)

IMAGE_PRESETS: dict[str, ImageDetectorConfig] = {
    # Images cut into tiles: each cell guessed from its surroundings, defects looked for.
    "tiles": ImageDetectorConfig(),
    # Small images, seen whole; scored by their reconstruction.
    "whole": WHOLE,
    # The same, scored by the nearest remembered image beside what the model leaves unexplained.
    "whole_nearest": replace(WHOLE, score=NearestRow()),
}


def check_image_config(config: ImageDetectorConfig) -> None:
    """Refuse parts that do not go together, before any image is read.

    Raises:
        ConfigInvalid: see `anomaly.compatibility`.
    """
    check_prior(config.prior, config.posterior)
    check_objective(config.fit.objective, config.prior, config.posterior)
    check_score(config.score, config.posterior)
    if isinstance(config.score, HiddenCells) == config.layout.whole:
        raise ConfigInvalid(
            "tiles are scored by their hidden cells, and images that are seen whole by another "
            f"score: `{config.score.kind}` does not go with `whole: {config.layout.whole}`."
        )
    if not config.layout.whole and (config.fit.trim or config.fit.mask_rate != HIDDEN_SHARE):
        raise ConfigInvalid(
            f"of tiles a quarter is hidden, and none are left aside: leave detector.fit.mask_rate "
            f"at {HIDDEN_SHARE} and detector.fit.trim at 0."
        )
    if config.layout.whole and (config.layout.overlap or config.working_side != WORKING_SIDE):
        raise ConfigInvalid(
            "an image that is seen whole is one tile of layout.tile pixels to a side: leave out "
            "detector.working_side and detector.layout.overlap, or use the preset `tiles`."
        )
    if config.layout.whole and config.defects != DefectFit():
        raise ConfigInvalid(
            "defects are looked for in tiles, not in images that are seen whole: leave out "
            "detector.defects, or use the preset `tiles`."
        )
    if isinstance(config.score, HiddenCells) and 2 * config.score.cell > config.layout.tile:
        raise ConfigInvalid(
            f"cells of {config.score.cell} pixels cannot be hidden in turn of a tile of "
            f"{config.layout.tile}: set detector.score.cell to {config.layout.tile // 2} or less."
        )
    if config.layout.tile % 2 ** len(config.widths):
        raise ConfigInvalid(
            f"{len(config.widths)} stages halve a tile as often, so its side must be a multiple of "
            f"{2 ** len(config.widths)}, not {config.layout.tile}."
        )


def image_config_as_plain(config: ImageDetectorConfig) -> dict[str, Any]:
    """The configuration as dictionaries and lists, as JSON has them."""
    plain: dict[str, Any] = TypeAdapter(ImageDetectorConfig).dump_python(config, mode="json")
    return plain
