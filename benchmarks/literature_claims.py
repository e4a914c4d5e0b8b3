"""What the literature says of autoencoders, each claim as a list of things to measure.

Every model is made by `anomaly.assembly.assemble` from the public parts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from anomaly.arrays import Float64
from anomaly.assembly import Assembled, DetectorConfig, assemble
from anomaly.backends.backend import Device
from anomaly.data.frames import records_from_array, records_from_frame, schema_of_array
from anomaly.data.schema import Column, Kind, Role, Schema
from anomaly.data.splits import split_rows
from anomaly.detector import Detector
from anomaly.fitting import FitConfig
from anomaly.models.networks import DenseNetworks
from anomaly.models.objective import ELBO
from anomaly.models.posterior import QuantisedPosterior
from anomaly.models.prior import MixturePrior, Prior, StandardNormalPrior, VampPrior
from anomaly.models.vae import VAEConfig
from anomaly.presets import LEAST_SQUARES, PRESETS
from anomaly.scores import NegativeELBO
from benchmarks import literature_measures as measures
from benchmarks.labelled import adbench, read_adbench
from benchmarks.literature_tables import (
    CENTRES,
    RADIUS,
    SENSORS,
    clusters,
    digits,
    factored,
    in_plane,
    pumps,
)
from benchmarks.protocol import split
from benchmarks.record import Record

Item = tuple[Record, Callable[[], Record]]
"""What tells a measurement from the others of its claim, and how to take it."""

SMALL = DenseNetworks(hidden=(32, 32))
STEPS, LONG_STEPS = 800, 2_500
"""The second where a prior has to find its clusters, which takes time."""
SEEDS = (0,)

DIGIT_LATENTS = 8
SHOWN_DIGITS, SHOWN_POINTS = 12, 300

BETAS = (0.01, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0)
CAPACITIES = (1.0, 3.0, 6.0)
CAPACITY_WEIGHT = 10.0
FACTOR_LATENTS = 8

WORDS = ((4, 4), (16, 4), (64, 4), (256, 4), (64, 1), (64, 2), (64, 8))
"""Codes, and groups of two latents that are snapped to one of them."""

LATENTS = (1, 2, 3, 5, 8)
FLOAT_BITS = 32
TABLES = ("6_cardio", "20_letter", "28_pendigits")
LATENT_SIZES = (2, 8, 32)


def fitted(rows: Float64, config: DetectorConfig, seed: int) -> Assembled:
    """A detector of normal rows (N, D), on one core; a tenth is held out to judge it by."""
    schema = schema_of_array(rows.shape[1])
    splits = split_rows(len(rows), seed=seed, early_stop_share=0.1)
    with warnings.catch_warnings():
        # Constant pixels and small samples are no finding here.
        warnings.simplefilter("ignore")
        records = records_from_array(rows, schema)
        return assemble(schema, records, splits, config, seed=seed, device=Device.CPU)


def small(preset: str, latent: int | None = None, **model: Any) -> DetectorConfig:
    """A preset with the small networks and few steps, that nothing hides or blurs."""
    chosen = PRESETS[preset]
    return replace(
        chosen,
        model=replace(chosen.model, networks=SMALL, latent=latent, **model),
        fit=replace(chosen.fit, steps=STEPS, batch_rows=128, mask_rate=0.0, noise=0.0),
    )


# ---- Holes in the latent space


def holes() -> Iterator[Item]:
    """Digits decoded from drawn latents, beside digits decoded from real ones."""
    for seed in SEEDS:
        yield {"samples": "real rows", "seed": seed}, partial(_real_digits, seed)
        for name, preset, from_latents in (
            ("autoencoder, N(0, 1)", "autoencoder", False),
            ("autoencoder, fitted Gaussian", "autoencoder", True),
            ("Wasserstein autoencoder, N(0, 1)", "wae", False),
            ("VAE, beta 1, N(0, 1)", "vae", False),
        ):
            yield (
                {"samples": name, "seed": seed},
                partial(_drawn_digits, preset, from_latents, seed),
            )


def _real_digits(seed: int) -> Record:
    train, held_out = digits()
    return {
        "relative_distance": 1.0,
        "told_apart": measures.told_apart(train[: len(held_out)], held_out, seed),
        "shown": _pixels(held_out),
    }


def _drawn_digits(preset: str, from_latents: bool, seed: int) -> Record:
    train, held_out = digits()
    detector = fitted(train, small(preset, DIGIT_LATENTS), seed).detector
    rng = np.random.default_rng([19, seed])
    if from_latents:
        latents = detector.encode(train)
        z = rng.multivariate_normal(latents.mean(0), np.cov(latents.T), len(held_out))
    else:
        z = rng.standard_normal((len(held_out), DIGIT_LATENTS))
    drawn, decoded = decode(detector, z), decode(detector, detector.encode(held_out))
    return {
        "relative_distance": measures.relative_distance(drawn, decoded, train),
        "told_apart": measures.told_apart(drawn, decoded, seed),
        "reconstruction_error": float(((decoded - held_out) ** 2).mean()),
        "shown": _pixels(drawn),
    }


def decode(detector: Detector, z: Float64) -> Float64:
    """(N, D) rows of numbers, decoded from latents (N, L); a constant column stays 0."""
    means, probabilities, *classes = detector.backend.decode(z, np.zeros((len(z), 0), np.float32))
    restored = detector.preprocessor.restore(means, probabilities, classes)
    nothing = np.zeros(len(z))
    return np.column_stack([restored.get(c.name, nothing) for c in detector.schema.features])


def _pixels(rows: Float64) -> list[list[int]]:
    shown: list[list[int]] = np.clip(np.rint(rows[:SHOWN_DIGITS]), 0, 16).astype(int).tolist()
    return shown


# ---- beta, capacity, active units and factors


def beta() -> Iterator[Item]:
    """A table of five known factors under a KL of growing weight, or held to a capacity."""
    for seed in SEEDS:
        for weight in BETAS:
            yield (
                {"kl": "beta", "beta": weight, "seed": seed},
                partial(_of_factors, ELBO(beta=weight), seed),
            )
        for capacity in CAPACITIES:
            objective = ELBO(beta=CAPACITY_WEIGHT, capacity=capacity)
            yield (
                {"kl": "capacity", "beta": CAPACITY_WEIGHT, "capacity": capacity, "seed": seed},
                partial(_of_factors, objective, seed),
            )


def _of_factors(objective: ELBO, seed: int) -> Record:
    rows, _ = factored(2000, seed)
    unseen, factors = factored(1000, seed + 1000)
    # Unit variance, as in Higgins et al.: a variance that is learned would give way to beta.
    config = small("vae", FACTOR_LATENTS, likelihood=LEAST_SQUARES)
    config = replace(config, fit=replace(config.fit, learning_rate=5e-3, objective=objective))
    done = fitted(rows, config, seed)
    latents = done.detector.encode(unseen)
    return {
        "active_units": measures.active_units(latents),
        "factor_gap": measures.factor_gap(factors, latents),
        **_held_out(done),
    }


def _held_out(done: Assembled) -> Record:
    """Figures of the look that was kept, on rows that nothing was fitted to; nats a row."""
    best = done.fitted.best
    assert best.held_out
    return {
        "reconstruction": best.reconstruction,
        "kl_nats": best.kl,
        "negative_elbo": best.reconstruction + best.kl,
    }


# ---- Quantisation


def quantisation() -> Iterator[Item]:
    """What the table of five factors loses in words, in few latents, in principal components."""
    for codes, groups in WORDS:
        yield {"model": "vq", "codes": codes, "groups": groups}, partial(_quantised, codes, groups)
    for latent in LATENTS:
        yield {"model": "autoencoder", "latents": latent}, partial(_squeezed, latent)
        yield {"model": "PCA", "latents": latent}, partial(_projected, latent)


def _quantised(codes: int, groups: int) -> Record:
    (train, _), (held_out, _) = factored(2000, 0), factored(1000, 1000)
    posterior = QuantisedPosterior(codes=codes)
    config = small(
        "vq", groups * posterior.code_width, posterior=posterior, likelihood=LEAST_SQUARES
    )
    detector = fitted(train, config, 0).detector
    latents = detector.encode(held_out)
    return {
        "bits": measures.bits(codes, groups),
        "used_codes": measures.used_codes(latents, posterior.code_width),
        "unexplained": _unexplained(held_out, decode(detector, latents)),
    }


def _squeezed(latent: int) -> Record:
    (train, _), (held_out, _) = factored(2000, 0), factored(1000, 1000)
    detector = fitted(train, small("autoencoder", latent), 0).detector
    expected = decode(detector, detector.encode(held_out))
    return {"bits": FLOAT_BITS * latent, "unexplained": _unexplained(held_out, expected)}


def _projected(latent: int) -> Record:
    (train, _), (held_out, _) = factored(2000, 0), factored(1000, 1000)
    basis = PCA(latent, random_state=0).fit(train)
    expected = basis.inverse_transform(basis.transform(held_out))
    return {"bits": FLOAT_BITS * latent, "unexplained": _unexplained(held_out, expected)}


def _unexplained(rows: Float64, expected: Float64) -> float:
    """Share of the rows' variance that is lost, all columns together."""
    return float(((rows - expected) ** 2).mean() / rows.var(axis=0).mean())


# ---- The latent size


def latent_size() -> Iterator[Item]:
    """Real tables through latents of many sizes, under the light KL and the whole one."""
    for table in TABLES:
        if table not in adbench():
            continue
        for weight in (0.01, 1.0):
            for latent in LATENT_SIZES:
                yield (
                    {"table": table, "beta": weight, "latents": latent},
                    partial(_of_size, table, weight, latent),
                )


def _of_size(table: str, weight: float, latent: int) -> Record:
    labelled = read_adbench(adbench()[table])
    judged = split(labelled.values, labelled.is_anomalous, seed=0)
    default = DetectorConfig(
        model=VAEConfig(networks=SMALL, latent=latent),
        fit=FitConfig(steps=STEPS, batch_rows=128, objective=ELBO(beta=weight)),
    )
    config = default if weight < 1 else replace(default, score=NegativeELBO())
    done = fitted(judged.train, config, 0)
    normal = judged.test[~judged.is_anomalous]
    scores = done.detector.anomaly_score(judged.test)
    return {
        "columns": judged.train.shape[1],
        "active_units": measures.active_units(done.detector.encode(normal)),
        "auroc": float(roc_auc_score(judged.is_anomalous, scores)),
        **_held_out(done),
    }


# ---- Context


def context() -> Iterator[Item]:
    """Pumps of three sizes, the size told in three ways."""
    for preset in ("default", "elbo"):
        for seed in SEEDS:
            for told in ("left out", "feature", "context"):
                yield (
                    {"preset": preset, "told": told, "seed": seed},
                    partial(_of_pumps, preset, told, seed),
                )


def _of_pumps(preset: str, told: str, seed: int) -> Record:
    data = pumps(seed)
    role = {"left out": Role.IGNORE, "feature": Role.FEATURE, "context": Role.CONTEXT}[told]
    sensors = [Column(name, Kind.NUMERIC) for name in SENSORS]
    schema = Schema((*sensors, Column("machine", Kind.CATEGORICAL, role)))
    chosen = PRESETS[preset]
    config = replace(
        chosen,
        model=replace(chosen.model, networks=SMALL),
        fit=replace(chosen.fit, steps=STEPS, batch_rows=128),
    )
    records = records_from_frame(data.train, schema)
    splits = split_rows(len(records), seed=seed)
    done = assemble(schema, records, splits, config, seed=seed, device=Device.CPU)
    scores = done.detector.anomaly_score(data.test)
    return {"auroc": float(roc_auc_score(data.is_anomalous, scores))}


# ---- Priors of clustered rows


def clustered() -> Iterator[Item]:
    """Six clusters on a ring, drawn from models of three priors."""
    priors: dict[str, Prior] = {
        "standard normal": StandardNormalPrior(),
        "mixture": MixturePrior(),
        "VampPrior": VampPrior(),
    }
    for seed in SEEDS:
        yield {"prior": "real rows", "seed": seed}, partial(_real_clusters, seed)
        for name, prior in priors.items():
            yield {"prior": name, "seed": seed}, partial(_drawn_clusters, prior, seed)


def _real_clusters(seed: int) -> Record:
    return _of_clusters(clusters(2000, seed + 1000))


def _drawn_clusters(prior: Prior, seed: int) -> Record:
    config = small("vae", 2, prior=prior)
    config = replace(config, fit=replace(config.fit, steps=LONG_STEPS))
    done = fitted(clusters(2000, seed), config, seed)
    drawn = done.detector.sample(2000, seed)
    return _of_clusters(np.column_stack(list(drawn.values()))) | _held_out(done)


def _of_clusters(rows: Float64) -> Record:
    flat = in_plane(rows)
    return {
        "between": float(measures.between(flat, CENTRES, RADIUS).mean()),
        "shown": np.round(flat[:SHOWN_POINTS], 2).tolist(),
    }
