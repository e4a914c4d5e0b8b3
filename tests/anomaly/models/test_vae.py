"""Parts put together: sizes, and that every parameter matters."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from anomaly.models.likelihood import ProductLikelihood
from anomaly.models.posterior import Posterior
from anomaly.models.vae import VAEConfig, assemble_vae, latent_size
from tests.contracts.parts import (
    EVERY_LIKELIHOOD,
    EVERY_POSTERIOR,
    NUMPY,
    random_features,
    small_model,
)


@pytest.mark.parametrize("likelihood", EVERY_LIKELIHOOD.values(), ids=EVERY_LIKELIHOOD)
@pytest.mark.parametrize("posterior", EVERY_POSTERIOR.values(), ids=EVERY_POSTERIOR)
def test_the_sizes_of_the_parts_fit_together(
    likelihood: ProductLikelihood, posterior: Posterior
) -> None:
    vae, parameters = small_model(likelihood, posterior)
    rows = random_features(vae, 32)
    q = vae.encode(NUMPY, parameters, rows.inputs, rows.context)
    z = q.sample(NUMPY, np.zeros((1, 1, 3), np.float32))
    outputs = vae.decode(NUMPY, parameters, z, rows.context)
    assert q.loc.shape == (32, 3)
    assert outputs.shape == (1, 32, likelihood.outputs)


def test_context_is_told_to_encoder_and_decoder() -> None:
    vae, parameters = small_model(EVERY_LIKELIHOOD["mixed"])
    rows = random_features(vae, 16)
    elsewhere = rows.context + 1
    z = np.zeros((1, 16, 3), np.float32)
    here, there = (
        (
            vae.encode(NUMPY, parameters, rows.inputs, context).loc,
            vae.decode(NUMPY, parameters, z, context),
        )
        for context in (rows.context, elsewhere)
    )
    assert (here[0] != there[0]).all()
    assert (here[1] != there[1]).all()


def test_the_default_latent_is_as_wide_as_the_row_up_to_128() -> None:
    assert [latent_size(d) for d in (1, 7, 128, 5000)] == [1, 7, 128, 128]
    assert assemble_vae(VAEConfig(), 9, 0, EVERY_LIKELIHOOD["mixed"]).sizes.latent == 5
    assert assemble_vae(VAEConfig(latent=2), 9, 0, EVERY_LIKELIHOOD["mixed"]).sizes.latent == 2


def test_fresh_parameters_follow_from_the_seed_alone() -> None:
    vae, _ = small_model(EVERY_LIKELIHOOD["mixed"])
    first, again, other = (vae.initial(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)
    assert {str(value.dtype) for value in first.values()} == {"float32"}


def test_a_latent_without_width_is_refused() -> None:
    with pytest.raises(ValidationError):
        VAEConfig(latent=0)
