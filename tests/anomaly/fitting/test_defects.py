"""Learning from drawn defects: labels stay on their pixels, and real ones are found."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from anomaly.arrays import Float32, Parameters
from anomaly.backends.defects import defect_levels
from anomaly.errors import TrainingDiverged
from anomaly.fitting.defects import (
    DEFECT_WEIGHT,
    DefectFit,
    Sample,
    _loss,
    _piece,
    fit_defects,
)
from anomaly.models.defects import REDUCTION, DefectNetwork
from anomaly.models.kernels import Kernels
from anomaly.preprocessing.images import halved
from anomaly.synthetic import Label, with_defects
from tests.contracts.parts import NUMPY, TRAINING, Array

NETWORK = DefectNetwork(channels=1, widths=(8, 12, 16))
QUICK = DefectFit(steps=150, drawn=60, batch_images=4, crop=48)

NOISE = 0.05
"""Of the surface, in units of the strongest defect."""


def clean(seed: int, side: int = 48) -> Float32:
    """A flat grey surface with faint noise."""
    return np.random.default_rng(seed).normal(0, NOISE, (side, side, 1)).astype(np.float32)


@cache
def samples() -> list[Sample]:
    surfaces = [clean(seed) for seed in range(QUICK.drawn)]
    rng = np.random.default_rng(0)
    drawings = [with_defects(rng, values, surfaces, 1.0) for values in surfaces]
    return [Sample.of(defect_levels(drawn.values / NOISE), drawn) for drawn in drawings]


def run(config: DefectFit = QUICK, seed: int = 0) -> Parameters:
    return fit_defects(NETWORK, config, samples(), seed)


@cache
def fitted() -> Parameters:
    return run()


def judged(parameters: Parameters, values: Float32) -> Array:
    """(H / 4, W / 4) log odds."""
    levels = [
        np.concatenate([level, np.ones_like(level)], axis=-1).transpose(2, 0, 1)[None]
        for level in defect_levels(values / NOISE)
    ]
    found: Array = NETWORK.logits(NUMPY, parameters, levels)[0]
    return found


def found_in_new_drawings(parameters: Parameters) -> float:
    """AUROC of strong defects; of faint ones, and patches of the same noise, there is little to
    find."""
    rng = np.random.default_rng(2_000)
    odds, labels = [], []
    for seed in range(2_000, 2_030):
        values = clean(seed)
        drawn = with_defects(rng, values, [clean(seed + 100)], 1.0)
        squares = drawn.label.reshape(12, REDUCTION, 12, REDUCTION)
        change = np.abs(drawn.values - values).reshape(squares.shape).mean((1, 3))
        defect = ((squares == Label.DEFECT).sum((1, 3)) >= 8) & (change > 0.2)
        normal = (squares == Label.NORMAL).all((1, 3))
        odds.append(judged(parameters, drawn.values)[defect | normal])
        labels.append(defect[defect | normal])
    return float(roc_auc_score(np.concatenate(labels), np.concatenate(odds)))


def of_numpy() -> Array:
    """The state of its global generator."""
    found: Array = np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002
    return found


class TestReproducibility:
    SHORT = replace(QUICK, steps=10)

    def test_the_same_seed_gives_the_same_parameters_to_the_bit(self) -> None:
        first, again = run(self.SHORT), run(self.SHORT)
        for name, value in first.items():
            np.testing.assert_array_equal(value, again[name])

    def test_another_seed_gives_others(self) -> None:
        first, other = run(self.SHORT), run(self.SHORT, seed=1)
        assert any((value != other[name]).any() for name, value in first.items())

    def test_parameters_are_numpy_float32_of_the_declared_shapes(self) -> None:
        found = run(self.SHORT)
        assert {name: value.shape for name, value in found.items()} == NETWORK.shapes()
        assert {str(value.dtype) for value in found.values()} == {"float32"}

    def test_the_global_random_states_are_left_alone(self) -> None:
        torch.manual_seed(5)
        before, numbers = torch.get_rng_state(), of_numpy()
        run(self.SHORT)
        assert torch.equal(before, torch.get_rng_state())
        np.testing.assert_array_equal(numbers, of_numpy())


class TestLearning:
    @pytest.mark.parametrize("strength", [-0.5, 0.5], ids=["dark", "bright"])
    def test_a_blot_on_an_easy_surface_is_found(self, strength: float) -> None:
        """On surfaces and blots that no sample was made of."""
        odds, is_blot = [], []
        for seed in range(1_000, 1_010):
            marred = clean(seed)
            marred[16:28, 20:32] += strength
            found = judged(fitted(), marred)
            odds.append(found.ravel())
            truth = np.zeros(found.shape, bool)
            truth[4:7, 5:8] = True
            is_blot.append(truth.ravel())
        assert roc_auc_score(np.concatenate(is_blot), np.concatenate(odds)) > 0.9

    def test_a_strong_defect_is_found_in_drawings_that_were_not_seen(self) -> None:
        assert found_in_new_drawings(fitted()) > 0.9

    def test_in_bfloat16_as_much_is_found(self) -> None:
        kernels = Kernels(bfloat16=True, channels_last=True)
        narrow = fit_defects(NETWORK, QUICK, samples(), 0, kernels=kernels)

        assert {str(value.dtype) for value in narrow.values()} == {"float32"}
        expected = found_in_new_drawings(fitted())
        assert found_in_new_drawings(narrow) == pytest.approx(expected, abs=0.01)

    def test_a_clean_surface_looks_cleaner_than_a_marred_one(self) -> None:
        hottest = []
        for strength in (0.0, 0.6):
            images = [clean(seed) for seed in range(3_000, 3_010)]
            for image in images:
                image[20:30, 20:30] += strength
            hottest.append([judged(fitted(), image).max() for image in images])
        assert max(hottest[0]) < np.median(hottest[1])


def test_an_absurd_learning_rate_ends_training_with_advice() -> None:
    with pytest.raises(TrainingDiverged, match=r"detector\.defects\.learning_rate"):
        run(replace(QUICK, steps=40, learning_rate=1e6))


class TestLoss:
    """Of places in doubt, log odds 0: each is worth log 2."""

    def loss(self, label: Array, weight: Array | None = None) -> float:
        weight = np.zeros_like(label) if weight is None else weight
        height, width = (side // REDUCTION for side in label.shape)
        logits = torch.zeros((1, height, width))
        arrays = (torch.as_tensor(of[None]) for of in (label, weight))
        return float(_loss(TRAINING, logits, *arrays))

    def test_it_is_the_mean_over_normal_places(self) -> None:
        assert self.loss(np.full((16, 24), Label.NORMAL)) == pytest.approx(np.log(2))

    @pytest.mark.parametrize(("pixels", "counts"), [(1, 0), (2, 1), (16, 1)])
    def test_a_place_with_two_pixels_of_a_defect_is_one(self, pixels: int, counts: int) -> None:
        label, weight = np.zeros((8, 8)), np.zeros((8, 8))
        rows, columns = np.unravel_index(np.arange(pixels), (4, 4))
        label[rows, columns], weight[rows, columns] = Label.DEFECT, 0.5

        # A place with a single pixel of a defect is neither: three are normal.
        expected = np.log(2) * (3 + counts * DEFECT_WEIGHT * 0.5) / 3
        assert self.loss(label, weight) == pytest.approx(expected)

    def test_what_is_unclear_is_not_judged(self) -> None:
        label = np.zeros((8, 8))
        label[0, 0] = Label.UNCLEAR
        assert self.loss(label) == pytest.approx(np.log(2))
        assert self.loss(np.full((8, 8), Label.UNCLEAR)) == 0

    def test_it_falls_with_the_odds_of_defects_and_rises_with_those_of_normal_places(self) -> None:
        label, weight = np.zeros((1, 4, 8)), np.zeros((1, 4, 8))
        label[0, :, :4], weight[0, :, :4] = Label.DEFECT, 1.0
        logits = torch.zeros((1, 1, 2), requires_grad=True)

        _loss(TRAINING, logits, torch.as_tensor(label), torch.as_tensor(weight)).backward()

        assert logits.grad is not None
        # Of log(1 + exp(x)) at 0.
        np.testing.assert_allclose(logits.grad[0, 0], [-0.5 * DEFECT_WEIGHT, 0.5])


class TestPieces:
    STILL = DefectFit(crop=32, contrast_jitter=0.0)

    def numbered(self, height: int, width: int) -> Sample:
        """Value, label and weight of a pixel are one number, which no other pixel has."""
        numbers = np.arange(1.0, 1 + height * width, dtype=np.float32).reshape(height, width)
        # As wide as the numbers need, which labels and weights of real samples are not.
        return Sample([*defect_levels(numbers[..., None])], numbers, numbers)

    @pytest.mark.parametrize(
        ("height", "width"), [(64, 48), (32, 32), (33, 47), (18, 23), (5, 90)], ids=str
    )
    def test_labels_and_weights_stay_on_their_pixels(self, height: int, width: int) -> None:
        """Turned over or not, and where the image is no multiple of 4."""
        sample = self.numbered(height, width)
        rng = np.random.default_rng(0)
        told = np.zeros(height * width + 1, bool)
        for _ in range(60):
            levels, label, weight = _piece(rng, sample, self.STILL)
            values, seen = levels[0]
            is_told = label != Label.UNCLEAR
            assert (seen[is_told] == 1).all()
            np.testing.assert_array_equal(label[is_told], values[is_told])
            np.testing.assert_array_equal(weight, np.where(is_told, values, 0))
            told[label[is_told].astype(int)] = True
        assert told[1:].mean() > 0.95, "pieces come from everywhere"

    def test_levels_show_the_same_piece(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(10):
            (full, half, quarter), _, _ = _piece(rng, self.numbered(64, 48), self.STILL)
            for first, second in ((full, half), (half, quarter)):
                of = halved(first.transpose(1, 2, 0)).transpose(2, 0, 1)
                np.testing.assert_allclose(of, second, rtol=1e-6)

    def test_beyond_a_small_image_nothing_is_seen_and_nothing_is_told(self) -> None:
        levels, label, weight = _piece(np.random.default_rng(0), self.numbered(16, 20), self.STILL)
        inside = np.zeros((32, 32), bool)
        inside[:16, :20] = True
        np.testing.assert_array_equal(levels[0][-1], inside)
        assert (levels[0][0][~inside] == 0).all()
        assert (label[~inside] == Label.UNCLEAR).all()
        assert (weight[~inside] == 0).all()
        np.testing.assert_array_equal(levels[2][-1], inside[::4, ::4])

    def test_they_are_turned_over_in_four_ways(self) -> None:
        rng, sample = np.random.default_rng(0), self.numbered(32, 32)
        corners = {float(_piece(rng, sample, self.STILL)[1][0, 0]) for _ in range(60)}
        image = sample.label
        assert corners == {float(image[y, x]) for y in (0, -1) for x in (0, -1)}

    def test_contrast_varies_from_piece_to_piece_alike_on_every_level(self) -> None:
        rng, sample = np.random.default_rng(0), self.numbered(32, 32)
        jittered = replace(self.STILL, contrast_jitter=0.2)
        gains = []
        for _ in range(200):
            levels, label, _ = _piece(rng, sample, jittered)
            gain = levels[0][0] / label
            np.testing.assert_allclose(gain, gain[0, 0], rtol=1e-5)
            expected = halved((gain[0, 0] * label)[..., None])[..., 0]
            np.testing.assert_allclose(levels[1][0], expected, rtol=1e-5)
            gains.append(np.log(gain[0, 0]))
        assert np.mean(gains) == pytest.approx(0, abs=0.05)
        assert np.std(gains) == pytest.approx(0.2, rel=0.2)
