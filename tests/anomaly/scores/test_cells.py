"""Every pixel is scored once, by a model that was not shown its cell."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.models.convolutional import ConvNetworks
from anomaly.models.likelihood import LikelihoodConfig, ProductLikelihood, Variance
from anomaly.models.networks import Sizes
from anomaly.models.objective import Batch
from anomaly.models.posterior import GaussianPosterior
from anomaly.models.prior import StandardNormalPrior
from anomaly.models.vae import VAE
from anomaly.scores import HiddenCells
from anomaly.scores.cells import cell_masks
from tests.contracts.parts import NUMPY

SIDE, CELL = 16, 4


def model() -> tuple[VAE, dict[str, np.ndarray]]:
    networks = ConvNetworks(SIDE, SIDE, widths=(6, 8), latent_channels=4)
    likelihood = ProductLikelihood(LikelihoodConfig(variance=Variance.PER_ROW), SIDE * SIDE)
    sizes = Sizes(3 * SIDE * SIDE, 0, networks.latent, likelihood.outputs)
    vae = VAE(networks, GaussianPosterior(), StandardNormalPrior(), likelihood, sizes)
    rng = np.random.default_rng(0)
    none = np.zeros((1, 0), np.float32)
    parameters = vae.initial(rng, np.zeros((1, sizes.inputs), np.float32), none)
    score = HiddenCells(cell=CELL)
    return vae, {**parameters, **score.constants(vae, np.zeros(0, np.int64), rng)}


def terms_of(image: np.ndarray) -> np.ndarray:
    vae, parameters = model()
    flat = image.reshape(1, -1)
    inputs = np.concatenate([flat, np.ones_like(flat), np.ones_like(flat)], axis=1).astype(
        np.float32
    )
    batch = Batch(inputs, flat.astype(np.float64), np.ones_like(flat), np.zeros((1, 0), np.float32))
    terms = HiddenCells(cell=CELL).terms(NUMPY, vae, parameters, batch)
    assert (terms.rest == 0).all()
    found: np.ndarray = terms.per_target.reshape(SIDE, SIDE)
    return found


@pytest.mark.parametrize(("height", "width", "cell"), [(16, 16, 4), (8, 24, 2), (12, 20, 1)])
def test_each_pixel_is_hidden_by_exactly_one_of_four_masks(
    height: int, width: int, cell: int
) -> None:
    masks = cell_masks(height, width, 3, cell).reshape(4, 3, height, width)

    np.testing.assert_array_equal((1 - masks[:, :2]).sum(0), 1)
    np.testing.assert_array_equal(masks[:, 0], masks[:, 1])
    assert (masks[:, 2] == 1).all(), "where there is an image is no secret"
    for mask in masks[:, 0]:
        cells = mask.reshape(height // cell, cell, width // cell, cell)
        assert (cells.min((1, 3)) == cells.max((1, 3))).all(), "a cell is hidden as a whole"


def test_what_the_model_says_of_a_pixel_does_not_depend_on_its_cell() -> None:
    """With two values in one cell, the other pixels of the cell keep their terms."""
    rng = np.random.default_rng(1)
    before = rng.normal(size=(SIDE, SIDE))
    after = before.copy()
    after[5, 6] += 3.0

    first, second = terms_of(before), terms_of(after)

    cell = np.zeros((SIDE, SIDE), bool)
    cell[4:8, 4:8] = True
    others = cell.copy()
    others[5, 6] = False
    np.testing.assert_array_equal(first[others], second[others])
    assert first[5, 6] != second[5, 6]
    assert (first[~cell] != second[~cell]).any(), "its neighbours were shown it"


def test_a_pixels_term_is_the_square_of_what_it_is_off_the_guess() -> None:
    """Its guess does not depend on its value, so the term is a parabola with curvature 2."""
    image = np.random.default_rng(2).normal(size=(SIDE, SIDE))
    values = [-1.0, 0.0, 1.0, 4.0]
    found = []
    for value in values:
        image[9, 9] = value
        found.append(terms_of(image)[9, 9])
    curve = np.polynomial.Polynomial.fit(values[:3], found[:3], 2)
    assert curve(values[3]) == pytest.approx(found[3], rel=1e-9)
    assert curve.deriv(2)(0) == pytest.approx(2.0)
    assert min(found) >= 0
