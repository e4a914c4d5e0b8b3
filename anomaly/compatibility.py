"""Which parts go together. Every rule stands here, and says what to do instead."""

from __future__ import annotations

from anomaly.errors import ConfigInvalid
from anomaly.models.objective import ELBO, ImportanceWeighted, Objective, WassersteinMMD
from anomaly.models.posterior import GaussianPosterior, Posterior
from anomaly.models.prior import Prior, StandardNormalPrior
from anomaly.scores import ExemplarKL, NegativeELBO, NegativeIWBound, Score

NEEDS_A_DENSITY = NegativeELBO | NegativeIWBound | ExemplarKL


def check_score(score: Score, posterior: Posterior) -> None:
    """Refuse a bound on the likelihood where the posterior is a point.

    Raises:
        ConfigInvalid: the score needs a density that the posterior does not have.
    """
    if _is_point(posterior) and isinstance(score, NEEDS_A_DENSITY):
        raise ConfigInvalid(
            f"the score {score.kind!r} needs a posterior with a width, and the {posterior.kind} "
            "posterior has none. Use the score `squared_error` or `reconstruction`, or "
            "`posterior: {kind: gaussian}`."
        )


def check_prior(prior: Prior, posterior: Posterior) -> None:
    """Refuse a learned prior that nothing is compared with.

    Raises:
        ConfigInvalid: a point has no divergence from a prior.
    """
    if _is_point(posterior) and not isinstance(prior, StandardNormalPrior):
        raise ConfigInvalid(
            f"the {prior.kind} prior is learned from the KL, and the {posterior.kind} posterior "
            "has none. Use `posterior: {kind: gaussian}`, or `prior: {kind: standard_normal}`."
        )


def check_objective(objective: Objective, prior: Prior, posterior: Posterior) -> None:
    """Refuse an objective whose terms or settings would do nothing.

    Raises:
        ConfigInvalid: it weighs a KL or a density that the posterior does not have, or compares
            latents with a prior that it cannot draw from.
    """
    match objective:
        case ELBO() if _is_point(posterior) and objective != ELBO():
            raise ConfigInvalid(
                f"the {posterior.kind} posterior has no KL, so beta, capacity and warmup_steps "
                "would do nothing. Leave them out, or use `posterior: {kind: gaussian}`."
            )
        case ImportanceWeighted() if _is_point(posterior):
            raise ConfigInvalid(
                f"the objective {objective.kind!r} needs a posterior with a width, and the "
                f"{posterior.kind} posterior has none. Use `objective: {{kind: elbo}}`, or "
                "`posterior: {kind: gaussian}`."
            )
        case WassersteinMMD() if not isinstance(prior, StandardNormalPrior):
            raise ConfigInvalid(
                f"the objective {objective.kind!r} compares the latents with standard normal "
                f"draws, not with a {prior.kind} prior. Use `prior: {{kind: standard_normal}}`, or "
                "`objective: {kind: elbo}`."
            )
        case WassersteinMMD() if posterior.kind == "quantised":
            raise ConfigInvalid(
                f"the objective {objective.kind!r} would draw latents from their codes to the "
                "prior. Use `objective: {kind: elbo}`, or `posterior: {kind: point}`."
            )


def _is_point(posterior: Posterior) -> bool:
    return not isinstance(posterior, GaussianPosterior)
