"""Drawn defects: out of place, told pixel by pixel, and nothing else is touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from anomaly import synthetic
from anomaly.arrays import Float32
from anomaly.synthetic import FAINTEST, Drawn, Label, with_defects

SHAPES = [(40, 40, 1), (40, 40, 3), (8, 8, 1), (8, 90, 3), (90, 9, 1)]
every_size = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))

FILLS = 5
"""Of a defect; two of them are alike."""


def surface(shape: tuple[int, ...], seed: int) -> Float32:
    """A rough one, of log brightness around 0."""
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


def drawings(
    shape: tuple[int, ...], n: int = 60, amplitude: float = 1.0
) -> Iterator[tuple[Float32, Drawn]]:
    """n surfaces, and what they are with defects."""
    for seed in range(n):
        values, other = surface(shape, seed), surface(shape, 1_000 + seed)
        yield values, with_defects(np.random.default_rng(seed), values, [other], amplitude)


def changed(values: Float32, drawn: Drawn) -> Float32:
    """(height, width) the largest change of a channel."""
    largest: Float32 = np.abs(drawn.values - values).max(-1)
    return largest


@every_size
def test_every_pixel_that_is_told_to_be_normal_is_unchanged_to_the_bit(
    shape: tuple[int, ...],
) -> None:
    for values, drawn in drawings(shape):
        normal = drawn.label == Label.NORMAL
        np.testing.assert_array_equal(drawn.values[normal], values[normal])


@every_size
def test_every_pixel_is_normal_or_a_defect_or_unclear(shape: tuple[int, ...]) -> None:
    kinds = {Label.NORMAL, Label.DEFECT, Label.UNCLEAR}
    for _, drawn in drawings(shape):
        assert drawn.label.shape == drawn.weight.shape == shape[:2]
        assert set(np.unique(drawn.label)) <= kinds


@every_size
def test_exactly_the_pixels_of_a_defect_have_weight(shape: tuple[int, ...]) -> None:
    for _, drawn in drawings(shape):
        np.testing.assert_array_equal(drawn.weight > 0, drawn.label == Label.DEFECT)


def test_a_larger_defect_weighs_more_but_not_by_its_area(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of n pixels one over the root of n."""
    monkeypatch.setattr(synthetic, "MOST_DEFECTS", 1)
    for _, drawn in drawings((40, 40, 1)):
        is_defect = drawn.label == Label.DEFECT
        np.testing.assert_allclose(drawn.weight[is_defect], max(1, is_defect.sum()) ** -0.5)


@every_size
def test_most_images_get_a_defect_and_its_pixels_change(shape: tuple[int, ...]) -> None:
    found, changes = 0, []
    for values, drawn in drawings(shape, n=200):
        is_defect = drawn.label == Label.DEFECT
        found += is_defect.any()
        changes.append(changed(values, drawn)[is_defect])
    assert found > 0.8 * 200
    assert np.concatenate(changes).mean() > FAINTEST


def test_most_of_a_drawn_image_is_left_alone() -> None:
    normal = [(drawn.label == Label.NORMAL).mean() for _, drawn in drawings((96, 96, 1))]
    assert np.median(normal) > 0.5


@every_size
def test_values_stay_numbers_and_the_image_keeps_its_size(shape: tuple[int, ...]) -> None:
    for values, drawn in drawings(shape):
        assert drawn.values.shape == values.shape
        assert drawn.values.dtype == np.float32
        assert np.isfinite(drawn.values).all()


@pytest.mark.parametrize("constant", [0.0, -4.0, 1e4])
def test_a_surface_without_any_structure_can_be_drawn_on(constant: float) -> None:
    flat = np.full((24, 32, 3), constant, np.float32)
    for seed in range(60):
        drawn = with_defects(np.random.default_rng(seed), flat, [flat], 1.0)
        assert np.isfinite(drawn.values).all()


@pytest.mark.parametrize("size", [(3, 5), (1, 1), (40, 7), (200, 200)], ids=str)
def test_patches_may_come_from_images_of_any_size(size: tuple[int, int]) -> None:
    values = surface((40, 30, 3), 0)
    others = [surface((*size, 3), 1), surface((40, 30, 3), 2)]
    for seed in range(60):
        drawn = with_defects(np.random.default_rng(seed), values, others, 1.0)
        assert drawn.values.shape == values.shape
        assert np.isfinite(drawn.values).all()


def test_neither_the_image_nor_the_others_are_written_to() -> None:
    values, other = surface((40, 40, 1), 0), surface((40, 40, 1), 1)
    before = values.copy(), other.copy()
    for seed in range(20):
        with_defects(np.random.default_rng(seed), values, [other], 1.0)
    np.testing.assert_array_equal(values, before[0])
    np.testing.assert_array_equal(other, before[1])


def test_one_seed_gives_one_drawing_and_another_seed_another() -> None:
    values, others = surface((40, 40, 1), 0), [surface((40, 40, 1), 1)]

    first, again, other = (
        with_defects(np.random.default_rng(seed), values, others, 1.0) for seed in (7, 7, 8)
    )

    for name in ("values", "label", "weight"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.values != other.values).any()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_amplitude_scales_what_is_drawn_on_a_flat_surface(channels: int) -> None:
    """And not where it is drawn; powers of two scale float32 without rounding."""
    flat = np.zeros((40, 40, channels), np.float32)
    for seed in range(60):
        faint, strong = (
            with_defects(np.random.default_rng(seed), flat, [flat], amplitude)
            for amplitude in (0.5, 2.0)
        )
        np.testing.assert_array_equal(strong.label, faint.label)
        np.testing.assert_allclose(strong.values, 4.0 * faint.values, rtol=1e-6)


class Noted(np.random.Generator):
    """Draws the same numbers from the same stream, and notes which fill was drawn."""

    def __init__(self, of: np.random.Generator, notes: Counter[Any]) -> None:
        super().__init__(of.bit_generator)
        self.notes = notes

    def integers(self, *args: Any, **named: Any) -> Any:
        drawn = super().integers(*args, **named)
        if args == (FILLS,):
            self.notes[int(drawn)] += 1
        return drawn


def test_every_shape_and_every_fill_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: Counter[str] = Counter()
    fills: Counter[Any] = Counter()
    of_a_defect = synthetic._content

    def noted(rng: np.random.Generator, shape: Any, *rest: Any) -> Float32:
        shapes[shape.name] += 1
        return of_a_defect(Noted(rng, fills), shape, *rest)

    expected = [drawn.values for _, drawn in drawings((40, 40, 1), n=200)]
    monkeypatch.setattr(synthetic, "_content", noted)
    found = [drawn.values for _, drawn in drawings((40, 40, 1), n=200)]

    np.testing.assert_array_equal(found, expected)
    n = shapes.total()
    assert 200 < n < 600, "one to three in an image"
    assert shapes.keys() == {"BLOT", "LINE", "PLANE"}
    # Shares of a binomial with n of about 400 are within 0.1.
    assert shapes["PLANE"] / n == pytest.approx(0.2, abs=0.1)
    assert shapes["BLOT"] / n == pytest.approx(0.4, abs=0.1)
    assert fills.total() == n
    assert [fills[number] / n for number in range(FILLS)] == pytest.approx([0.2] * FILLS, abs=0.1)


class Chosen(np.random.Generator):
    """Always draws the same fill."""

    def __init__(self, seed: int, fill: int) -> None:
        super().__init__(np.random.PCG64(seed))
        self.fill = fill

    def integers(self, *args: Any, **named: Any) -> Any:
        drawn = super().integers(*args, **named)
        return self.fill if args == (FILLS,) else drawn


def contents(fill: int, values: Float32, others: Sequence[Float32]) -> list[Float32]:
    """30 blots of that fill over the whole image."""
    cover = np.ones(values.shape[:2], np.float32)
    blot = synthetic._Shape.BLOT
    return [
        synthetic._content(Chosen(seed, fill), blot, values, others, cover, 1.0)
        for seed in range(30)
    ]


class TestFills:
    VALUES = surface((64, 64, 1), 0)
    # Another surface, ten times as rough and elsewhere in brightness.
    OTHERS = (10 * surface((64, 64, 1), 1) + 5,)

    def rough(self, fill: int) -> list[float]:
        """How rough the contents are, in deviations of the surface."""
        return [
            float(content.std() / self.VALUES.std())
            for content in contents(fill, self.VALUES, self.OTHERS)
        ]

    @pytest.mark.parametrize("fill", [0, 1])
    def test_a_shift_moves_the_mean_and_roughens_nothing(self, fill: int) -> None:
        shifts = [
            float(content.mean() - self.VALUES.mean())
            for content in contents(fill, self.VALUES, self.OTHERS)
        ]
        assert all(0.09 < abs(shift) <= 1.01 for shift in shifts)
        assert min(shifts) < 0 < max(shifts), "dark ones and bright ones"
        assert max(self.rough(fill)) < 1.001
        assert min(self.rough(fill)) < 0.5, "some are smoother"

    def test_a_patch_has_the_structure_of_another_image_and_the_brightness_of_this_one(
        self,
    ) -> None:
        assert min(self.rough(2)) > 5
        for content in contents(2, self.VALUES, self.OTHERS):
            assert abs(content.mean() - self.VALUES.mean()) <= 0.51

    def test_a_gain_changes_contrast_and_leaves_the_mean(self) -> None:
        for content in contents(3, self.VALUES, self.OTHERS):
            assert content.mean() == pytest.approx(self.VALUES.mean(), abs=0.01)
        assert min(self.rough(3)) < 0.6
        assert max(self.rough(3)) > 1.7

    def test_noise_is_added(self) -> None:
        assert min(self.rough(4)) > 1
        for content in contents(4, self.VALUES, self.OTHERS):
            added = (content - self.VALUES).std()
            assert 0.06 < added < 0.71
