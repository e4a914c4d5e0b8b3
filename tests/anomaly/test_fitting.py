"""Training: reproducible, stops at its best, and finds what theory says it must."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from anomaly.arrays import Features
from anomaly.compatibility import check_objective
from anomaly.errors import TrainingDiverged
from anomaly.fitting import Corruption, FitConfig, Fitted, Progress, fit, schedule
from anomaly.models.likelihood import LikelihoodConfig, ProductLikelihood, Variance
from anomaly.models.networks import DenseNetworks
from anomaly.models.objective import ELBO, Objective, loss_of
from anomaly.models.posterior import (
    GaussianPosterior,
    PointPosterior,
    Posterior,
    QuantisedPosterior,
)
from anomaly.models.prior import MixturePrior, Prior, StandardNormalPrior
from anomaly.models.vae import VAE, VAEConfig, assemble_vae
from tests.contracts.parts import (
    EVERY_LATENT,
    EVERY_OBJECTIVE,
    NUMPY,
    UNIT,
    Array,
    batch_of,
    goes_together,
)

QUICK = FitConfig(
    steps=60,
    batch_rows=128,
    check_every=20,
    learning_rate=1e-2,
    lr_warmup_steps=5,
    objective=ELBO(beta=1.0),
)


def features(x: Array, context: Array | None = None) -> Features:
    told = np.zeros((len(x), 0)) if context is None else context
    return Features(x.astype(np.float32), x, np.ones(x.shape, bool), told.astype(np.float32))


def plane(n: int, seed: int) -> Array:
    """Rows near a plane in five dimensions."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(np.random.default_rng(99).normal(size=(5, 5)))[0]
    rows: Array = (rng.normal(size=(n, 5)) * [3.0, 2.0, 0.4, 0.3, 0.2]) @ basis.T
    return rows


FIT, HELD_OUT = features(plane(320, 0)), features(plane(96, 1))


def model(
    config: VAEConfig | None = None, *, inputs: int = 5, context: int = 0, targets: int = 5
) -> VAE:
    config = config or VAEConfig(networks=DenseNetworks(hidden=(16,)), latent=2)
    return assemble_vae(config, inputs, context, ProductLikelihood(config.likelihood, targets))


def own(inputs: int = 5) -> Corruption:
    return Corruption(np.arange(inputs), np.ones(inputs, bool))


def run(
    config: FitConfig = QUICK,
    *,
    seed: int = 0,
    rows: Features = FIT,
    held_out: Features = HELD_OUT,
    vae: VAE | None = None,
) -> Fitted:
    return fit(vae or model(), config, rows, held_out, own(), seed)


class TestReproducibility:
    def test_the_same_seed_gives_the_same_parameters_to_the_bit(self) -> None:
        first, again = run(), run()
        assert first.history == again.history
        for name, value in first.parameters.items():
            np.testing.assert_array_equal(value, again.parameters[name])

    def test_another_seed_gives_others(self) -> None:
        first, other = run(), run(seed=1)
        assert any(
            (first.parameters[name] != other.parameters[name]).any() for name in first.parameters
        )

    def test_parameters_are_numpy_float32(self) -> None:
        parameters = run().parameters
        assert all(isinstance(value, np.ndarray) for value in parameters.values())
        assert {str(value.dtype) for value in parameters.values()} == {"float32"}

    def test_the_global_random_state_is_left_alone(self) -> None:
        import torch

        torch.manual_seed(5)
        before = torch.get_rng_state()
        run()
        assert torch.equal(before, torch.get_rng_state())


TRAINABLE: dict[str, tuple[Objective, Posterior, Prior]] = {
    f"{name}-{latent_name}": (objective, *latent)
    for name, objective in EVERY_OBJECTIVE.items()
    for latent_name, latent in EVERY_LATENT.items()
    if goes_together(partial(check_objective, objective, latent[1], latent[0]))
}


@pytest.mark.parametrize(("objective", "posterior", "prior"), TRAINABLE.values(), ids=TRAINABLE)
def test_one_loop_fits_every_combination_of_parts(
    objective: Objective, posterior: Posterior, prior: Prior
) -> None:
    config = VAEConfig(
        networks=DenseNetworks(hidden=(8,)), posterior=posterior, prior=prior, latent=2
    )
    vae = model(config)
    fitted = run(replace(QUICK, objective=objective), vae=vae)
    assert {name: value.shape for name, value in fitted.parameters.items()} == vae.shapes()
    assert fitted.history[-1].train_reconstruction < fitted.history[0].train_reconstruction
    again = run(replace(QUICK, objective=objective), vae=vae)
    assert again.history == fitted.history


class TestLooks:
    def test_every_look_is_reported_as_it_happens(self) -> None:
        seen: list[Progress] = []
        fitted = fit(model(), QUICK, FIT, HELD_OUT, own(), 0, on_look=seen.append)
        assert tuple(seen) == fitted.history
        assert [look.step for look in seen] == [20, 40, 60]
        assert {look.of_steps for look in seen} == {60}

    def test_a_last_look_follows_the_last_step(self) -> None:
        assert [look.step for look in run(replace(QUICK, steps=50)).history] == [20, 40, 50]
        assert [look.step for look in run(replace(QUICK, steps=1)).history] == [1]

    def test_loss_is_reconstruction_plus_kl_and_falls(self) -> None:
        fitted = run(replace(QUICK, steps=200))
        for look in fitted.history:
            assert look.loss == pytest.approx(look.reconstruction + look.kl, rel=1e-5)
            assert look.train_loss == pytest.approx(
                look.train_reconstruction + look.train_kl, rel=1e-4
            )
            assert look.gradient_norm > 0
            assert 0 <= look.active_units <= 2
        assert fitted.best.loss < fitted.history[0].loss
        assert fitted.best.active_units == 2

    def test_without_early_stop_rows_looks_are_at_fit_rows_with_nothing_hidden(self) -> None:
        vae = model(VAEConfig(posterior=PointPosterior(), latent=2))
        fitted = run(held_out=features(plane(0, 1)), vae=vae)
        assert not any(look.held_out for look in fitted.history)
        # Computed here without the training loop.
        noise = np.zeros((1, 1, 2), np.float32)
        found = loss_of(NUMPY, vae, fitted.parameters, batch_of(FIT), noise, QUICK.objective)
        assert fitted.history[-1].loss == pytest.approx(found.total, rel=1e-5)

    def test_the_best_look_is_the_smallest_held_out_loss(self) -> None:
        fitted = run(replace(QUICK, steps=200))
        losses = [look.loss for look in fitted.history]
        assert fitted.best.loss == min(losses)
        for i, look in enumerate(fitted.history):
            assert look.best == (look.loss < min(losses[:i], default=math.inf))


class TestStopping:
    # So few rows, so wide a net and no noise: it learns them by heart.
    OVERFITTING = FitConfig(
        steps=2000,
        check_every=20,
        patience=3,
        learning_rate=1e-2,
        lr_warmup_steps=0,
        weight_decay=0.0,
        mask_rate=0.0,
        noise=0.0,
        objective=ELBO(beta=0.0),
    )

    def overfitted(self) -> Fitted:
        return run(self.OVERFITTING, rows=features(plane(20, 3)))

    def test_it_stops_after_so_many_looks_without_improvement(self) -> None:
        history = self.overfitted().history
        assert history[-1].step < 2000
        assert [look.best for look in history[-4:]] == [True, False, False, False]

    def test_the_parameters_of_the_best_look_are_kept_not_the_last(self) -> None:
        fitted = self.overfitted()
        best = fitted.best
        assert best.step < fitted.history[-1].step
        # The held-out loss of what was kept, computed here without the training loop.
        batch = batch_of(HELD_OUT)
        vae = model()
        noise = np.random.default_rng(0).standard_normal((200, 1, 2)).astype(np.float32)
        found = loss_of(NUMPY, vae, fitted.parameters, batch, noise, ELBO(beta=0.0))
        worst = max(look.loss for look in fitted.history if look.step > best.step)
        assert found.total == pytest.approx(best.loss, abs=0.3 * (worst - best.loss))

    def test_without_early_stop_rows_it_takes_all_steps_and_keeps_the_last(self) -> None:
        rows, none = features(plane(20, 3)), features(plane(0, 1))
        fitted = run(replace(self.OVERFITTING, steps=400), rows=rows, held_out=none)
        assert fitted.best == fitted.history[-1]
        assert fitted.best.step == 400

    def test_patience_decides_how_long(self) -> None:
        short = run(replace(self.OVERFITTING, patience=1), rows=features(plane(20, 3)))
        assert [look.best for look in short.history[-2:]] == [True, False]


class TestDivergence:
    def test_a_loss_that_is_not_finite_ends_training_with_advice(self) -> None:
        broken = plane(320, 0)
        broken[7, 2] = np.inf
        with pytest.raises(TrainingDiverged, match=r"detector\.fit\.learning_rate"):
            run(rows=features(broken))

    def test_so_does_a_held_out_loss_that_is_not_finite(self) -> None:
        broken = plane(96, 1)
        broken[0, 0] = np.nan
        with pytest.raises(TrainingDiverged, match="loss nan"):
            run(held_out=features(broken))

    def test_so_does_an_absurd_learning_rate(self) -> None:
        with pytest.raises(TrainingDiverged, match="diverged by step"):
            run(replace(QUICK, learning_rate=1e30, lr_warmup_steps=0))


class TestCorruption:
    def test_targets_are_never_corrupted(self) -> None:
        """Inputs that are all hidden carry nothing: the model can only give the mean row."""
        hidden = replace(QUICK, steps=600, mask_rate=0.999, noise=0.0, objective=ELBO(beta=0))
        vae = model(VAEConfig(networks=DenseNetworks(hidden=()), latent=2))
        rows = features(plane(320, 0) + 5.0)
        fitted = run(hidden, vae=vae, rows=rows, held_out=rows)
        zeros = np.zeros((16, 5), np.float32)
        q = vae.encode(NUMPY, fitted.parameters, zeros, np.zeros((16, 0), np.float32))
        z = q.sample(NUMPY, np.zeros((1, 1, 2), np.float32))
        found = vae.decode(NUMPY, fitted.parameters, z, np.zeros((16, 0), np.float32))[0, 0]
        np.testing.assert_allclose(found, rows.targets.mean(0), atol=0.6)

    def test_all_inputs_of_a_target_hide_together(self) -> None:
        """With both copies of a column hidden or seen as one, a copy cannot give it away."""
        twice = np.repeat(plane(320, 0)[:, :1], 2, axis=1)
        rows = Features(
            twice.astype(np.float32),
            twice[:, :1],
            np.ones((320, 1), bool),
            np.zeros((320, 0), np.float32),
        )
        vae = model(
            VAEConfig(
                networks=DenseNetworks(hidden=()),
                posterior=PointPosterior(),
                likelihood=LikelihoodConfig(variance=Variance.UNIT),
                latent=1,
            ),
            inputs=2,
            targets=1,
        )
        config = replace(QUICK, steps=400, mask_rate=0.5, noise=0.0, weight_decay=0.0)
        together, apart = (
            fit(vae, config, rows, rows, Corruption(np.array(owner), np.ones(2, bool)), 0)
            for owner in ([0, 0], [0, 1])
        )
        # Hidden half of the time, both copies leave half of the variance unexplained; hidden
        # apart, only the quarter of rows in which neither is seen does.
        constant = 0.5 * math.log(2 * math.pi)
        left = [
            np.mean([look.train_reconstruction - constant for look in f.history[-5:]])
            for f in (together, apart)
        ]
        assert left[0] > 1.3 * left[1]

    def test_noise_is_added_to_numbers_only(self) -> None:
        """Inputs that are not numbers are trained on as they are: the same as without noise."""
        silent = Corruption(np.arange(5), np.zeros(5, bool))
        config = replace(QUICK, mask_rate=0.0, noise=3.0)
        blurred = fit(model(), config, FIT, HELD_OUT, own(), 0)
        clean = fit(model(), config, FIT, HELD_OUT, silent, 0)
        assert clean.best.train_reconstruction < blurred.best.train_reconstruction - 0.1


def test_context_is_used() -> None:
    """A column that only the context explains is predicted when the context is told."""
    rng = np.random.default_rng(0)
    machine = rng.integers(0, 2, 400).astype(float)[:, None]
    x = 3.0 * (2 * machine - 1) + 0.3 * rng.normal(size=(400, 1))
    # The latent is charged ten-fold, so that it is cheaper to listen than to encode.
    config = replace(QUICK, steps=400, objective=ELBO(beta=10.0))
    losses = []
    for context in (machine, np.zeros_like(machine)):
        rows = features(x, context)
        vae = model(
            VAEConfig(networks=DenseNetworks(hidden=(16,)), latent=1),
            inputs=1,
            context=1,
            targets=1,
        )
        losses.append(fit(vae, config, rows, rows, own(1), 0).best.loss)
    assert losses[0] < losses[1] - 1.0


def test_weight_decay_shrinks_the_weights() -> None:
    sizes = [
        sum(float((value**2).sum()) for value in fitted.parameters.values())
        for fitted in (run(replace(QUICK, weight_decay=decay)) for decay in (0.0, 1.0))
    ]
    assert sizes[1] < 0.8 * sizes[0]


class TestLearningRate:
    def test_it_rises_linearly_then_falls_as_a_half_cosine(self) -> None:
        rates = [schedule(step, 100, 10) for step in range(100)]
        np.testing.assert_allclose(np.diff(rates[:11]), 1 / 11)
        assert rates[10] == 1.0
        assert rates[55] == pytest.approx(0.5)
        assert 0 < rates[-1] < 0.001
        assert (np.diff(rates[10:]) <= 0).all()

    @pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (5, 100), (100, 0), (10, 10)])
    def test_it_stays_between_0_and_1_for_every_length(self, steps: int, warmup: int) -> None:
        rates = [schedule(step, steps, warmup) for step in range(steps)]
        assert all(0 < rate <= 1 for rate in rates)


def with_unit_variance(*, gaussian: bool) -> VAEConfig:
    return VAEConfig(
        networks=DenseNetworks(hidden=()),
        posterior=GaussianPosterior() if gaussian else PointPosterior(),
        likelihood=UNIT,
        latent=2,
    )


def test_a_unit_is_active_if_its_mean_varies_between_rows() -> None:
    """Burda et al. (2016): its variance over the held-out rows is above 0.01."""
    fitted = run(replace(QUICK, steps=20))
    loc = (
        model().encode(NUMPY, fitted.parameters, HELD_OUT.inputs, np.zeros((96, 0), np.float32)).loc
    )
    assert fitted.best.active_units == (loc.var(axis=0) > 0.01).sum()


class TestCodes:
    QUANTISED = replace(QUICK, steps=300, mask_rate=0.0, noise=0.0)

    def fitted(self, codes: int) -> tuple[VAE, Fitted]:
        posterior = QuantisedPosterior(codes=codes, code_width=1)
        config = VAEConfig(
            networks=DenseNetworks(hidden=(16,)), posterior=posterior, likelihood=UNIT, latent=2
        )
        vae = model(config)
        return vae, run(self.QUANTISED, vae=vae, held_out=FIT)

    def test_more_codes_explain_more_and_none_explains_less_than_the_mean(self) -> None:
        constant = 2.5 * math.log(2 * math.pi)
        found = [self.fitted(codes)[1].best.reconstruction - constant for codes in (1, 4, 16)]
        of_the_mean = 0.5 * float(FIT.targets.var(axis=0).sum())
        assert found[0] == pytest.approx(of_the_mean, rel=0.02)
        assert found[0] > 1.5 * found[1]
        assert found[1] > found[2]

    def test_most_codes_are_used(self) -> None:
        vae, fitted = self.fitted(16)
        loc = vae.encode(NUMPY, fitted.parameters, FIT.inputs, FIT.context).loc
        assert len(np.unique(loc)) >= 12


def test_a_mixture_prior_finds_the_two_kinds_of_rows() -> None:
    """Two far clusters: with two components the held-out bound beats that of one normal."""
    rng = np.random.default_rng(0)

    def rows(n: int) -> Features:
        kind = 2.0 * rng.integers(0, 2, (n, 1)) - 1.0
        return features(3.0 * kind * np.ones(5) + 0.1 * rng.normal(size=(n, 5)))

    seen, held_out = rows(320), rows(96)
    config = replace(QUICK, steps=600, mask_rate=0.0, noise=0.0)
    losses = {}
    for prior in (StandardNormalPrior(), MixturePrior(components=2)):
        parts = VAEConfig(networks=DenseNetworks(hidden=(16,)), prior=prior, latent=1)
        losses[prior.kind] = run(config, rows=seen, held_out=held_out, vae=model(parts)).best.loss
    assert losses["mixture"] < losses["standard_normal"] - 0.1


class TestTheory:
    PATIENT = FitConfig(
        steps=1500,
        batch_rows=320,
        learning_rate=2e-2,
        lr_warmup_steps=20,
        weight_decay=0.0,
        mask_rate=0.0,
        noise=0.0,
        check_every=500,
        objective=ELBO(beta=1.0),
    )

    def test_a_linear_autoencoder_spans_the_plane_of_pca(self) -> None:
        """Bourlard & Kamp (1988); and its loss is that of PCA, which no other plane undercuts."""
        x = plane(320, 0) + 2.0
        rows = features(x)
        fitted = run(
            self.PATIENT, rows=rows, held_out=rows, vae=model(with_unit_variance(gaussian=False))
        )
        pca = PCA(2).fit(x)

        angles = subspace_angles(fitted.parameters["decoder.0.weight"], pca.components_.T)
        assert np.degrees(angles).max() < 1.0

        left = ((x - pca.inverse_transform(pca.transform(x))) ** 2).sum(1).mean() / 2
        constant = 2.5 * math.log(2 * math.pi)
        assert left - 1e-4 <= fitted.best.reconstruction - constant <= 1.01 * left + 1e-4

    def test_a_linear_vae_reaches_the_likelihood_of_probabilistic_pca(self) -> None:
        """With unit noise the optimum is known (Tipping & Bishop 1999; Lucas et al. 2019)."""
        x = plane(320, 0)
        rows = features(x)
        fitted = run(
            self.PATIENT, rows=rows, held_out=rows, vae=model(with_unit_variance(gaussian=True))
        )
        eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[::-1]
        kept = np.maximum(eigenvalues[:2], 1.0)
        best = 0.5 * (
            5 * math.log(2 * math.pi)
            + np.log(kept).sum()
            + (eigenvalues[:2] / kept).sum()
            + eigenvalues[2:].sum()
        )
        # The decoder is linear, so these four draws give the expectation exactly.
        corners = math.sqrt(2) * np.eye(2)[:, None, :]
        draws = np.concatenate([corners, -corners])
        vae = model(with_unit_variance(gaussian=True))
        found = loss_of(NUMPY, vae, fitted.parameters, batch_of(rows), draws, ELBO(beta=1.0)).total
        assert best - 1e-4 <= found <= best + 0.02

    def test_a_large_beta_switches_the_latents_off(self) -> None:
        strong = replace(QUICK, steps=300, objective=ELBO(beta=100.0))
        assert run(strong).history[-1].active_units == 0

    def test_a_capacity_is_what_the_kl_goes_to(self) -> None:
        config = replace(
            self.PATIENT,
            steps=600,
            learning_rate=1e-2,
            objective=ELBO(beta=20.0, capacity=1.5),
        )
        assert run(config, held_out=FIT).history[-1].kl == pytest.approx(1.5, abs=0.05)
