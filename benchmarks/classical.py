"""Classical detectors of scikit-learn as peers, at settings fixed for all tables.

All take standardised rows.
"""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from anomaly.arrays import Float64
from benchmarks.contest import Fit, Fitted


def nearest_neighbours(k: int) -> Fit:
    """Mean Euclidean distance to the k nearest training rows."""

    def fit(train: Float64, seed: int) -> Fitted:
        index = NearestNeighbors(n_neighbors=k).fit(train)
        return Fitted(lambda rows: np.asarray(index.kneighbors(rows)[0].mean(axis=1)))

    return fit


def local_outlier_factor(train: Float64, seed: int) -> Fitted:
    """Breunig et al. 2000, 20 neighbours."""
    model = LocalOutlierFactor(n_neighbors=20, novelty=True).fit(train)
    return Fitted(lambda rows: -np.asarray(model.score_samples(rows)))


def isolation_forest(train: Float64, seed: int) -> Fitted:
    """Liu et al. 2008, 100 trees on 256 rows."""
    model = IsolationForest(random_state=seed).fit(train)
    return Fitted(lambda rows: -np.asarray(model.score_samples(rows)))


def pca_reconstruction(train: Float64, seed: int) -> Fitted:
    """Squared distance to the components that carry 90 % of the training variance."""
    model = PCA(n_components=0.9, svd_solver="full").fit(train)

    def score(rows: Float64) -> Float64:
        rebuilt = model.inverse_transform(model.transform(rows))
        return np.asarray(np.square(rows - rebuilt).sum(axis=1))

    return Fitted(score)


NEAREST = "sklearn/knn-1"
"""The strongest classical reference."""

CLASSICAL: dict[str, Fit] = {
    NEAREST: nearest_neighbours(1),
    "sklearn/knn-5": nearest_neighbours(5),
    "sklearn/lof": local_outlier_factor,
    "sklearn/isolation-forest": isolation_forest,
    "sklearn/pca": pca_reconstruction,
}
