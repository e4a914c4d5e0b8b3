"""scikit-learn's face: its conventions, its directions, its own checks, none switched off."""

from __future__ import annotations

import copy
import os
import pickle  # noqa: TID251 - an estimator in memory pickles, as scikit-learn demands
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import anomaly
from anomaly import VAEDetector
from anomaly.arrays import Float64
from anomaly.data.schema import Column, Kind, Role, Schema
from anomaly.errors import AlphaNotSupported, ConfigInvalid, SchemaMismatch
from tests import machines

FEATURES = ["heat", "load", "idle", "mode"]


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([VAEDetector(random_state=0)])  # type: ignore[untyped-decorator]
def test_scikit_learn_accepts_it(estimator: VAEDetector, check: Callable[[Any], None]) -> None:
    check(estimator)


def test_nor_is_the_check_left_out_that_needs_a_variable_of_the_environment() -> None:
    """scikit-learn skips its array API check unless SciPy was imported with this variable."""
    script = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from anomaly import VAEDetector\n"
        "from sklearn.utils.estimator_checks import estimator_checks_generator\n"
        "for estimator, check in estimator_checks_generator(VAEDetector(random_state=0)):\n"
        "    if 'array_api' in str(check):\n"
        "        check(estimator)\n"
        "        print('checked')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "checked\n"


def frame(n: int, seed: int = 0) -> pd.DataFrame:
    """Machines as a DataFrame of mixed kinds."""
    columns = machines.records(n, seed).columns
    found = pd.DataFrame({name: columns[name] for name in FEATURES})
    return found.astype({"idle": bool})


@pytest.fixture(scope="module")
def mixed() -> VAEDetector:
    """Fitted on a DataFrame of mixed kinds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return VAEDetector(random_state=0).fit(frame(400))


@pytest.fixture(scope="module")
def small(benign: Float64) -> VAEDetector:
    """Fitted on 100 rows of 4 columns."""
    return VAEDetector(random_state=1, alpha=0.1).fit(benign[:100, :4])


# Directions


def test_every_method_points_where_its_name_says(
    estimator: VAEDetector, benign: Float64, malignant: Float64
) -> None:
    X = np.concatenate([benign[300:], malignant])
    score = estimator.anomaly_score(X)

    np.testing.assert_array_equal(estimator.score_samples(X), -score)
    np.testing.assert_array_equal(estimator.decision_function(X), -score - estimator.offset_)
    np.testing.assert_array_equal(estimator.predict(X) == -1, estimator.is_anomaly(X))
    np.testing.assert_array_equal(estimator.decision_function(X) < 0, estimator.is_anomaly(X))
    p_values = estimator.p_values(X)
    np.testing.assert_array_equal(
        estimator.is_anomaly(X), p_values <= estimator.detector_.calibration.alpha
    )
    order = np.argsort(score)
    assert (np.diff(p_values[order]) <= 0).all()
    assert set(estimator.predict(X)) == {-1, 1}


def test_malignant_tumours_score_higher_than_benign_ones_it_never_saw(
    estimator: VAEDetector, benign: Float64, malignant: Float64
) -> None:
    odd, normal = estimator.anomaly_score(malignant), estimator.anomaly_score(benign[300:])

    assert (odd[:, None] > normal).mean() > 0.9  # the AUROC


# alpha, parameters, seeds


def test_alpha_is_kept_or_refused_with_one_that_works(benign: Float64) -> None:
    X = benign[:100, :4]

    with pytest.raises(AlphaNotSupported, match=r"ask for (0\.\d+) or more") as refused:
        VAEDetector(alpha=0.001, random_state=0).fit(X)

    advice = float(str(refused.value).split("ask for ")[1].split(" ")[0])
    fitted = VAEDetector(alpha=advice, random_state=0).fit(X)
    assert fitted.detector_.calibration.alpha == advice


def test_without_alpha_it_is_0_01_or_the_smallest_supported_with_a_warning(
    estimator: VAEDetector, benign: Float64
) -> None:
    assert estimator.detector_.calibration.alpha == 0.01

    with pytest.warns(UserWarning, match="instead of 0.01"):
        few = VAEDetector(random_state=0).fit(benign[:20, :3])
    assert few.detector_.calibration.alpha == 1 / (few.detector_.calibration.n + 1)


def test_parameters_clone_and_repr() -> None:
    unfitted = VAEDetector(preset="fast", alpha=0.05, device="cpu", random_state=3)

    assert clone(unfitted).get_params() == unfitted.get_params()
    assert unfitted.set_params(alpha=0.1).alpha == 0.1
    assert "preset='fast'" in repr(unfitted)
    with pytest.raises(NotFittedError):
        unfitted.predict([[1.0]])


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("preset", "deep", "There are: default"),
        ("alpha", 1.5, "alpha: .* less than 1"),
        ("alpha", 0, "alpha: .* greater than 0"),
        ("device", "gpu", "There are: auto, cpu, cuda"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_at_fit(
    benign: Float64, name: str, value: Any, advice: str
) -> None:
    with pytest.raises(ConfigInvalid, match=advice):
        VAEDetector(**{name: value}).fit(benign)


def test_the_seed_decides_and_labels_do_not(small: VAEDetector, benign: Float64) -> None:
    X = benign[:100, :4]

    again = VAEDetector(random_state=1, alpha=0.1)
    predicted = again.fit_predict(X, np.arange(100))
    other = VAEDetector(random_state=2, alpha=0.1).fit(X)

    np.testing.assert_array_equal(predicted, small.predict(X))
    np.testing.assert_array_equal(again.anomaly_score(X), small.anomaly_score(X))
    assert (other.anomaly_score(X) != small.anomaly_score(X)).any()


# What goes in


def test_missing_numbers_are_accepted_in_fit_and_in_score(benign: Float64) -> None:
    X = benign[:150, :4].copy()
    X[::7, 1] = np.nan

    fitted = VAEDetector(random_state=0, alpha=0.1).fit(X)

    assert np.isfinite(fitted.anomaly_score(X)).all()
    assert np.isfinite(fitted.anomaly_score(np.full((1, 4), np.nan))).all()


def test_infinite_numbers_are_refused(estimator: VAEDetector, benign: Float64) -> None:
    X = benign[:5].copy()
    X[2, 3] = np.inf

    with pytest.raises(ValueError, match="infinity"):
        estimator.predict(X)


def test_a_numeric_frame_scores_as_its_array_and_brings_its_names(
    small: VAEDetector, benign: Float64
) -> None:
    names = [f"column {i}" for i in range(4)]
    X = pd.DataFrame(benign[:100, :4], columns=names)

    fitted = VAEDetector(random_state=1, alpha=0.1).fit(X)

    assert fitted.feature_names_in_.tolist() == names
    assert fitted.detector_.schema.names == tuple(names)
    np.testing.assert_array_equal(fitted.anomaly_score(X), small.anomaly_score(X.to_numpy()))
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(X[names[::-1]])


def test_a_mixed_frame_is_fitted_with_inferred_kinds(mixed: VAEDetector) -> None:
    kinds = {column.name: column.kind for column in mixed.detector_.schema.columns}

    assert kinds == {
        "heat": Kind.NUMERIC,
        "load": Kind.NUMERIC,
        "idle": Kind.BOOLEAN,
        "mode": Kind.CATEGORICAL,
    }
    odd = frame(20, seed=5).assign(mode="warp")
    assert mixed.anomaly_score(odd).mean() > mixed.anomaly_score(frame(20, seed=5)).mean()


def test_a_mixed_frame_that_lacks_a_column_is_refused(mixed: VAEDetector) -> None:
    with pytest.raises(SchemaMismatch, match="'load'"):
        mixed.predict(frame(5).drop(columns="load"))


def test_a_schema_decides_kinds_and_roles() -> None:
    schema = Schema(
        (
            Column("load", Kind.NUMERIC),
            Column("mode", Kind.CATEGORICAL, Role.CONTEXT),
            Column("heat", Kind.NUMERIC, Role.IGNORE),
        )
    )

    fitted = VAEDetector(random_state=0, alpha=0.1, schema=schema).fit(frame(150))

    assert fitted.explain(frame(3)).columns == ("load",)
    assert fitted.detector_.schema == schema


# What comes out


def test_reconstruct_encode_and_explain_have_the_shapes_of_x(
    estimator: VAEDetector, benign: Float64
) -> None:
    X = benign[300:310]
    latent = estimator.detector_.model.vae.sizes.latent

    assert estimator.encode(X).shape == (10, latent)
    rebuilt = estimator.reconstruct(X)
    assert rebuilt.shape == X.shape
    spread = benign.std(axis=0)
    assert np.median(np.abs(rebuilt - X) / spread) < 0.5
    found = estimator.explain(X)
    assert found.share.shape == X.shape
    assert found.columns == tuple(f"x{i}" for i in range(30))


def test_the_column_that_was_changed_explains_the_score(
    estimator: VAEDetector, benign: Float64
) -> None:
    X = benign[300:301].copy()
    X[0, 4] += 20 * benign[:, 4].std()

    (first, *_) = estimator.explain(X).top(0)

    assert first.column == "x4"
    assert first.observed == X[0, 4]
    assert first.expected is not None
    assert abs(float(first.expected) - benign[300, 4]) < abs(X[0, 4] - benign[300, 4])


def test_samples_are_rows_that_it_holds_for_normal(estimator: VAEDetector, benign: Float64) -> None:
    drawn = estimator.sample(200, seed=1)

    assert drawn.shape == (200, 30)
    np.testing.assert_array_equal(drawn, estimator.sample(200, seed=1))
    assert estimator.is_anomaly(drawn).mean() < 0.1
    assert (np.abs(drawn.mean(axis=0) - benign.mean(axis=0)) < benign.std(axis=0)).all()


def test_interpolation_joins_the_reconstructions_of_its_ends(
    estimator: VAEDetector, benign: Float64
) -> None:
    path = estimator.interpolate(benign[:1], benign[1:2], steps=4)

    assert path.shape == (4, 30)
    ends = estimator.reconstruct(benign[:2])
    np.testing.assert_allclose(path[[0, -1]], ends, rtol=1e-4, atol=1e-6)


def test_frames_come_back_as_frames(mixed: VAEDetector) -> None:
    X = frame(6)

    rebuilt = mixed.reconstruct(X)
    drawn = mixed.sample(3)

    assert list(rebuilt.columns) == list(drawn.columns) == FEATURES
    assert len(rebuilt) == 6
    assert set(rebuilt["mode"]) <= set(machines.MODES)
    assert len(mixed.interpolate(X[:1], X[1:2], steps=5)) == 5


def test_constant_columns_are_expected_to_stay_what_they_were(benign: Float64) -> None:
    X = benign[:120, :4].copy()
    X[:, 2] = 7.0
    with pytest.warns(UserWarning, match="'x2'"):
        fitted = VAEDetector(random_state=0, alpha=0.1).fit(X)

    assert fitted.reconstruct(X).shape == X.shape
    assert (fitted.reconstruct(X)[:, 2] == 7.0).all()
    assert (fitted.sample(5)[:, 2] == 7.0).all()


# Around it


def test_it_stands_at_the_end_of_a_pipeline(benign: Float64, malignant: Float64) -> None:
    pipeline = make_pipeline(RobustScaler(), VAEDetector(random_state=0, alpha=0.05))

    pipeline.fit(benign[:200])

    assert pipeline.predict(malignant).mean() < 0
    assert pipeline.score_samples(malignant).shape == (212,)


def test_it_comes_back_from_disk_to_the_bit(
    estimator: VAEDetector, benign: Float64, tmp_path: Path
) -> None:
    estimator.save(tmp_path / "saved")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = VAEDetector.load(tmp_path / "saved")
        scores = loaded.anomaly_score(benign)

    np.testing.assert_array_equal(scores, estimator.anomaly_score(benign))
    np.testing.assert_array_equal(loaded.predict(benign), estimator.predict(benign))
    assert loaded.offset_ == estimator.offset_
    assert loaded.alpha == 0.01
    assert loaded.sample(2).shape == (2, 30)
    np.testing.assert_array_equal(anomaly.load(tmp_path / "saved").anomaly_score(benign), scores)


def test_one_fitted_on_a_frame_comes_back_from_disk_and_takes_frames(
    mixed: VAEDetector, tmp_path: Path
) -> None:
    mixed.save(tmp_path / "saved")

    loaded = VAEDetector.load(tmp_path / "saved")

    np.testing.assert_array_equal(loaded.predict(frame(30)), mixed.predict(frame(30)))
    assert loaded.feature_names_in_.tolist() == FEATURES
    assert list(loaded.sample(2).columns) == FEATURES


def test_a_fitted_estimator_pickles(mixed: VAEDetector) -> None:
    again = pickle.loads(pickle.dumps(mixed))

    np.testing.assert_array_equal(again.anomaly_score(frame(9)), mixed.anomaly_score(frame(9)))


# As a transformer


def test_latents_are_the_features_of_a_classifier() -> None:
    """About as good as as many principal components, and far better than the larger class."""
    X, y = load_breast_cancer(return_X_y=True)
    seen, new, seen_y, new_y = train_test_split(X, y, stratify=y, random_state=0)
    detector = VAEDetector(random_state=0)
    latents = make_pipeline(detector, LogisticRegression(max_iter=1000)).fit(seen, seen_y)
    width = len(detector.get_feature_names_out())
    components = make_pipeline(StandardScaler(), PCA(width), LogisticRegression(max_iter=1000)).fit(
        seen, seen_y
    )

    found = latents.score(new, new_y)

    assert found > 0.9 > np.bincount(new_y).max() / len(new_y)
    assert found > components.score(new, new_y) - 0.05


def test_latents_have_names_and_become_a_frame(estimator: VAEDetector, benign: Float64) -> None:
    X = benign[300:310]
    names = [f"vaedetector{i}" for i in range(estimator.encode(benign[:1]).shape[1])]

    as_frame = copy.copy(estimator).set_output(transform="pandas").transform(X)

    assert list(estimator.get_feature_names_out()) == list(as_frame.columns) == names
    np.testing.assert_array_equal(as_frame, estimator.encode(X))
    np.testing.assert_array_equal(estimator.transform(X), as_frame)


def test_latents_of_a_frame_keep_its_index(mixed: VAEDetector) -> None:
    X = frame(6).set_index(pd.Index(range(5, 11)))

    assert list(copy.copy(mixed).set_output(transform="pandas").transform(X).index) == list(X.index)
