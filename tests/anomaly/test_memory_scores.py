"""Scores that hide columns or remember rows are their definitions, tried one by one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from anomaly.arrays import Features, Parameters
from anomaly.models.vae import VAE
from anomaly.scores import (
    ROWS,
    ExemplarKL,
    MaskedReconstruction,
    NearestRow,
    ReconstructionError,
    Space,
)
from anomaly.scores.masked import MASKS
from tests.contracts.parts import (
    EVERY_LIKELIHOOD,
    NUMPY,
    batch_of,
    random_features,
    small_model,
    with_constants,
)

OWNER = np.arange(4)


def model(name: str = "mixed") -> tuple[VAE, Parameters, Features]:
    vae, parameters = small_model(EVERY_LIKELIHOOD[name])
    return vae, parameters, random_features(vae, 32)


class TestMasks:
    @pytest.mark.parametrize(("parts", "rounds"), [(2, 1), (4, 2), (3, 5)])
    def test_every_target_is_hidden_once_a_round(self, parts: int, rounds: int) -> None:
        vae, _, _ = model()
        owner = np.array([0, 1, 2, 2])
        score = MaskedReconstruction(parts=parts, rounds=rounds)
        masks = score.constants(vae, owner, np.random.default_rng(0))[MASKS]
        assert masks.shape == score.shapes(vae)[MASKS]
        hidden = (masks[:, 0] == 0).sum(axis=0)
        assert hidden.tolist() == [rounds] * 4
        np.testing.assert_array_equal(masks[..., 2], masks[..., 3])

    def test_half_of_the_score_is_that_of_the_whole_row(self) -> None:
        """The other half is the mean over rows shown through each mask."""
        vae, parameters, rows = model()
        score = MaskedReconstruction(parts=2, rounds=2)
        found = with_constants(score, vae, parameters)
        plain = ReconstructionError(draws=0)
        whole = plain.terms(NUMPY, vae, parameters, batch_of(rows)).scores
        masked = []
        for mask in found[MASKS]:
            shown = Features(rows.inputs * mask, rows.targets, rows.observed, rows.context)
            masked.append(plain.terms(NUMPY, vae, parameters, batch_of(shown)).scores)
        scores = score.terms(NUMPY, vae, found, batch_of(rows)).scores
        np.testing.assert_allclose(scores, (whole + np.mean(masked, axis=0)) / 2, rtol=1e-6)


class TestExemplars:
    def test_the_rest_is_the_smallest_divergence_from_a_remembered_posterior(self) -> None:
        """Against the expectation of log q / q_n by 200,000 draws, for every remembered row."""
        vae, parameters, rows = model()
        score = ExemplarKL()
        found = with_constants(score, vae, parameters, rows=5)
        found[ROWS] *= 0.5
        posterior = vae.encode(NUMPY, parameters, rows.inputs, rows.context)
        assert posterior.log_scale is not None
        loc, scale = posterior.loc[:3].astype(float), np.exp(posterior.log_scale[:3]).astype(float)
        z = loc + scale * np.random.default_rng(0).standard_normal((200_000, 1, 3))
        log_q = np.asarray(stats.norm(loc, scale).logpdf(z)).sum(-1)
        divergences = [
            (log_q - np.asarray(stats.norm(kept[:3], np.exp(kept[3:])).logpdf(z)).sum(-1)).mean(0)
            for kept in found[ROWS].astype(float)
        ]
        terms = score.terms(NUMPY, vae, found, batch_of(rows))
        np.testing.assert_allclose(terms.rest[:3], np.min(divergences, axis=0), rtol=0.02)

    def test_a_remembered_row_costs_its_reconstruction_alone(self) -> None:
        vae, parameters, rows = model()
        score, plain = ExemplarKL(), ReconstructionError(draws=0)
        kept = score.remembered(NUMPY, vae, parameters, batch_of(rows))
        terms = score.terms(NUMPY, vae, {**parameters, ROWS: kept}, batch_of(rows))
        np.testing.assert_allclose(terms.rest, 0.0, atol=1e-6)
        alone = plain.terms(NUMPY, vae, parameters, batch_of(rows))
        np.testing.assert_array_equal(terms.per_target, alone.per_target)


class TestNearestRow:
    @pytest.mark.parametrize("likelihood", EVERY_LIKELIHOOD)
    @pytest.mark.parametrize(
        "spaces", [(Space.INPUTS,), (Space.RESIDUAL, Space.LATENT), tuple(Space)]
    )
    def test_it_is_the_squared_distance_to_the_nearest(
        self, likelihood: str, spaces: tuple[Space, ...]
    ) -> None:
        """All pairs, by scipy, in float64."""
        vae, parameters, rows = model(likelihood)
        score = NearestRow(spaces=spaces)
        found = with_constants(score, vae, parameters)
        here = score.remembered(NUMPY, vae, parameters, batch_of(rows))
        assert here.shape == (32, score.width(vae))
        distances = cdist(here.astype(float), found[ROWS].astype(float), "sqeuclidean")
        scores = score.terms(NUMPY, vae, found, batch_of(rows)).scores
        np.testing.assert_allclose(scores, distances.min(axis=1), rtol=1e-5)

    def test_a_remembered_row_has_distance_zero_and_others_grow_with_it(self) -> None:
        vae, parameters, rows = model("numbers")
        score = NearestRow(spaces=(Space.INPUTS,))
        kept = score.remembered(NUMPY, vae, parameters, batch_of(rows))[:1]
        found = {**with_constants(score, vae, parameters), ROWS: kept}
        away = np.linspace(0.0, 3.0, 32, dtype=np.float32)
        inputs = rows.inputs[:1] + away[:, None] * np.eye(4, dtype=np.float32)[0]
        moved = Features(inputs, rows.targets, rows.observed, rows.context)
        terms = score.terms(NUMPY, vae, found, batch_of(moved))
        np.testing.assert_allclose(terms.scores, away**2, atol=1e-6)
        # Inputs 0 and 3 tell of target 0: the move is that column's, and nobody else's.
        np.testing.assert_allclose(terms.per_target[:, 0], away**2, atol=1e-6)
        assert not terms.per_target[:, 1:].any()
