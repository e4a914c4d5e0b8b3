"""Training on tiles: pieces of the images, judged by what was hidden of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from anomaly.arrays import Features, Float32
from anomaly.errors import TrainingDiverged
from anomaly.fitting import FitConfig, Fitted, Progress
from anomaly.fitting.tiles import MOST_WATCHED, TileSource, fit_tiles
from anomaly.models.convolutional import ConvNetworks
from anomaly.models.kernels import EXACT, Kernels
from anomaly.models.likelihood import LikelihoodConfig, ProductLikelihood, Variance
from anomaly.models.networks import Sizes
from anomaly.models.objective import ELBO, Batch, loss_of
from anomaly.models.posterior import GaussianPosterior, PointPosterior, Posterior
from anomaly.models.prior import StandardNormalPrior
from anomaly.models.vae import VAE
from anomaly.preprocessing.images import (
    PLANES,
    Contrast,
    ImagePreprocessor,
    Layout,
    together,
)
from anomaly.scores.cells import cell_masks
from tests.contracts.parts import NUMPY, TRAINING, Array, batch_of

SIDE, CELL = 16, 4
PIXELS = SIDE * SIDE
MASKS = cell_masks(SIDE, SIDE, 1 + PLANES, CELL)
NOTHING_HIDDEN = np.ones((1, *MASKS.shape[1:]), np.float32)

QUICK = FitConfig(
    steps=60,
    batch_rows=16,
    check_every=20,
    learning_rate=3e-3,
    lr_warmup_steps=5,
    noise=0.0,
    objective=ELBO(beta=0.02),
)


def model(channels: int = 1, posterior: Posterior | None = None) -> VAE:
    networks = ConvNetworks(SIDE, SIDE, widths=(6, 8), latent_channels=4)
    likelihood = ProductLikelihood(
        LikelihoodConfig(variance=Variance.PER_ROW, sigma_floor=0.02), channels * PIXELS
    )
    inputs = (channels + PLANES) * PIXELS
    sizes = Sizes(inputs, context=0, latent=networks.latent, outputs=likelihood.outputs)
    return VAE(networks, posterior or GaussianPosterior(), StandardNormalPrior(), likelihood, sizes)


def stripes(n: int, side: int = 40, seed: int = 0) -> list[Float32]:
    """Waves of 8 pixels, no two of one phase; of mean 0 and variance 1."""
    rng = np.random.default_rng(seed)
    x = np.arange(side)[None, :, None] / 8
    return [
        (np.sqrt(2) * np.sin(2 * np.pi * (x + rng.random())) * np.ones((side, 1, 1))).astype(
            np.float32
        )
        for _ in range(n)
    ]


def numbered(height: int, width: int, channels: int = 1, first: int = 1) -> Float32:
    """Every number stands in one place only."""
    count = height * width * channels
    return np.arange(first, first + count, dtype=np.float32).reshape(height, width, channels)


def tiles_of(images: Sequence[Float32]) -> Features:
    """Cut as images are when they are scored."""
    channels = images[0].shape[-1]
    none, one = (0.0,) * channels, (1.0,) * channels
    prepared = ImagePreprocessor(
        Layout(tile=SIDE, overlap=4), Contrast.PLAIN, channels, 1.0, none, one
    )
    places = [prepared.tiles(np.zeros(image.shape, np.uint8)).places for image in images]
    return together([prepared._rows(image, of) for image, of in zip(images, places, strict=True)])


IMAGES, HELD_OUT = stripes(20), tiles_of(stripes(4, seed=1))


def run(config: FitConfig = QUICK, *, seed: int = 0, posterior: Posterior | None = None) -> Fitted:
    return fit_tiles(model(posterior=posterior), config, IMAGES, HELD_OUT, MASKS, seed)


def source_of(
    images: Sequence[Float32],
    *,
    masks: Float32 | None = None,
    noise: float = 0.0,
    rows: int = 64,
    held_out: Features | None = None,
) -> TileSource:
    channels = images[0].shape[-1]
    if masks is None:
        masks = cell_masks(SIDE, SIDE, channels + PLANES, CELL)
    config = replace(QUICK, batch_rows=rows, noise=noise)
    generator = torch.Generator().manual_seed(0)
    held_out = tiles_of(images[:1]) if held_out is None else held_out
    return TileSource(TRAINING, model(channels), config, images, held_out, masks, 0, generator)


def squares(batch: Batch, channels: int) -> tuple[Array, Array, Array, Array]:
    """What is seen and what is to be explained (N, channels, side, side); which pixels are shown
    and which belong to the image (N, side, side)."""
    planes = batch.inputs.numpy().reshape(-1, channels + PLANES, SIDE, SIDE)
    targets = batch.targets.numpy().reshape(-1, channels, SIDE, SIDE)
    return planes[:, :channels], targets, planes[:, channels], planes[:, channels + 1]


def of_numpy() -> Array:
    """The state of its global generator."""
    found: Array = np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002
    return found


class TestReproducibility:
    def test_the_same_seed_gives_the_same_parameters_to_the_bit(self) -> None:
        first, again = run(), run()
        assert first.history == again.history
        for name, value in first.parameters.items():
            np.testing.assert_array_equal(value, again.parameters[name])

    def test_another_seed_gives_others(self) -> None:
        first, other = run(), run(seed=1)
        assert all(
            (value != other.parameters[name]).any()
            for name, value in first.parameters.items()
            if name.endswith(".weight")
        )

    def test_the_global_random_states_are_left_alone(self) -> None:
        torch.manual_seed(5)
        before, numbers = torch.get_rng_state(), of_numpy()
        run(replace(QUICK, steps=3))
        assert torch.equal(before, torch.get_rng_state())
        np.testing.assert_array_equal(numbers, of_numpy())


class TestLearning:
    def test_the_loss_falls_on_stripes_and_hidden_cells_are_guessed(self) -> None:
        fitted = run(replace(QUICK, steps=300, check_every=50))

        losses = [look.loss for look in fitted.history]
        assert fitted.best.loss == min(losses)
        assert losses[-1] < losses[0]
        # Noise of mean 0 and variance 1 cannot be told with fewer nats than its entropy; of each
        # tile a quarter is hidden. Stripes can be told from what stands beside them.
        of_noise = 0.25 * PIXELS * 0.5 * np.log(2 * np.pi * np.e)
        assert fitted.best.reconstruction < 0.7 * of_noise

    @pytest.mark.parametrize("channels_last", [False, True])
    def test_in_bfloat16_it_learns_as_much(self, channels_last: bool) -> None:
        """Within a tenth of the float32 loss, a sixth of what it was at the first look."""
        config = replace(QUICK, steps=300, check_every=50)
        exact, found = (
            fit_tiles(model(), config, IMAGES, HELD_OUT, MASKS, 0, kernels=of)
            for of in (EXACT, Kernels(bfloat16=True, channels_last=channels_last))
        )
        assert found.best.loss == pytest.approx(exact.best.loss, rel=0.1)
        assert found.best.loss < found.history[0].loss / 6
        assert {str(value.dtype) for value in found.parameters.values()} == {"float32"}

    def test_parameters_are_numpy_float32_of_the_declared_shapes(self) -> None:
        fitted = run(replace(QUICK, steps=2))
        assert {k: v.shape for k, v in fitted.parameters.items()} == model().shapes()
        assert {str(value.dtype) for value in fitted.parameters.values()} == {"float32"}

    def test_every_look_is_reported_and_nothing_is_left_aside(self) -> None:
        seen: list[Progress] = []
        fitted = fit_tiles(model(), QUICK, IMAGES, HELD_OUT, MASKS, 0, on_look=seen.append)
        assert tuple(seen) == fitted.history
        assert [look.step for look in seen] == [20, 40, 60]
        assert fitted.fit_kept.tolist() == [True] * len(IMAGES)
        assert fitted.early_stop_kept.tolist() == [True] * len(HELD_OUT)

    def test_a_look_is_at_held_out_tiles_and_counts_what_is_hidden_of_them(self) -> None:
        """Computed here without the training loop; without noise there is nothing to draw."""
        fitted = run(replace(QUICK, steps=20, objective=ELBO()), posterior=PointPosterior())
        vae = model(posterior=PointPosterior())
        found = []
        for row in range(len(HELD_OUT)):
            batch = batch_of(HELD_OUT.take(np.array([row])))
            shown = MASKS[row % 4]
            hidden = Batch(
                batch.inputs * shown,
                batch.targets,
                batch.observed * (1 - shown[:, :PIXELS]),
                batch.context,
            )
            noise = np.zeros((1, 1, vae.sizes.latent), np.float32)
            found.append(loss_of(NUMPY, vae, fitted.parameters, hidden, noise, ELBO()).total)
        assert fitted.best.loss == pytest.approx(np.mean(found), rel=1e-4)

    def test_many_held_out_tiles_are_looked_at_evenly(self) -> None:
        many = tiles_of([numbered(SIDE, SIDE, first=1 + n) for n in range(3 * MOST_WATCHED)])
        source = source_of(IMAGES, held_out=many, masks=NOTHING_HIDDEN)

        watched, _ = source.watched(torch.zeros(1), {})

        assert source.held_out
        assert source.watched_rows == len(watched.targets) == MOST_WATCHED
        first = watched.targets[:, 0].numpy()
        assert (first[0], first[-1]) == (1, 3 * MOST_WATCHED)
        assert set(np.diff(first)) <= {3, 4}

    def test_an_absurd_learning_rate_ends_training_with_advice(self) -> None:
        with pytest.raises(TrainingDiverged, match=r"detector\.fit\.learning_rate"):
            run(replace(QUICK, learning_rate=1e30, lr_warmup_steps=0))


class TestTiles:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_every_tile_is_a_piece_of_an_image_turned_over_in_one_of_four_ways(
        self, channels: int
    ) -> None:
        images = [
            numbered(18, 19, channels),
            numbered(17, 16, channels, first=10_000),
            numbered(SIDE, SIDE, channels, first=20_000),
        ]
        batch = source_of(images, rows=200).batch(0, {})
        _, targets, shown, inside = squares(batch, channels)

        pieces = {
            piece[::down, ::across].transpose(2, 0, 1).tobytes(): (number, (down, across))
            for number, image in enumerate(images)
            for top in range(image.shape[0] - SIDE + 1)
            for left in range(image.shape[1] - SIDE + 1)
            for piece in [image[top : top + SIDE, left : left + SIDE]]
            for down in (1, -1)
            for across in (1, -1)
        }
        found = {pieces[tile.tobytes()] for tile in targets}

        assert {number for number, _ in found} == {0, 1, 2}
        assert {ways for _, ways in found} == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
        assert (shown == 1).all()
        assert (inside == 1).all()
        assert (batch.observed == 1).all()
        assert batch.context.shape == (200, 0)

    def test_every_place_of_an_image_is_cut_out(self) -> None:
        image = numbered(19, 18)
        batch = source_of([image], rows=400).batch(0, {})
        assert set(np.unique(batch.targets.numpy())) == set(image.ravel())

    @pytest.mark.parametrize(("height", "width"), [(9, 30), (30, 5), (3, 7), (1, 1)])
    def test_what_a_small_image_leaves_of_a_tile_is_no_part_of_it(
        self, height: int, width: int
    ) -> None:
        image = numbered(height, width)
        source = source_of([image], rows=32, held_out=HELD_OUT)

        batch = source.batch(0, {})

        seen, targets, shown, inside = squares(batch, 1)
        down, across = min(height, SIDE), min(width, SIDE)
        expected = np.zeros((SIDE, SIDE))
        expected[:down, :across] = 1
        np.testing.assert_array_equal(inside, np.broadcast_to(expected, inside.shape))
        np.testing.assert_array_equal(shown, inside)
        np.testing.assert_array_equal(batch.observed.numpy().reshape(inside.shape), inside)
        np.testing.assert_array_equal(seen, targets)
        np.testing.assert_array_equal(targets[:, 0] > 0, inside > 0)
        hidden = source.corrupted(batch)
        assert (hidden.observed <= batch.observed).all()


class TestHiding:
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("noise", [0.0, 0.5])
    def test_what_is_hidden_is_what_counts(self, channels: int, noise: float) -> None:
        source = source_of([numbered(30, 30, channels), numbered(9, 30, channels)], noise=noise)
        batch = source.batch(0, {})

        hidden = source.corrupted(batch)

        seen, targets, shown, inside = squares(hidden, channels)
        counted = hidden.observed.numpy().reshape(targets.shape)
        expected = np.broadcast_to((inside * (1 - shown))[:, None], counted.shape)
        np.testing.assert_array_equal(counted, expected)
        assert (seen[counted > 0] == 0).all(), "and is not seen"
        np.testing.assert_array_equal(hidden.targets, batch.targets)
        np.testing.assert_array_equal(inside, squares(batch, channels)[3])

    def test_a_quarter_is_hidden_by_each_of_the_four_masks_in_turn(self) -> None:
        source = source_of(IMAGES, rows=200)
        shown = squares(source.corrupted(source.batch(0, {})), 1)[2]

        masks = {mask.tobytes() for mask in MASKS[:, 0, :PIXELS]}
        assert {of.tobytes() for of in shown} == masks
        assert (1 - shown).mean() == 0.25

    def test_noise_blurs_what_is_seen_and_no_target(self) -> None:
        source = source_of(IMAGES, noise=0.5, rows=400)
        batch = source.batch(0, {})

        seen, targets, shown, _ = squares(source.corrupted(batch), 1)

        added = (seen - targets)[shown[:, None] > 0]
        assert added.mean() == pytest.approx(0, abs=0.01)
        # Of deviation 2 * noise * U(0, 1), one draw a tile: its mean square is 4 / 3 noise^2.
        assert added.std() == pytest.approx(np.sqrt(4 / 3) * 0.5, rel=0.1)

    def test_a_mask_that_shows_everything_leaves_everything_to_count(self) -> None:
        source = source_of(IMAGES, masks=NOTHING_HIDDEN)
        batch = source.batch(0, {})

        same = source.corrupted(batch)

        np.testing.assert_array_equal(same.inputs, batch.inputs)
        assert (same.observed == 1).all()
