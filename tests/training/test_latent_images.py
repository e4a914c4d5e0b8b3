"""Pictures of the latent space of images show what they say."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anomaly.arrays import Float32
from tests import pictured
from training.latent_images import (
    Look,
    image_latent_figures,
    interpolation_figure,
    look,
    manifold_figure,
    space_of,
    traversal_figure,
)

USUAL = {
    f"latent_{name}.png"
    for name in (
        "units",
        "reconstructions",
        "samples",
        "traversal",
        "interpolations",
        "projection",
    )
}


@pytest.fixture(scope="module")
def looks() -> list[Look]:
    return [look(pictured.whole(), pixels) for pixels in pictured.digits()[:20]]


def picture(axis: Axes) -> Float32:
    return np.asarray(axis.get_images()[0].get_array(), dtype=np.float32)


def said(figure: Figure) -> str:
    text: str = figure.get_suptitle()
    return text


def test_every_figure_of_whole_images_is_drawn_and_titled(tmp_path: Path) -> None:
    found = image_latent_figures(pictured.whole(), pictured.digits()[:20], np.arange(20) > 16)

    assert set(found) == USUAL
    for name, figure in found.items():
        figure.savefig(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5_000
        assert "latents active" in said(figure)


def test_every_figure_of_tiles_is_drawn(tmp_path: Path) -> None:
    found = image_latent_figures(pictured.tiles(), pictured.stripes()[:6])

    assert {"latent_units.png", "latent_reconstructions.png"} <= set(found) <= USUAL
    for name, figure in found.items():
        figure.savefig(tmp_path / name)


@pytest.mark.parametrize("sides", [(16, 40), (40, 16), (40, 40)], ids=["wide", "tall", "square"])
@pytest.mark.parametrize("name", ["reconstructions", "traversal"])
def test_names_of_rows_and_titles_do_not_meet(sides: tuple[int, int], name: str) -> None:
    height, width = sides
    images = [pixels[:height, :width] for pixels in pictured.stripes()[:6]]
    figure = image_latent_figures(pictured.tiles(), images)[f"latent_{name}.png"]

    figure.draw_without_rendering()

    texts = [part for axis in figure.axes for part in (axis.yaxis.label, axis.title)]
    boxes = [text.get_window_extent() for text in texts if text.get_text().strip()]
    assert len(boxes) > 2
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_a_collapsed_posterior_is_said_to_be_one_and_not_drawn_as_a_vae() -> None:
    found = image_latent_figures(pictured.collapsed(), pictured.digits()[:20])

    assert set(found) == {"latent_units.png", "latent_reconstructions.png"}
    for figure in found.values():
        assert "THE POSTERIOR HAS COLLAPSED" in said(figure)


def test_reconstructions_stand_below_their_images_from_the_lowest_score(looks: list[Look]) -> None:
    detector, images = pictured.whole(), pictured.digits()[:20]
    order = np.argsort(detector.anomaly_score(images))
    rebuilt = detector.reconstruct(images)

    axes = image_latent_figures(detector, images)["latent_reconstructions.png"].axes

    for axis, number in ((0, order[0]), (7, order[-1])):
        np.testing.assert_array_equal(picture(axes[axis]), looks[number].seen[..., 0])
        np.testing.assert_array_equal(picture(axes[axis + 8]), rebuilt[number][..., 0])
        error = np.abs(looks[number].seen - rebuilt[number])[..., 0]
        np.testing.assert_allclose(picture(axes[axis + 16]), error, atol=1e-6)


def test_a_traversal_at_zero_is_the_reconstruction(looks: list[Look]) -> None:
    detector = pictured.whole()
    axes = traversal_figure(detector, looks, space_of(detector, looks)).axes

    middle = [picture(axes[row + 3]) for row in range(0, len(axes), 7)]

    assert len(middle) >= 1
    for other in middle:
        np.testing.assert_array_equal(other, middle[0])
    assert any(np.allclose(middle[0], one.rebuilt[..., 0], atol=1e-6) for one in looks)
    assert (picture(axes[0]) != picture(axes[6])).any()


def test_interpolation_goes_from_one_reconstruction_to_another(looks: list[Look]) -> None:
    detector = pictured.whole()
    axes = interpolation_figure(detector, looks, space_of(detector, looks)).axes

    row = [picture(axis) for axis in axes[:10]]

    for end, decoded in ((row[0], row[1]), (row[-1], row[-2])):
        (one,) = (one for one in looks if np.array_equal(one.tile[..., 0], end))
        np.testing.assert_allclose(decoded, one.rebuilt[..., 0], atol=1e-6)


def test_two_latents_have_a_manifold_with_the_decoded_corners() -> None:
    detector = pictured.whole(latents_of_a_place=2, stages=3)
    looks = [look(detector, pixels) for pixels in pictured.digits()[:40]]
    space = space_of(detector, looks)
    low, high = np.quantile(space.means, (0.01, 0.99), axis=0)

    mosaic = picture(manifold_figure(detector, space).axes[0])

    corner = detector.decode(np.array([[low[0], high[1]]]))[0, ..., 0]
    np.testing.assert_allclose(mosaic[1:9, 1:9], corner, atol=1e-6)
    assert "latent_manifold.png" in image_latent_figures(detector, pictured.digits()[:40])
