"""The one sequence from normal records to a detector.

Everything that shapes a score is a function of the fit rows alone (and of early-stop rows, where
some are held out); the calibration rows only meet the finished score.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from dataclasses import dataclass as plain_dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from anomaly.arrays import Bool, Features, Float64, Int64, Objects
from anomaly.backends.backend import (
    BLOCK_ROWS,
    Backend,
    Device,
    ScoringModel,
    open_backend,
    trained_on,
)
from anomaly.baseline import Baseline
from anomaly.calibration import Rule, calibrate, supported
from anomaly.compatibility import check_objective, check_prior, check_score
from anomaly.contamination import Contamination, ContaminationWarning
from anomaly.data.records import Records, check_nullability
from anomaly.data.schema import STRICT, Schema
from anomaly.data.splits import Splits
from anomaly.detector import Card, Detector
from anomaly.fitting import Corruption, FitConfig, Fitted, Progress, fit
from anomaly.models.likelihood import ProductLikelihood
from anomaly.models.ops import BLOCK_MULTIPLE
from anomaly.models.vae import VAEConfig, assemble_vae
from anomaly.notes import noted
from anomaly.preprocessing.fit import fit_preprocessor
from anomaly.preprocessing.preprocessor import PreprocessingConfig, Preprocessor
from anomaly.preprocessing.watched import WatchedColumns
from anomaly.reference import Reference
from anomaly.scores import DEFAULT_SCORE, ROWS, MissingFill, RememberingScore, Score

MOST_FILL_ROWS = 5_000
"""Mean terms are taken over at most so many fit rows: more would not move a mean."""


@dataclass(frozen=True, config=STRICT)
class DetectorConfig:
    """Everything that shapes a detector besides the data and the seed.

    Attributes:
        alpha: The false-alarm rate; None is 0.01, or the smallest that the rows support.
        members: Networks of the same parts from different seeds, whose scores are averaged (deep
            ensembles; Lakshminarayanan et al. 2017). Fitting, scoring and size grow with them.
        block_rows: Rows of a scoring block; part of what makes scores equal to the bit.
    """

    preprocessing: PreprocessingConfig = PreprocessingConfig()
    model: VAEConfig = VAEConfig()
    fit: FitConfig = FitConfig()
    score: Annotated[Score, Field(discriminator="kind")] = DEFAULT_SCORE
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = None
    rule: Rule = Rule.CONFORMAL
    members: Annotated[int, Field(ge=1, le=64)] = 1
    block_rows: Annotated[int, Field(ge=BLOCK_MULTIPLE, le=65_536, multiple_of=BLOCK_MULTIPLE)] = (
        BLOCK_ROWS
    )


def check_config(config: DetectorConfig) -> None:
    """Refuse parts that do not go together, before any row is read.

    Raises:
        ConfigInvalid: see `anomaly.compatibility`.
    """
    model = config.model
    check_prior(model.prior, model.posterior)
    check_objective(config.fit.objective, model.prior, model.posterior)
    check_score(config.score, model.posterior)


@plain_dataclass(frozen=True)
class Assembled:
    """A detector, and how it came to be.

    Attributes:
        ranking: Ranks training rows by how odd they are: the detector, or the same model scored
            by its reconstruction where the detector's score remembers these very rows. No
            verdicts: p-values belong to the detector's own score.
        fitted: The looks at the first member.
        notes: What the user was warned of, in words.
    """

    detector: Detector
    ranking: Detector
    fitted: Fitted
    notes: tuple[str, ...]


def assemble(
    schema: Schema,
    records: Records,
    splits: Splits,
    config: DetectorConfig,
    *,
    seed: int,
    device: Device = Device.AUTO,
    groups: Objects | None = None,
    exchangeability: str = "new normal rows come from the same population as the calibration rows",
    data: dict[str, str] | None = None,
    on_look: Callable[[Progress], None] | None = None,
) -> Assembled:
    """Preprocess, fit, score and calibrate.

    Args:
        records: Normal rows; the splits index them.
        groups: (N,) the object each row measures. With groups the splits keep them whole, and
            each calibration group counts once, with its highest score: the guarantee then is
            that a normal group is flagged at all with probability at most alpha.

    Raises:
        ConfigInvalid: parts that do not go together.
        SchemaMismatch: the records do not fit the schema.
        TrainingDiverged: the fit broke down.
        AlphaNotSupported: too few calibration rows, or groups, for the alpha that was given.
    """
    schema.check_names(tuple(records.columns))
    check_nullability(schema.required, records)
    check_config(config)
    unit = "row" if groups is None else "group"
    if config.alpha is not None:
        units = splits.calibration if groups is None else set(groups[splits.calibration])
        supported(config.alpha, len(units), unit)
    with noted() as notes:
        preprocessor = fit_preprocessor(schema, records.take(splits.fit), config.preprocessing)
        fit_rows = preprocessor.transform(records.take(splits.fit))
        early_stop_rows = preprocessor.transform(records.take(splits.early_stop))
        fitted, model, seen, usual_scores = _fit_model(
            preprocessor, fit_rows, early_stop_rows, config, seed, device, on_look
        )
        backend = open_backend(model, None, device, config.block_rows)
        calibration_rows = preprocessor.transform(records.take(splits.calibration))
        terms = backend.score_features(calibration_rows)
        scores = terms.scores
        if groups is not None:
            scores = highest_of_each(scores, groups[splits.calibration])
        calibration = calibrate(scores, config.alpha, config.rule, unit)
        ranking = _ranking(backend, seen, device)
        usual = terms if ranking is backend else ranking.score_features(calibration_rows)
        found = Contamination.of_scores(usual.scores)
        if found.is_likely:
            warnings.warn(found.message, ContaminationWarning, stacklevel=2)
    card = Card(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        rows={name: len(rows) for name, rows in asdict(splits).items()},
        unit_of_calibration=unit,
        exchangeability=exchangeability,
        metrics={},
        notes=tuple(notes),
        data=data or {},
        config={"seed": seed, **as_plain(config)},
        versions=library_versions(),
    )
    columns = preprocessor.features.target_columns
    watched, seen_rows = WatchedColumns.of(schema), records.take(splits.fit)
    reference = Reference.of(
        watched.numbers, watched.categories, watched.watched(seen_rows), usual_scores
    )
    baseline = Baseline.of(columns, terms, model.score)
    detector = Detector(preprocessor, calibration, baseline, reference, card, backend)
    by_rank = replace(
        detector, baseline=Baseline.of(columns, usual, ranking.model.score), backend=ranking
    )
    return Assembled(detector, by_rank, fitted, tuple(notes))


def _ranking(backend: Backend, seen: Features, device: Device) -> Backend:
    """What ranks training rows: a score that remembers them would find each beside itself."""
    model = backend.model
    if not isinstance(model.score, RememberingScore):
        return backend
    forgetful = replace(model, score=DEFAULT_SCORE)
    filled = _filled(forgetful, seen, device, backend.block_rows)
    return open_backend(filled, None, device, backend.block_rows)


def _fit_model(
    preprocessor: Preprocessor,
    fit_rows: Features,
    early_stop_rows: Features,
    config: DetectorConfig,
    seed: int,
    device: Device,
    on_look: Callable[[Progress], None] | None,
) -> tuple[Fitted, ScoringModel, Features, Float64]:
    """The looks at the first member, the model, the untrimmed rows that shaped it, and scores of
    some of them."""
    counts = preprocessor.features.counts
    likelihood = ProductLikelihood(
        config.model.likelihood, counts.gaussian, counts.bernoulli, counts.classes
    )
    vae = assemble_vae(
        config.model, fit_rows.inputs.shape[1], fit_rows.context.shape[1], likelihood
    )
    where = trained_on(device)
    owner, is_number = preprocessor.features.input_targets
    fitted = [
        fit(
            vae,
            config.fit,
            fit_rows,
            early_stop_rows,
            Corruption(owner, is_number),
            member_seed,
            where,
            on_look,
        )
        for member_seed in member_seeds(seed, config.members)
    ]
    rng = np.random.default_rng([seed, 1])
    constants = config.score.constants(vae, owner, rng)
    model = ScoringModel(
        vae,
        tuple({**of.parameters, **constants} for of in fitted),
        config.score,
        MissingFill(np.zeros(likelihood.targets), 0.0),
    )
    seen = _together(
        _taken(fit_rows, kept_by_most([of.fit_kept for of in fitted])),
        _taken(early_stop_rows, kept_by_most([of.early_stop_kept for of in fitted])),
    )
    if isinstance(config.score, RememberingScore):
        finished, scores = remembering(model, config.score, seen, rng, device, config.block_rows)
    else:
        finished = _filled(model, seen, device, config.block_rows)
        scores = _scores(finished, seen, device, config.block_rows)
    return fitted[0], finished, seen, scores


def kept_by_most(kept: Sequence[Bool]) -> Int64:
    """Ascending numbers of the rows that at least half of the members do not leave aside.

    Never none: a member keeps more than half of the rows, and so does the mean over members.
    """
    return np.flatnonzero(np.mean(kept, axis=0) >= 0.5)


def member_seeds(seed: int, members: int) -> list[int]:
    """A seed for each network of an ensemble; the first is the seed itself."""
    others = np.random.default_rng([seed, 2]).integers(2**31, size=members - 1)
    return [seed, *others.tolist()]


def remembering(
    model: ScoringModel,
    score: RememberingScore,
    seen: Features,
    rng: np.random.Generator,
    device: Device,
    block_rows: int,
) -> tuple[ScoringModel, Float64]:
    """The model with rows to compare with: those that shaped it, as far as they are wanted.

    A remembered row is its own neighbour, so usual terms and scores, which come second, are those
    of one tenth of the rows beside a model that remembers the others.
    """

    def with_rows(numbers: Int64) -> ScoringModel:
        chosen = np.sort(numbers[: score.most_rows])
        backend = open_backend(model, None, device, block_rows)
        kept = backend.remembered(seen.take(chosen), score)
        members = zip(model.members, kept, strict=True)
        return replace(model, members=tuple({**m, ROWS: of_rows} for m, of_rows in members))

    order = rng.permutation(len(seen))
    asked, others = np.split(order, [-(-len(order) // 10)])
    beside = with_rows(others if len(others) else order)
    usual = seen.take(np.sort(asked))
    filled = _filled(beside, usual, device, block_rows)
    return replace(with_rows(order), fill=filled.fill), _scores(filled, usual, device, block_rows)


def _filled(model: ScoringModel, seen: Features, device: Device, block_rows: int) -> ScoringModel:
    """The model with the usual terms of rows, which stand in for missing entries."""
    rows = _some(seen)
    backend = open_backend(model, None, device, block_rows)
    return replace(model, fill=MissingFill.of(backend.raw_terms(rows), rows.observed))


def _scores(model: ScoringModel, seen: Features, device: Device, block_rows: int) -> Float64:
    """Scores of some of the rows."""
    return open_backend(model, None, device, block_rows).score_features(_some(seen)).scores


def _some(rows: Features) -> Features:
    """At most `MOST_FILL_ROWS`, evenly from all over the file, which may be in order of time."""
    of = np.linspace(0, len(rows) - 1, min(len(rows), MOST_FILL_ROWS)).astype(np.int64)
    return _taken(rows, of)


def _taken(rows: Features, numbers: Int64) -> Features:
    """These rows; no copy of a large table where they are all."""
    return rows if len(numbers) == len(rows) else rows.take(numbers)


def _together(first: Features, second: Features) -> Features:
    if not len(second):
        return first
    pairs = zip(_arrays(first), _arrays(second), strict=True)
    return Features(*(np.concatenate(pair) for pair in pairs))


def _arrays(features: Features) -> tuple[Any, ...]:
    return (features.inputs, features.targets, features.observed, features.context)


def highest_of_each(scores: Float64, groups: Objects) -> Float64:
    """(G,) the highest score of each group, in no particular order."""
    _, member = np.unique(groups.astype(str), return_inverse=True)
    highest = np.full(member.max(initial=-1) + 1, -np.inf)
    np.maximum.at(highest, member, scores)
    return highest


def as_plain(config: DetectorConfig) -> dict[str, Any]:
    """The configuration as dictionaries and lists, as JSON has them."""
    plain: dict[str, Any] = TypeAdapter(DetectorConfig).dump_python(config, mode="json")
    return plain


def library_versions() -> dict[str, str]:
    """Versions of what shapes the numbers."""
    names = ("anomaly-vae", "numpy", "torch", "scikit-learn", "scipy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
