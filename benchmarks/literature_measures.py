"""Measures that the literature judges autoencoders by, as functions of arrays."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import NearestNeighbors

from anomaly.arrays import Bool, Float64
from anomaly.fitting import ACTIVE_UNIT_VARIANCE


def active_units(latents: Float64) -> int:
    """How many of L posterior means (N, L) vary between rows (Burda et al. 2016, section 5)."""
    return int((latents.var(axis=0) > ACTIVE_UNIT_VARIANCE).sum())


def factor_gap(factors: Float64, latents: Float64) -> float:
    """Whether each factor (N, K) has one latent (N, L) of its own: 1 is yes, 0 is no.

    The mean over factors of the largest absolute rank correlation with a latent, less the second
    largest: the mutual information gap (Chen et al. 2018, eq. 6) with Spearman's correlation in
    the place of mutual information. A factor that no latent shows counts 0, as does one that two
    latents share.
    """
    strength = np.abs(_standard_ranks(factors).T @ _standard_ranks(latents)) / len(factors)
    padded = np.pad(strength, ((0, 0), (0, 1)))  # one latent alone is ahead of nothing
    second, first = np.sort(padded, axis=1)[:, -2:].T
    return float((first - second).mean())


def _standard_ranks(values: Float64) -> Float64:
    ranks = rankdata(values, axis=0)
    deviation = ranks.std(axis=0)
    standard: Float64 = (ranks - ranks.mean(axis=0)) / np.where(deviation == 0, 1.0, deviation)
    return standard


def bits(codes: int, groups: int) -> float:
    """What a row of `groups` words out of an alphabet of `codes` can tell."""
    return groups * math.log2(codes)


def used_codes(latents: Float64, width: int) -> int:
    """How many different words of `width` numbers the latents (N, L) are made of."""
    return len(np.unique(latents.reshape(-1, width), axis=0))


def relative_distance(rows: Float64, others: Float64, real: Float64) -> float:
    """How far rows (N, D) lie from real ones (M, D), where 1 is as far as other real rows.

    The mean distance to the nearest real row, over the same of `others`, real rows as well.
    """
    nearest = NearestNeighbors(n_neighbors=1).fit(real)
    return float(nearest.kneighbors(rows)[0].mean() / nearest.kneighbors(others)[0].mean())


def told_apart(rows: Float64, others: Float64, seed: int) -> float:
    """AUROC of a random forest that tells rows (N, D) from others (M, D), on rows it has not seen.

    0.5: they are alike (the classifier two-sample test; Lopez-Paz & Oquab 2017).
    """
    both, truth = np.concatenate([rows, others]), np.arange(len(rows) + len(others)) >= len(rows)
    order = np.random.default_rng(seed).permutation(len(both))
    forest = RandomForestClassifier(n_estimators=100, random_state=seed)
    votes = cross_val_predict(forest, both[order], truth[order], cv=3, method="predict_proba")
    return float(roc_auc_score(truth[order], votes[:, 1]))


def between(rows: Float64, centres: Float64, radius: float) -> Bool:
    """(N,) which rows (N, D) lie within `radius` of no centre (C, D)."""
    distance = np.linalg.norm(rows[:, None] - centres, axis=-1)
    outside: Bool = distance.min(axis=1) > radius
    return outside
