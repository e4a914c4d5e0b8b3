"""Named choices of parts and score, for users who do not want to choose."""

from __future__ import annotations

from dataclasses import replace

from pydantic import ValidationError

from anomaly.assembly import DetectorConfig
from anomaly.data.schema import first_reason
from anomaly.errors import ConfigInvalid
from anomaly.fitting import FitConfig
from anomaly.models.likelihood import LikelihoodConfig, Variance
from anomaly.models.networks import DenseNetworks
from anomaly.models.objective import ELBO, ImportanceWeighted, WassersteinMMD
from anomaly.models.posterior import PointPosterior, QuantisedPosterior
from anomaly.models.prior import MixturePrior, VampPrior
from anomaly.models.vae import VAEConfig
from anomaly.preprocessing.preprocessor import NumericInputs, PreprocessingConfig
from anomaly.scores import (
    ExemplarKL,
    MaskedReconstruction,
    NearestRow,
    NegativeELBO,
    NegativeIWBound,
    ReconstructionError,
    SquaredError,
)

STANDARDISED = PreprocessingConfig(numeric_inputs=NumericInputs.STANDARDISED)

LEAST_SQUARES = LikelihoodConfig(variance=Variance.UNIT)

TEXTBOOK = FitConfig(objective=ELBO(beta=1.0))

PRESETS: dict[str, DetectorConfig] = {
    # VAE with learned variances and a light KL, trained on masked and blurred rows, scored by its
    # reconstruction from the posterior mean.
    "default": DetectorConfig(),
    # The same with half the width, a third of the steps and no rank-normal copies.
    "fast": DetectorConfig(
        preprocessing=STANDARDISED,
        model=VAEConfig(networks=DenseNetworks(hidden=(64, 64))),
        fit=FitConfig(steps=1_000),
    ),
    # The default for rows among which anomalies hide: the tenth of largest loss is left aside.
    "robust": DetectorConfig(fit=FitConfig(trim=0.1)),
    # Four of the default, scores averaged.
    "ensemble": DetectorConfig(members=4),
    # The default, scored by the nearest remembered row beside what the model leaves unexplained.
    "nearest": DetectorConfig(score=NearestRow()),
    # Four of these.
    "nearest_ensemble": DetectorConfig(members=4, score=NearestRow()),
    # The VAE of the textbooks: nothing masked or blurred, scored by its ELBO.
    "vae": DetectorConfig(fit=replace(TEXTBOOK, mask_rate=0.0, noise=0.0), score=NegativeELBO()),
    # The VAE, trained on masked and blurred rows.
    "elbo": DetectorConfig(fit=TEXTBOOK, score=NegativeELBO()),
    # That model, scored by a tighter bound.
    "iw": DetectorConfig(fit=TEXTBOOK, score=NegativeIWBound(draws=16)),
    # Trained on the tighter bound, too.
    "iwae": DetectorConfig(
        fit=FitConfig(objective=ImportanceWeighted(samples=8)), score=NegativeIWBound(draws=16)
    ),
    # That model, scored by what it says of hidden columns, too.
    "masked": DetectorConfig(fit=TEXTBOOK, score=MaskedReconstruction()),
    # That model, its latents compared with remembered rows instead of the prior.
    "exemplar": DetectorConfig(fit=TEXTBOOK, score=ExemplarKL()),
    # A strong KL: few latents, and only those that pay twice over.
    "beta": DetectorConfig(fit=FitConfig(objective=ELBO(beta=2.0)), score=NegativeELBO()),
    # The decoder says of each row how well it knows it.
    "sigma": DetectorConfig(
        model=VAEConfig(likelihood=LikelihoodConfig(variance=Variance.PER_ROW)),
        fit=TEXTBOOK,
        score=NegativeELBO(),
    ),
    # Normal rows of several kinds.
    "mixture": DetectorConfig(
        model=VAEConfig(prior=MixturePrior()), fit=TEXTBOOK, score=NegativeELBO()
    ),
    # The same, with the kinds described by rows.
    "vamp": DetectorConfig(model=VAEConfig(prior=VampPrior()), fit=TEXTBOOK, score=NegativeELBO()),
    # PCA: half as many directions as columns, by least squares.
    "linear": DetectorConfig(
        preprocessing=STANDARDISED,
        model=VAEConfig(
            networks=DenseNetworks(hidden=()),
            posterior=PointPosterior(),
            likelihood=LEAST_SQUARES,
            latent=0.5,
        ),
        fit=FitConfig(learning_rate=5e-2, weight_decay=0.0, mask_rate=0.0, noise=0.0),
        score=SquaredError(),
    ),
    # A plain autoencoder: no posterior width, squared error.
    "autoencoder": DetectorConfig(
        model=VAEConfig(posterior=PointPosterior(), likelihood=LEAST_SQUARES), score=SquaredError()
    ),
    # An autoencoder whose latents of all rows together are held to a normal.
    "wae": DetectorConfig(
        model=VAEConfig(posterior=PointPosterior()),
        fit=FitConfig(objective=WassersteinMMD()),
        score=ReconstructionError(draws=0),
    ),
    # An autoencoder whose latents are words of a learned alphabet.
    "vq": DetectorConfig(
        model=VAEConfig(posterior=QuantisedPosterior()), score=ReconstructionError(draws=0)
    ),
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
