"""Parts put together: sizes, and that every parameter matters."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from anomaly.errors import ConfigInvalid
from anomaly.models.likelihood import LikelihoodConfig, ProductLikelihood
from anomaly.models.networks import DenseNetworks
from anomaly.models.posterior import Posterior, QuantisedPosterior
from anomaly.models.prior import Prior
from anomaly.models.vae import VAEConfig, assemble_vae, latent_size
from tests.contracts.parts import (
    EVERY_LATENT,
    EVERY_LIKELIHOOD,
    NUMPY,
    random_features,
    small_model,
    some_rows,
)


@pytest.mark.parametrize("likelihood", EVERY_LIKELIHOOD.values(), ids=EVERY_LIKELIHOOD)
@pytest.mark.parametrize(("posterior", "prior"), EVERY_LATENT.values(), ids=EVERY_LATENT)
def test_the_sizes_of_the_parts_fit_together(
    likelihood: ProductLikelihood, posterior: Posterior, prior: Prior
) -> None:
    vae, parameters = small_model(likelihood, posterior, prior)
    rows = random_features(vae, 32)
    assert {name: value.shape for name, value in parameters.items()} == vae.shapes()
    q = vae.encode(NUMPY, parameters, rows.inputs, rows.context)
    z = q.sample(NUMPY, np.zeros((1, 1, 3), np.float32))
    outputs = vae.decode(NUMPY, parameters, z, rows.context)
    assert q.loc.shape == (32, 3)
    assert outputs.shape == (1, 32, likelihood.outputs)
    drawn = vae.latent_prior(NUMPY, parameters).sample(5, np.random.default_rng(0))
    assert drawn.shape == (5, 3)


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


def test_wide_tables_have_one_wide_layer_unless_told_otherwise() -> None:
    def hidden(config: VAEConfig, targets: int) -> tuple[int, ...]:
        likelihood = ProductLikelihood(LikelihoodConfig(), targets)
        networks = assemble_vae(config, targets, 0, likelihood).networks
        assert isinstance(networks, DenseNetworks)
        return networks.hidden

    assert [hidden(VAEConfig(), d) for d in (1, 256, 257, 5000)] == [
        (128, 128),
        (128, 128),
        (512,),
        (512,),
    ]
    assert hidden(VAEConfig(networks=DenseNetworks(hidden=(7,))), 5000) == (7,)


def test_the_default_latent_is_as_wide_as_the_row_up_to_256() -> None:
    assert [latent_size(d) for d in (1, 7, 256, 5000)] == [1, 7, 256, 256]
    assert latent_of(VAEConfig()) == 5
    assert latent_of(VAEConfig(latent=2)) == 2


def latent_of(config: VAEConfig) -> int:
    return assemble_vae(config, 9, 0, EVERY_LIKELIHOOD["mixed"]).sizes.latent


def test_a_latent_below_1_is_a_share_of_the_row_and_never_none() -> None:
    assert [latent_of(VAEConfig(latent=share)) for share in (0.999, 0.4, 0.01)] == [5, 2, 1]


def test_latents_are_a_whole_number_of_codes() -> None:
    pairs = QuantisedPosterior(code_width=2)
    assert latent_of(VAEConfig(posterior=pairs)) == 6
    assert latent_of(VAEConfig(posterior=pairs, latent=4)) == 4
    with pytest.raises(ConfigInvalid, match="latent=4"):
        latent_of(VAEConfig(posterior=pairs, latent=3))


@pytest.mark.parametrize(("posterior", "prior"), EVERY_LATENT.values(), ids=EVERY_LATENT)
def test_fresh_parameters_follow_from_the_seed_and_the_rows_alone(
    posterior: Posterior, prior: Prior
) -> None:
    vae, _ = small_model(EVERY_LIKELIHOOD["mixed"], posterior, prior)
    rows = some_rows(4, 2)
    first, again, other = (vae.initial(np.random.default_rng(seed), *rows) for seed in (3, 3, 4))
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)
    assert {str(value.dtype) for value in first.values()} == {"float32"}


def test_a_latent_without_width_is_refused() -> None:
    with pytest.raises(ValidationError):
        VAEConfig(latent=0)


@pytest.mark.parametrize("share", [0.0, 1.5, -0.5])
def test_nor_is_a_share_that_is_none(share: float) -> None:
    with pytest.raises(ValidationError):
        VAEConfig(latent=share)
