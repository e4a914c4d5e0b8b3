"""What is compared with on images: recognition, and methods without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from anomaly.arrays import Float32, Float64
from anomaly.data.pixels import Pixels, as_unit, to_channels
from anomaly.maps import distance_bins, largest_mean
from anomaly.preprocessing.images import Contrast, contrasted, resized
from training.near_copies import thumbnails

Scorer: TypeAlias = Callable[[Sequence[Pixels]], Float64]
"""Scores of images; higher is more anomalous."""

SIDE = 64
PATCH, STRIDE, PATCH_COMPONENTS = 16, 4, 24
SCALE = 0.5
MOST_PATCHES = 100_000


def recognition(train: Sequence[Pixels], seed: int) -> Scorer:
    """Not a detector: one minus the highest correlation with a training image. Where this finds
    "defects", the split tells training images from others."""
    known = _normalised(thumbnails(train))
    return lambda images: 1.0 - (_normalised(thumbnails(images)) @ known.T).max(1)


def pca_pixels(train: Sequence[Pixels], seed: int) -> Scorer:
    """Distance to the space of 32 principal components of the images at 64 x 64."""
    model = PCA(32, random_state=seed).fit(_flat(train))

    def score(images: Sequence[Pixels]) -> Float64:
        rows = _flat(images)
        return np.asarray(((rows - model.inverse_transform(model.transform(rows))) ** 2).sum(1))

    return score


def nearest_image(train: Sequence[Pixels], seed: int) -> Scorer:
    """Distance to the nearest training image at 64 x 64."""
    index = NearestNeighbors(n_neighbors=1).fit(_flat(train))
    return lambda images: np.asarray(index.kneighbors(_flat(images))[0][:, 0])


def patch_pca(train: Sequence[Pixels], seed: int) -> Scorer:
    """Squared errors of 16 x 16 patches under 24 principal components, at half size and local
    contrast, over what is usual at that distance from the border and over the mean of the image;
    the mean of the largest 0.3 %. The rule is that of our own first look."""
    images = [_local(pixels) for pixels in train]
    patches = np.concatenate([_patches(image) for image in images])
    chosen = np.random.default_rng(seed).permutation(len(patches))[:MOST_PATCHES]
    model = PCA(PATCH_COMPONENTS, random_state=seed).fit(patches[chosen])
    maps = [_errors(model, image) for image in images]
    bins = np.concatenate([distance_bins(errors).ravel() for errors in maps])
    values = np.concatenate([errors.ravel() for errors in maps])
    usual = np.bincount(bins, values, 9) / np.maximum(np.bincount(bins, minlength=9), 1)

    def score(new: Sequence[Pixels]) -> Float64:
        found = []
        for pixels in new:
            errors = _errors(model, _local(pixels))
            ratios = errors / usual[distance_bins(errors)]
            found.append(largest_mean(ratios / ratios.mean(), 0.003))
        return np.array(found)

    return score


PEERS: dict[str, Callable[[Sequence[Pixels], int], Scorer]] = {
    "recognition": recognition,
    "PCA of pixels": pca_pixels,
    "nearest image": nearest_image,
    "patch PCA": patch_pca,
}


def _flat(images: Sequence[Pixels]) -> Float32:
    """(N, 64 * 64) of grey images, each less its mean."""
    rows = np.array([resized(as_unit(to_channels(p, 1)), SIDE, SIDE).ravel() for p in images])
    centred: Float32 = rows - rows.mean(1, keepdims=True)
    return centred


def _local(pixels: Pixels) -> Float32:
    image = as_unit(to_channels(pixels, 1))
    height, width = (max(PATCH, round(side * SCALE)) for side in image.shape[:2])
    return contrasted(resized(image, height, width), Contrast.LOCAL)[..., 0]


def _patches(image: Float32) -> Float32:
    windows = sliding_window_view(image, (PATCH, PATCH))[::STRIDE, ::STRIDE]
    return windows.reshape(-1, PATCH * PATCH)


def _errors(model: PCA, image: Float32) -> Float64:
    """(height, width) mean squared error of the patches over each pixel."""
    rows = _patches(image)
    squares = (rows - model.inverse_transform(model.transform(rows))) ** 2
    squares = squares.reshape(-1, PATCH, PATCH)
    total, count = np.zeros(image.shape), np.full(image.shape, 1e-9)
    across = (image.shape[1] - PATCH) // STRIDE + 1
    for number, square in enumerate(squares):
        top, left = STRIDE * (number // across), STRIDE * (number % across)
        total[top : top + PATCH, left : left + PATCH] += square
        count[top : top + PATCH, left : left + PATCH] += 1
    mean: Float64 = total / count
    return mean


def _normalised(rows: Float32) -> Float32:
    centred = rows - rows.mean(1, keepdims=True)
    normalised: Float32 = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    return normalised
