"""Named choices of parts and score, for users who do not want to choose."""

from __future__ import annotations

from dataclasses import replace

from pydantic import ValidationError

from anomaly.assembly import DetectorConfig
from anomaly.data.schema import first_reason
from anomaly.errors import ConfigInvalid
from anomaly.fitting import FitConfig
from anomaly.models.likelihood import LikelihoodConfig, Variance
from anomaly.models.posterior import PointPosterior
from anomaly.models.vae import VAEConfig
from anomaly.scores import NegativeELBO, NegativeIWBound, ReconstructionError, SquaredError

PRESETS: dict[str, DetectorConfig] = {
    # VAE with learned variances, trained on masked and blurred rows, scored by its ELBO.
    "default": DetectorConfig(),
    # The same model, scored by its reconstruction from the posterior mean: several times faster.
    "fast": DetectorConfig(score=ReconstructionError(draws=0)),
    # The same model, scored by a tighter bound.
    "iw": DetectorConfig(score=NegativeIWBound(draws=16)),
    # A plain autoencoder: no posterior width, squared error.
    "autoencoder": DetectorConfig(
        model=VAEConfig(
            posterior=PointPosterior(), likelihood=LikelihoodConfig(variance=Variance.UNIT)
        ),
        score=SquaredError(),
    ),
    # The VAE of the textbooks: nothing masked or blurred.
    "vae": DetectorConfig(fit=FitConfig(mask_rate=0.0, noise=0.0), score=NegativeELBO()),
}


def preset_config(name: str, *, alpha: float | None = None) -> DetectorConfig:
    """The configuration of that name, at that false-alarm rate.

    Raises:
        ConfigInvalid: no preset has that name, or alpha is not between 0 and 1.
    """
    if name not in PRESETS:
        raise ConfigInvalid(f"no preset is named {name!r}. There are: {', '.join(PRESETS)}.")
    try:
        return replace(PRESETS[name], alpha=alpha)
    except ValidationError as error:
        raise ConfigInvalid(first_reason(error)) from error
