"""The standard normal prior."""

from __future__ import annotations

import numpy as np
from scipy import stats

from anomaly.models.posterior import DiagonalNormal
from anomaly.models.prior import StandardNormalPrior
from tests.contracts.parts import NUMPY


def test_its_density_is_scipys() -> None:
    z = np.random.default_rng(0).normal(0, 3, (5, 4, 3))
    expected = np.asarray(stats.norm.logpdf(z)).sum(-1)
    np.testing.assert_allclose(StandardNormalPrior().log_prob(z), expected)


def test_its_kl_integrates_the_log_ratio() -> None:
    """By quadrature over one latent."""
    loc, log_scale = 0.7, -0.4
    q, prior = stats.norm(loc, np.exp(log_scale)), stats.norm()
    z = np.linspace(-12, 12, 100_001)
    integral = np.trapezoid(q.pdf(z) * (q.logpdf(z) - prior.logpdf(z)), z)
    posterior = DiagonalNormal(np.array([[loc]]), np.array([[log_scale]]))
    np.testing.assert_allclose(StandardNormalPrior().kl(NUMPY, posterior), [[integral]], rtol=1e-8)
