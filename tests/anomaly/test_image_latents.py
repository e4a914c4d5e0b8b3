"""Images and the latent space: there, back, between two, and out of nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from anomaly.arrays import Float32
from anomaly.data.pixels import Pixels
from anomaly.image_detector import ImageDetector
from anomaly.models.ops import NumpyOps
from tests import pictured

EVERY = (pictured.whole, pictured.tiles)
each = pytest.mark.parametrize("make", EVERY, ids=lambda make: make.__name__)
Make = Callable[[], ImageDetector]


def seen(detector: ImageDetector, pixels: Pixels) -> Float32:
    return detector.preprocessor.shown(detector.preprocessor.image(pixels).astype(np.float64))


def images_of(detector: ImageDetector) -> list[Pixels]:
    return pictured.digits() if detector.preprocessor.layout.whole else pictured.stripes()


@each
def test_reconstructions_are_pictures_of_the_size_at_which_the_model_works(make: Make) -> None:
    detector = make()
    images = images_of(detector)[:3]

    rebuilt = detector.reconstruct(images)

    assert [picture.shape for picture in rebuilt] == [seen(detector, p).shape for p in images]
    assert all((picture >= 0).all() and (picture <= 1).all() for picture in rebuilt)


def test_a_reconstruction_resembles_its_own_image_more_than_another() -> None:
    detector, images = pictured.whole(), pictured.digits()[:100]
    pictures = np.array([seen(detector, pixels) for pixels in images])

    rebuilt = np.array(detector.reconstruct(images))

    own = np.abs(rebuilt - pictures).mean()
    assert own < 0.9 * np.abs(rebuilt - np.roll(pictures, 1, axis=0)).mean()


@each
def test_a_decoder_of_constants_gives_its_constants_whatever_the_image(make: Make) -> None:
    """Closed form: with zero weights the outputs are biases, and overlaps change nothing."""
    detector = make()
    preprocessor = detector.preprocessor
    channels = preprocessor.channels
    last = f"decoder.{len(detector.model.vae.networks.widths) - 1}.up"  # type: ignore[union-attr]
    bias = np.zeros_like(detector.model.first[f"{last}.bias"]).reshape(-1, 4)
    means = np.linspace(-0.5, 0.5, channels).astype(np.float32)
    bias[-channels:] = means[:, None]  # what stands before are spreads
    constant = pictured.with_parameters(
        detector, {**pictured.zeroed(detector, last), f"{last}.bias": bias.ravel()}
    )

    (rebuilt,) = constant.reconstruct(images_of(detector)[:1])

    values = means.astype(np.float64) * preprocessor.spread + np.array(preprocessor.center)
    expected = values if preprocessor.contrast == "plain" else 0.5 * np.exp(values)
    np.testing.assert_allclose(rebuilt, np.broadcast_to(expected, rebuilt.shape), atol=1e-6)


def test_of_whole_images_the_reconstruction_is_the_decoded_posterior_mean() -> None:
    detector, images = pictured.whole(), pictured.digits()[:5]

    np.testing.assert_allclose(
        np.array(detector.reconstruct(images)), detector.decode(detector.encode(images)), atol=1e-6
    )


def test_what_one_tile_alone_shows_is_that_tile() -> None:
    """The corner belongs to the first tile; where two overlap the picture lies between them."""
    detector, pixels = pictured.tiles(), pictured.stripes()[0]
    tiled = detector.preprocessor.tiles(pixels)
    squares = detector.decode(detector.backend.encode(tiled.features)[0])

    (rebuilt,) = detector.reconstruct([pixels])

    assert (tiled.places[1].top, tiled.places[1].left) == (0, 12)
    np.testing.assert_allclose(rebuilt[:12, :12], squares[0, :12, :12], atol=1e-5)
    shared = np.stack([squares[0, :12, 12:], squares[1, :12, :4]])
    assert (rebuilt[:12, 12:16] >= shared.min(0) - 1e-5).all()
    assert (rebuilt[:12, 12:16] <= shared.max(0) + 1e-5).all()


def test_the_middle_tile_covers_the_middle_of_the_image() -> None:
    detector = pictured.tiles()
    tiled = detector.preprocessor.tiles(pictured.stripes()[0])

    place = tiled.places[tiled.middle]

    assert place.top < 20 < place.top + 16
    assert place.left < 20 < place.left + 16


@pytest.mark.parametrize("make", EVERY, ids=lambda make: make.__name__)
def test_interpolation_begins_and_ends_at_the_reconstructions_of_its_ends(make: Make) -> None:
    detector = make()
    side = detector.preprocessor.layout.tile
    start, end = (pixels[:side, :side] for pixels in images_of(detector)[:2])

    path = detector.interpolate(start, end, steps=5)

    assert len(path) == 5
    first, last = detector.reconstruct([start, end])
    np.testing.assert_allclose(path[0], first, atol=1e-5)
    np.testing.assert_allclose(path[-1], last, atol=1e-5)


def test_of_larger_images_interpolation_is_between_the_tiles_in_the_middle() -> None:
    detector, (start, end) = pictured.tiles(), pictured.stripes()[:2]
    tiled = detector.preprocessor.tiles(end)
    squares = detector.decode(detector.backend.encode(tiled.features)[0])

    path = detector.interpolate(start, end, steps=3)

    assert path[0].shape == (16, 16, 3)
    np.testing.assert_allclose(path[-1], squares[tiled.middle], atol=1e-5)


@each
def test_samples_have_the_size_and_range_of_images_and_repeat_with_their_seed(make: Make) -> None:
    detector = make()
    side, channels = detector.preprocessor.layout.tile, detector.preprocessor.channels

    drawn = np.array(detector.sample(7, seed=1))

    assert drawn.shape == (7, side, side, channels)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    np.testing.assert_array_equal(drawn, detector.sample(7, seed=1))
    assert (drawn != np.array(detector.sample(7, seed=2))).any()


def test_samples_are_decoded_draws_of_the_prior() -> None:
    detector = pictured.whole()
    prior = detector.model.vae.latent_prior(NumpyOps(), detector.model.first)

    z = prior.sample(4, np.random.default_rng(3))

    np.testing.assert_array_equal(detector.sample(4, seed=3), detector.decode(z))
