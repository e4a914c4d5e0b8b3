"""Parts that do not go together are refused, with what to do instead."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from anomaly.assembly import DetectorConfig, check_config
from anomaly.compatibility import check_objective, check_prior, check_score
from anomaly.errors import ConfigInvalid
from anomaly.fitting import FitConfig
from anomaly.models.objective import ELBO, ImportanceWeighted, Objective, WassersteinMMD
from anomaly.models.posterior import GaussianPosterior, PointPosterior, Posterior
from anomaly.models.prior import Prior, StandardNormalPrior
from anomaly.models.vae import VAEConfig
from anomaly.presets import PRESETS
from anomaly.scores import NegativeELBO, Score, SquaredError
from tests.contracts.parts import EVERY_OBJECTIVE, EVERY_POSTERIOR, EVERY_PRIOR, EVERY_SCORE

POINTS = [posterior for name, posterior in EVERY_POSTERIOR.items() if name != "gaussian"]
NORMAL = StandardNormalPrior()


@pytest.mark.parametrize("score", EVERY_SCORE.values(), ids=EVERY_SCORE)
def test_a_gaussian_posterior_has_every_score(score: Score) -> None:
    check_score(score, GaussianPosterior())


@pytest.mark.parametrize("posterior", POINTS)
@pytest.mark.parametrize("name", EVERY_SCORE)
def test_a_point_has_no_bound_on_its_likelihood(name: str, posterior: Posterior) -> None:
    if "elbo" in name or "iw" in name or "kl" in name:
        with pytest.raises(
            ConfigInvalid, match=f"{posterior.kind} .*Use the score `squared_error`"
        ):
            check_score(EVERY_SCORE[name], posterior)
    else:
        check_score(EVERY_SCORE[name], posterior)


@pytest.mark.parametrize("prior", EVERY_PRIOR.values(), ids=EVERY_PRIOR)
def test_a_gaussian_posterior_has_every_prior_and_trains_by_its_elbo(prior: Prior) -> None:
    check_prior(prior, GaussianPosterior())
    check_objective(ELBO(beta=2.0, warmup_steps=9), prior, GaussianPosterior())
    check_objective(ImportanceWeighted(), prior, GaussianPosterior())


@pytest.mark.parametrize("posterior", POINTS)
@pytest.mark.parametrize("name", ["mixture", "vamp"])
def test_a_point_teaches_a_prior_nothing(name: str, posterior: Posterior) -> None:
    with pytest.raises(ConfigInvalid, match=f"{name} prior is learned from the KL"):
        check_prior(EVERY_PRIOR[name], posterior)


@pytest.mark.parametrize("posterior", POINTS)
@pytest.mark.parametrize(
    "objective",
    [ELBO(beta=0.5), ELBO(capacity=1.0), ELBO(warmup_steps=5), ImportanceWeighted(samples=1)],
)
def test_no_setting_of_a_point_is_accepted_and_ignored(
    objective: Objective, posterior: Posterior
) -> None:
    with pytest.raises(ConfigInvalid, match=re.escape("`posterior: {kind: gaussian}`")):
        check_objective(objective, NORMAL, posterior)


@pytest.mark.parametrize("name", ["mixture", "vamp"])
def test_the_wasserstein_objective_draws_from_a_standard_normal(name: str) -> None:
    check_objective(WassersteinMMD(), NORMAL, GaussianPosterior())
    check_objective(WassersteinMMD(), NORMAL, PointPosterior())
    with pytest.raises(ConfigInvalid, match="standard_normal"):
        check_objective(WassersteinMMD(), EVERY_PRIOR[name], GaussianPosterior())
    with pytest.raises(ConfigInvalid, match="from their codes"):
        check_objective(WassersteinMMD(), NORMAL, EVERY_POSTERIOR["quantised"])


def test_every_objective_has_a_posterior() -> None:
    for objective in EVERY_OBJECTIVE.values():
        check_objective(objective, NORMAL, GaussianPosterior())


@pytest.mark.parametrize("preset", PRESETS)
def test_the_parts_of_every_preset_go_together(preset: str) -> None:
    check_config(PRESETS[preset])


def test_a_configuration_is_checked_by_every_rule() -> None:
    point = DetectorConfig(model=VAEConfig(posterior=PointPosterior()), score=SquaredError())
    check_config(point)
    wrong = {
        "the score": replace(point, score=NegativeELBO()),
        "prior is learned": replace(
            point, model=VAEConfig(posterior=PointPosterior(), prior=EVERY_PRIOR["vamp"])
        ),
        "has no KL": replace(point, fit=FitConfig(objective=ELBO(beta=2.0))),
    }
    for message, config in wrong.items():
        with pytest.raises(ConfigInvalid, match=message):
            check_config(config)
