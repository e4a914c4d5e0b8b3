"""Through a whole detector: every finite number has a finite score, missing ones an ordinary one.

The training rows hold numbers of every size and holes, as a stranger's table does.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.assembly import DetectorConfig, assemble
from anomaly.backends.backend import Device
from anomaly.data.records import Records
from anomaly.data.schema import Column, Kind, Schema
from anomaly.data.splits import split_rows
from anomaly.detector import Detector
from anomaly.fitting import FitConfig
from anomaly.models.objective import ELBO
from anomaly.models.posterior import PointPosterior
from anomaly.models.vae import VAEConfig
from anomaly.preprocessing.preprocessor import NumericTarget, PreprocessingConfig
from anomaly.scores import (
    ExemplarKL,
    MaskedReconstruction,
    NearestRow,
    NegativeELBO,
    NegativeIWBound,
    ReconstructionError,
    Score,
    Space,
    SquaredError,
)
from tests.contracts.parts import Array

COLUMNS = ("ordinary", "skewed", "huge", "tiny")
SCHEMA = Schema(
    (*(Column(name, Kind.NUMERIC) for name in COLUMNS), Column("site", Kind.CATEGORICAL))
)
N = 400
CASES: dict[str, tuple[Score, NumericTarget]] = {
    "negative_elbo": (NegativeELBO(draws=4), NumericTarget.STANDARDISED),
    "negative_elbo-rank_normal": (NegativeELBO(draws=4), NumericTarget.RANK_NORMAL),
    "negative_iw_bound": (NegativeIWBound(draws=4), NumericTarget.STANDARDISED),
    "reconstruction": (ReconstructionError(draws=0), NumericTarget.STANDARDISED),
    "squared_error": (SquaredError(), NumericTarget.STANDARDISED),
    "masked_reconstruction": (MaskedReconstruction(), NumericTarget.STANDARDISED),
    "exemplar_kl": (ExemplarKL(), NumericTarget.STANDARDISED),
    "nearest_row": (NearestRow(spaces=tuple(Space)), NumericTarget.STANDARDISED),
}


def training_rows() -> Records:
    rng = np.random.default_rng(0)
    base = rng.normal(size=N)
    columns: dict[str, Array] = {
        "ordinary": base,
        "skewed": np.exp(5 * base + rng.normal(size=N)),
        "huge": rng.uniform(-1.0, 1.0, N) * sys.float_info.max,
        "tiny": rng.integers(0, 50, N) * 5e-324,
        "site": np.array([*rng.choice(["a", "b"], N), None], dtype=object)[:-1],
    }
    for name in COLUMNS:
        columns[name] = np.where(rng.random(N) < 0.1, np.nan, columns[name])
    columns["site"][rng.random(N) < 0.1] = None
    return Records(columns, N)


ROWS = training_rows()


@pytest.fixture(scope="module", params=list(CASES.values()), ids=list(CASES))
def detector(request: pytest.FixtureRequest) -> Detector:
    score, target = request.param
    model = VAEConfig(posterior=PointPosterior()) if score == SquaredError() else VAEConfig()
    config = DetectorConfig(
        preprocessing=PreprocessingConfig(numeric_target=target),
        model=model,
        fit=FitConfig(
            steps=150,
            check_every=50,
            batch_rows=64,
            lr_warmup_steps=10,
            objective=ELBO() if score == SquaredError() else ELBO(beta=1.0),
        ),
        score=score,
    )
    return assemble(SCHEMA, ROWS, split_rows(N, seed=0), config, seed=0, device=Device.CPU).detector


def rows_like(n: int, **columns: Array) -> Records:
    """n ordinary rows with some columns replaced."""
    usual: dict[str, Array] = {
        "ordinary": np.zeros(n),
        "skewed": np.ones(n),
        "huge": np.full(n, 1e307),
        "tiny": np.full(n, 1e-322),
        "site": np.full(n, "a", dtype=object),
    }
    return Records({**usual, **columns}, n)


any_number = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        [0.0, -0.0, 5e-324, -5e-324, 1e308, -1e308, sys.float_info.max, -sys.float_info.max, 1e39]
    ),
)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(*[st.one_of(any_number, st.just(np.nan))] * 4), min_size=1, max_size=8)
)
def test_every_finite_row_has_a_finite_score(
    detector: Detector, rows: list[tuple[float, ...]]
) -> None:
    columns = np.array(rows).T
    verdicts = detector.detect(rows_like(len(rows), **dict(zip(COLUMNS, columns, strict=True))))
    assert np.isfinite(verdicts.scores).all()
    assert ((verdicts.p_values > 0) & (verdicts.p_values <= 1)).all()


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["ordinary", "skewed"]),
    sign=st.sampled_from([-1, 1]),
    distances=st.lists(st.floats(1.0, 1e300), min_size=2, max_size=10),
)
def test_the_farther_outside_the_higher_the_score(
    detector: Detector, name: str, sign: int, distances: list[float]
) -> None:
    """From where the encoder's inputs saturate, to the end of float64."""
    (encoding,) = (e for e in detector.preprocessor.features.encodings if e.name == name)
    spread = ROWS.columns[name][~np.isnan(ROWS.columns[name].astype(float))].astype(float)
    edge = max(spread) if sign > 0 else min(spread)
    step = 3.0 * spread.std() * 1.5
    values = edge + sign * step * np.sort(np.array(distances))
    scores = detector.anomaly_score(rows_like(len(values), **{name: values}))
    assert encoding.name == name
    assert (np.diff(scores) >= -1e-9 * np.abs(scores[1:])).all()
    assert detector.detect(rows_like(len(values), **{name: values})).is_anomaly[-1]


def test_a_row_without_any_value_does_not_look_more_normal_than_the_median_row(
    detector: Detector,
) -> None:
    nothing = {**dict.fromkeys(COLUMNS, np.array([np.nan])), "site": np.array([None], object)}
    score = detector.anomaly_score(rows_like(1, **nothing))[0]
    assert score >= detector.calibration.median
    # Nor is it an anomaly by that alone: it says nothing at all.
    assert score <= 2 * detector.calibration.scores[-1] - detector.calibration.median


def test_scores_do_not_fall_as_values_go_missing(detector: Detector) -> None:
    """On average over ordinary rows; an unfilled sum would fall with every missing entry."""
    rng = np.random.default_rng(1)
    base = rng.normal(size=200)
    full: dict[str, Array] = {
        "ordinary": base,
        "skewed": np.exp(5 * base + rng.normal(size=200)),
        "huge": rng.uniform(-1.0, 1.0, 200) * sys.float_info.max,
        "tiny": rng.integers(0, 50, 200) * 5e-324,
    }
    width = detector.calibration.threshold - detector.calibration.median
    means = []
    for name in (*COLUMNS, None):
        holed = dict(full) if name is None else {**full, name: np.full(200, np.nan)}
        scores = detector.anomaly_score(rows_like(200, **holed))
        means.append(np.median(scores))
    assert min(means[:-1]) > means[-1] - 0.5 * width


def test_explanations_are_finite(detector: Detector) -> None:
    values = np.array([1e308, -1e308, 5e-324, 1e39])
    attributions = detector.explain(rows_like(4, **dict.fromkeys(COLUMNS, values)))
    assert np.isfinite(attributions.share).all()
    for name in COLUMNS:
        assert np.isfinite(np.asarray(detector.reconstruct(rows_like(4))[name], float)).all()
