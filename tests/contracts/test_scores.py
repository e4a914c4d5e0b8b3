"""What every score promises, whatever the likelihood and the posterior."""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

import numpy as np
import pytest

from anomaly.arrays import Features
from anomaly.backends.backend import Backend, BackendName, Device, ScoringModel, open_backend
from anomaly.compatibility import check_score
from anomaly.models.likelihood import ProductLikelihood
from anomaly.models.posterior import Posterior
from anomaly.models.prior import Prior
from anomaly.scores import MissingFill, Score
from tests.contracts.parts import (
    EVERY_LATENT,
    EVERY_LIKELIHOOD,
    EVERY_SCORE,
    goes_together,
    random_features,
    small_model,
    with_constants,
)

Latent: TypeAlias = tuple[Posterior, Prior]

PAIRS: dict[str, tuple[Score, Latent]] = {
    f"{score_name}-{latent_name}": (score, latent)
    for score_name, score in EVERY_SCORE.items()
    for latent_name, latent in EVERY_LATENT.items()
    if goes_together(partial(check_score, score, latent[0]))
}
EVERY_PAIR = pytest.mark.parametrize(("score", "latent"), PAIRS.values(), ids=PAIRS)
EVERY = pytest.mark.parametrize("likelihood", EVERY_LIKELIHOOD.values(), ids=EVERY_LIKELIHOOD)
LIBRARIES = pytest.mark.parametrize("library", list(BackendName))


def backend(
    score: Score,
    latent: Latent,
    likelihood: ProductLikelihood,
    library: BackendName = BackendName.NUMPY,
) -> Backend:
    vae, parameters = small_model(likelihood, *latent)
    fill = MissingFill(np.linspace(1.0, 2.0, likelihood.targets), 0.5)
    model = ScoringModel(vae, (with_constants(score, vae, parameters),), score, fill)
    return open_backend(model, library, Device.CPU)


def rows_for(of: Backend, n: int = 70, missing: float = 0.2) -> Features:
    return random_features(of.model.vae, n, missing=missing)


@LIBRARIES
@EVERY
@EVERY_PAIR
def test_a_rows_score_depends_on_nothing_but_the_row(
    score: Score, latent: Latent, likelihood: ProductLikelihood, library: BackendName
) -> None:
    """To the bit: alone, in another order, in another batch, twice."""
    scorer = backend(score, latent, likelihood, library)
    rows = rows_for(scorer)
    together = scorer.score_features(rows).scores

    order = np.random.default_rng(1).permutation(len(rows))
    assert scorer.score_features(rows.take(order)).scores.tolist() == together[order].tolist()
    assert scorer.score_features(rows).scores.tolist() == together.tolist()
    for row in (0, 13, 69):
        alone = scorer.score_features(rows.take(slice(row, row + 1))).scores
        assert alone.tolist() == [together[row]]


@LIBRARIES
@EVERY
@EVERY_PAIR
def test_scores_are_float64_and_the_sum_of_their_parts(
    score: Score, latent: Latent, likelihood: ProductLikelihood, library: BackendName
) -> None:
    scorer = backend(score, latent, likelihood, library)
    terms = scorer.score_features(rows_for(scorer))
    assert terms.per_target.shape == (70, likelihood.targets)
    assert terms.per_target.dtype == terms.rest.dtype == terms.scores.dtype == np.float64
    np.testing.assert_array_equal(terms.per_target.sum(1) + terms.rest, terms.scores)


@EVERY
@EVERY_PAIR
def test_both_libraries_agree(score: Score, latent: Latent, likelihood: ProductLikelihood) -> None:
    numpys, torchs = (
        backend(score, latent, likelihood, library)
        for library in (BackendName.NUMPY, BackendName.TORCH)
    )
    rows = rows_for(numpys)
    first, second = numpys.score_features(rows), torchs.score_features(rows)
    np.testing.assert_allclose(second.scores, first.scores, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(second.per_target, first.per_target, rtol=1e-4, atol=1e-4)


@EVERY
@EVERY_PAIR
def test_missing_entries_cost_their_usual_term_and_their_share_of_the_rest(
    score: Score, latent: Latent, likelihood: ProductLikelihood
) -> None:
    scorer = backend(score, latent, likelihood)
    rows = rows_for(scorer, missing=0.5)
    raw, filled = scorer.raw_terms(rows), scorer.score_features(rows)
    fill = scorer.model.fill
    for i in range(len(rows)):
        for d in range(likelihood.targets):
            usual = raw.per_target[i, d] if rows.observed[i, d] else fill.per_target[d]
            assert filled.per_target[i, d] == usual
        share = 1 - rows.observed[i].mean()
        assert filled.rest[i] == pytest.approx(raw.rest[i] + share * fill.rest)


@EVERY
@EVERY_PAIR
def test_complete_rows_do_not_see_the_missing_entries_of_others(
    score: Score, latent: Latent, likelihood: ProductLikelihood
) -> None:
    scorer = backend(score, latent, likelihood)
    rows = rows_for(scorer, missing=0.3)
    complete = np.array(rows.observed.all(axis=1))
    assert complete.any()
    assert not complete.all()
    among = scorer.score_features(rows).scores[complete]
    alone = scorer.raw_terms(rows.take(complete)).scores
    assert among.tolist() == alone.tolist()


@EVERY
@EVERY_PAIR
def test_what_the_target_of_a_missing_entry_holds_does_not_matter(
    score: Score, latent: Latent, likelihood: ProductLikelihood
) -> None:
    scorer = backend(score, latent, likelihood)
    rows = rows_for(scorer, missing=0.5)
    other = Features(
        rows.inputs, np.where(rows.observed, rows.targets, 1.0), rows.observed, rows.context
    )
    np.testing.assert_allclose(
        scorer.score_features(other).scores, scorer.score_features(rows).scores, rtol=1e-6
    )
