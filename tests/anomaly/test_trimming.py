"""Trimming: training leaves aside what it explains worst, and nothing later remembers it."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from anomaly.arrays import Bool, Features, Float64, Parameters
from anomaly.assembly import Assembled, DetectorConfig, assemble, kept_by_most
from anomaly.backends.backend import Device
from anomaly.data.frames import records_from_array, schema_of_array
from anomaly.data.splits import split_rows
from anomaly.fitting import Corruption, FitConfig, fit, on_device
from anomaly.models.likelihood import LikelihoodConfig, ProductLikelihood
from anomaly.models.networks import DenseNetworks
from anomaly.models.objective import ELBO, Batch, ImportanceWeighted, Objective, WassersteinMMD
from anomaly.models.posterior import GaussianPosterior, PointPosterior, Posterior
from anomaly.models.torch_ops import TorchOps
from anomaly.models.vae import VAE, VAEConfig, assemble_vae
from anomaly.scores import (
    DEFAULT_SCORE,
    ROWS,
    ExemplarKL,
    MissingFill,
    NearestRow,
    RememberingScore,
    Score,
    Space,
)
from anomaly.trimming import kept_rows, moments, row_losses
from tests.contracts.parts import (
    EVERY_LIKELIHOOD,
    NUMPY,
    batch_of,
    on,
    random_features,
    small_model,
)

NORMAL, HIDDEN = 450, 50
IS_HIDDEN: Bool = np.arange(NORMAL + HIDDEN) >= NORMAL
SPLITS = split_rows(NORMAL + HIDDEN, seed=0, early_stop_share=0.1)
SCHEMA = schema_of_array(6)
QUICK = FitConfig(steps=400, batch_rows=64, check_every=100, learning_rate=1e-2, lr_warmup_steps=5)


def plane(n: int, seed: int) -> Float64:
    """Rows near a plane in six dimensions."""
    basis = np.linalg.qr(np.random.default_rng(99).normal(size=(6, 6)))[0]
    rows = np.random.default_rng(seed).normal(size=(n, 6)) * [3.0, 2.0, 0.3, 0.3, 0.2, 0.2]
    return np.asarray(rows @ basis.T)


def off(n: int, seed: int) -> Float64:
    """Rows beside the plane, all on one side: enough of them to be learned."""
    normal = np.linalg.qr(np.random.default_rng(99).normal(size=(6, 6)))[0][:, 5]
    return plane(n, seed) + 6.0 * normal


TRAINING = np.concatenate([plane(NORMAL, 0), off(HIDDEN, 1)])


def assembled(trim: float, score: Score = DEFAULT_SCORE) -> Assembled:
    config = DetectorConfig(
        model=VAEConfig(networks=DenseNetworks(hidden=(32,)), latent=3),
        fit=replace(QUICK, trim=trim),
        score=score,
        alpha=0.1,
    )
    records = records_from_array(TRAINING, SCHEMA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return assemble(SCHEMA, records, SPLITS, config, seed=0, device=Device.CPU)


@pytest.fixture(scope="module")
def trimmed() -> Assembled:
    return assembled(0.1)


def auroc(found: Assembled) -> float:
    """Of new anomalies among new normal rows."""
    rows = np.concatenate([plane(500, 7), off(500, 8)])
    return float(roc_auc_score(np.arange(1000) >= 500, found.detector.anomaly_score(rows)))


def test_the_rows_left_aside_are_the_hidden_anomalies(trimmed: Assembled) -> None:
    for part, kept in (
        (SPLITS.fit, trimmed.fitted.fit_kept),
        (SPLITS.early_stop, trimmed.fitted.early_stop_kept),
    ):
        assert kept.sum() == len(part) - int(0.1 * len(part))
        # A part may hold more or fewer anomalies than the tenth that it leaves aside.
        most = min((~kept).sum(), IS_HIDDEN[part].sum())
        assert IS_HIDDEN[part][~kept].sum() >= 0.8 * most


def test_anomalies_that_are_like_hidden_ones_are_found_better(trimmed: Assembled) -> None:
    assert auroc(trimmed) > auroc(assembled(0.0)) + 0.02


def test_nothing_is_left_aside_unless_asked() -> None:
    fitted = assembled(0.0).fitted

    assert fitted.fit_kept.all()
    assert fitted.early_stop_kept.all()
    assert not moments(3_000, 0.0)


def test_the_early_stop_loss_is_the_mean_over_the_rows_that_are_kept() -> None:
    """One far row decides the plain loss, and leaves the trimmed one as it is."""
    rows = plane(NORMAL, 0)
    vae = assemble_vae(VAEConfig(latent=3), 6, 0, ProductLikelihood(LikelihoodConfig(), 6))
    beyond = plane(50, 2)
    beyond[0] *= 1e3

    def first_loss(held_out: Float64, trim: float) -> float:
        config = replace(QUICK, steps=1, trim=trim)
        parts = (features(rows), features(held_out))
        return fit(vae, config, *parts, CORRUPTION, seed=0).history[0].loss

    without = first_loss(beyond[1:], 0.0)
    assert first_loss(beyond, 0.0) > 100 * abs(without)
    assert first_loss(beyond, 0.02) == pytest.approx(without, rel=1e-5)


@pytest.mark.parametrize(
    ("objective", "posterior"),
    [
        (ELBO(), GaussianPosterior()),
        (ImportanceWeighted(samples=3), GaussianPosterior()),
        (WassersteinMMD(), PointPosterior()),
    ],
    ids=["elbo", "importance_weighted", "wasserstein"],
)
def test_every_objective_trims_and_repeats_itself_to_the_bit(
    objective: Objective, posterior: Posterior
) -> None:
    config = VAEConfig(networks=DenseNetworks(hidden=(8,)), posterior=posterior, latent=2)
    vae = assemble_vae(config, 6, 0, ProductLikelihood(LikelihoodConfig(), 6))
    quick = replace(QUICK, steps=40, check_every=10, trim=0.1, objective=objective)
    parts = (features(TRAINING), features(plane(60, 3)))

    first, again = (fit(vae, quick, *parts, CORRUPTION, seed=0) for _ in range(2))

    assert first.history == again.history
    assert first.early_stop_kept.sum() == 54
    np.testing.assert_array_equal(first.fit_kept, again.fit_kept)


def test_rows_are_ranked_four_times_and_never_before_the_first_step() -> None:
    assert sorted(moments(3_000, 0.1)) == [600, 1200, 1800, 2400]
    assert sorted(moments(2, 0.1)) == [1, 2]
    assert moments(1, 0.1) == {1}


@pytest.mark.parametrize("likelihood", EVERY_LIKELIHOOD)
def test_the_loss_of_a_complete_row_is_its_reconstruction_error(likelihood: str) -> None:
    vae, parameters = small_model(EVERY_LIKELIHOOD[likelihood])
    rows = random_features(vae, 32)
    expected = DEFAULT_SCORE.terms(NUMPY, vae, parameters, batch_of(rows)).scores

    np.testing.assert_allclose(losses_of(vae, parameters, rows), expected, rtol=1e-5, atol=1e-5)


def test_a_gap_counts_as_the_mean_of_its_column() -> None:
    """Against the fill of missing entries that scores use."""
    vae, parameters = small_model(EVERY_LIKELIHOOD["mixed"])
    rows = random_features(vae, 48, missing=0.3)
    terms = DEFAULT_SCORE.terms(NUMPY, vae, parameters, batch_of(rows))
    expected = MissingFill.of(terms, rows.observed).fill(terms, rows.observed).scores

    np.testing.assert_allclose(losses_of(vae, parameters, rows), expected, rtol=1e-5, atol=1e-5)


def test_blocks_change_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    vae, parameters = small_model(EVERY_LIKELIHOOD["mixed"])
    rows = random_features(vae, 48, missing=0.3)
    whole = losses_of(vae, parameters, rows)

    monkeypatch.setattr("anomaly.trimming.BLOCK_ROWS", 7)

    np.testing.assert_allclose(losses_of(vae, parameters, rows), whole, rtol=1e-5)


def test_the_smallest_losses_are_kept_in_the_order_of_the_rows() -> None:
    vae, parameters = small_model(EVERY_LIKELIHOOD["numbers"])
    rows = random_features(vae, 48)
    kept = kept_rows(OPS, vae, on(OPS, parameters), ready(rows), 0.3).numpy()

    largest = np.argsort(losses_of(vae, parameters, rows))[48 - 14 :]
    assert sorted({*range(48)} - {*largest.tolist()}) == kept.tolist()


@pytest.mark.parametrize("score", [NearestRow(spaces=(Space.INPUTS,)), ExemplarKL()])
def test_no_row_that_was_left_aside_is_remembered(score: RememberingScore) -> None:
    found = assembled(0.1, score)
    fitted, detector = found.fitted, found.detector
    kept = np.concatenate([SPLITS.fit[fitted.fit_kept], SPLITS.early_stop[fitted.early_stop_kept]])
    rows = detector.features(records_from_array(TRAINING[kept], SCHEMA))

    (expected,) = detector.backend.remembered(rows, score)

    remembered = detector.model.first[ROWS]
    np.testing.assert_allclose(
        np.sort(remembered.sum(axis=1)), np.sort(expected.sum(axis=1)), rtol=1e-4, atol=1e-4
    )


def test_a_row_stays_unless_most_members_leave_it_aside() -> None:
    kept = [np.array(k, dtype=bool) for k in ([1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0])]

    assert kept_by_most(kept).tolist() == [0, 1]
    assert kept_by_most(kept[:1]).tolist() == [0, 1]


OPS = TorchOps(torch.device("cpu"), for_scoring=False)
CORRUPTION = Corruption(np.arange(6), np.ones(6, dtype=bool))


def features(x: Float64) -> Features:
    return Features(
        x.astype(np.float32), x, np.ones(x.shape, bool), np.zeros((len(x), 0), np.float32)
    )


def ready(rows: Features) -> Batch:
    """As training has them: float32 throughout."""
    return on_device(rows, OPS.device)


def losses_of(vae: VAE, parameters: Parameters, rows: Features) -> Float64:
    return np.asarray(row_losses(OPS, vae, on(OPS, parameters), ready(rows)))
