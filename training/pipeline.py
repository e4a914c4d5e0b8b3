"""From a file of rows to a registered detector: read, split, assemble, evaluate, log, register."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from anomaly.arrays import Bool, Int64, Objects
from anomaly.artifact.card import card_text
from anomaly.artifact.directory import save
from anomaly.artifact.mlflow_flavor import check_name, check_registry, log_model
from anomaly.assembly import Assembled, assemble, highest_of_each
from anomaly.calibration import calibrate
from anomaly.data.options import ReadOptions
from anomaly.data.readers import read_records
from anomaly.data.records import Records
from anomaly.data.schema import Column, Kind, Role, Schema
from anomaly.data.splits import (
    SplitConfig,
    Splits,
    duplicate_share,
    split_groups,
    split_rows,
    split_times,
)
from anomaly.detector import Detector
from anomaly.errors import BadData, ConfigInvalid, DependencyDown
from anomaly.explain import Baseline
from anomaly.fitting import Progress
from training.config import RunConfig, to_plain, to_yaml
from training.evaluate import Evaluation, evaluate
from training.report import figures
from training.suspects import suspects_csv
from training.tracking import Tracker, tracked_run


@dataclass(frozen=True)
class Labels:
    """How known anomalies are told apart.

    Attributes:
        column: Holds the label of each row.
        normal: The label of normal rows; every other label is an anomaly.
    """

    column: str
    normal: str


@dataclass(frozen=True)
class Trained:
    """What a run made.

    Attributes:
        version: Of the registered model.
        is_champion: Whether the run made this version the champion.
    """

    detector: Detector
    evaluation: Evaluation
    notes: tuple[str, ...]
    version: str
    is_champion: bool
    run_id: str


@dataclass(frozen=True)
class Table:
    """The rows of a file, told apart.

    Attributes:
        normal, anomalous: Ascending row numbers; a row without a label is in neither.
        groups: (N,) of all rows, or None.
    """

    records: Records
    normal: Int64
    anomalous: Int64
    groups: Objects | None


def train(
    data: Path,
    name: str,
    schema: Schema,
    config: RunConfig,
    *,
    labels: Labels | None = None,
    options: ReadOptions | None = None,
    on_look: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train, evaluate and register a detector.

    The MLflow run begins when the detector is finished: whatever is wrong with data or settings
    leaves no run behind, and a registry that fails on the way costs no training.

    Raises:
        ConfigInvalid: no model can have that name, or the settings contradict each other.
        BadData: the file cannot be read, or holds no normal row.
        DependencyDown: the registry does not answer; a finished detector is saved beside, and the
            message says where.
    """
    check_name(name)
    table = read_table(data, schema, config, labels, options or ReadOptions())
    splits = divide(table, schema, config)
    digest = file_digest(data)
    check_registry()
    assembled = assemble(
        schema,
        table.records.take(table.normal),
        splits,
        config.detector,
        seed=config.seed,
        device=config.device,
        groups=None if table.groups is None else table.groups[table.normal],
        exchangeability=exchangeability(config),
        data={"name": data.name, "sha256": digest},
        on_look=on_look,
    )
    detector, evaluation = measured(assembled, table, splits)
    run = tracked_run(experiment=name, run_name=f"{name}-{digest[:8]}")
    with kept_if_unregistered(detector, name), run as tracker:
        tracker.params(to_plain(config), to_yaml(config))
        tracker.data(str(data), digest, schema)
        for look in assembled.fitted.history:
            tracker.look(look)
        registered = finish(tracker, name, assembled, detector, evaluation, table, splits)
    return Trained(detector, evaluation, detector.card.notes, *registered)


def read_table(
    data: Path, schema: Schema, config: RunConfig, labels: Labels | None, options: ReadOptions
) -> Table:
    """Read the whole file and tell normal rows from anomalies.

    Raises:
        BadData: no row has the normal label.
    """
    columns = [c for c in schema.columns if c.role not in (Role.IGNORE, Role.LABEL)]
    extra = [labels.column if labels else None, config.split.group_column]
    for text in filter(None, extra):
        if any(c.name == text and c in schema.required for c in columns):
            raise ConfigInvalid(
                f"column {text!r} cannot be modelled and tell labels or groups at once. Give it "
                "another role in the schema, or drop it with --drop."
            )
        columns = [c for c in columns if c.name != text]
        columns.append(Column(text, Kind.CATEGORICAL, Role.ID))
    records = read_records(data, schema, options=options, columns=columns)
    groups = None
    if config.split.group_column is not None:
        groups = records.columns[config.split.group_column].astype(object)
    everything = np.arange(len(records))
    if labels is None:
        return Table(records, everything, everything[:0], groups)
    found = records.columns[labels.column]
    labelled = np.array([value is not None for value in found], dtype=bool)
    normal = labelled & same_label(found, labels.normal)
    if not normal.any():
        seen = ", ".join(repr(v) for v in sorted({str(v) for v in found[labelled]})[:10])
        raise BadData(
            f"no row has the normal label {labels.normal!r}; the labels are {seen}. Say which one "
            "is normal with --normal-label.",
            code="no_normal_rows",
            file=data,
            column=labels.column,
        )
    return Table(records, np.flatnonzero(normal), np.flatnonzero(labelled & ~normal), groups)


def same_label(found: Objects, label: str) -> Bool:
    """(N,) whether each label is the given one; `0`, `0.0` and `00` are the same number."""

    def number(text: object) -> object:
        try:
            return float(str(text))
        except ValueError:
            return text

    wanted = number(label)
    return np.array([number(value) == wanted for value in found], dtype=bool)


def divide(table: Table, schema: Schema, config: RunConfig) -> Splits:
    """Split the normal rows as the configuration says.

    Raises:
        NotEnoughRows: fewer than 10 normal rows or groups.
        ConfigInvalid: a split by time without a time column.
    """
    split = config.split
    match split.by:
        case "row":
            divided = partial(split_rows, len(table.normal), seed=config.seed)
        case "group":
            assert table.groups is not None
            divided = partial(split_groups, table.groups[table.normal], seed=config.seed)
        case "time":
            if schema.time is None:
                raise ConfigInvalid(
                    "a split by time needs a time column: name it with --time-column, or give a "
                    "column the role `time` in the schema."
                )
            times = table.records.columns[schema.time.name][table.normal]
            divided = partial(split_times, times)
    return divided(
        test_share=split.test_share,
        calibration_share=split.calibration_share,
        early_stop_share=split.early_stop_share,
    )


def exchangeability(config: RunConfig) -> str:
    """What the false-alarm rate assumes, in words."""
    match config.split.by:
        case "row":
            return "new normal rows come from the same population as the calibration rows"
        case "group":
            return "new normal groups come from the same population as the calibration groups"
        case "time":
            return "nothing drifts after the time of the calibration rows"


def measured(assembled: Assembled, table: Table, splits: Splits) -> tuple[Detector, Evaluation]:
    """Evaluate on the test rows; the detector's card then tells the result."""
    detector = assembled.detector
    rows = np.concatenate([table.normal[splits.test], table.anomalous])
    truth = np.arange(len(rows)) >= len(splits.test)
    groups = None if table.groups is None else table.groups[rows]
    evaluation = evaluate(detector, table.records.take(rows), truth, groups)
    notes = assembled.notes
    names = [column.name for column in detector.schema.features]
    held_out = np.concatenate([splits.calibration, splits.test])
    shared = duplicate_share(table.records.take(table.normal), names, held_out, splits.fit)
    if shared > 0:
        notes = (
            *notes,
            f"{shared:.1%} of the calibration and test rows equal a fit row in every feature. The "
            "false-alarm rate holds all the same, if new rows repeat old ones as often.",
        )
    card = replace(detector.card, metrics=evaluation.metrics, notes=notes)
    return replace(detector, card=card), evaluation


def finish(
    tracker: Tracker,
    name: str,
    assembled: Assembled,
    detector: Detector,
    evaluation: Evaluation,
    table: Table,
    splits: Splits,
) -> tuple[str, bool, str]:
    """Log numbers and pictures, register; returns version, whether champion, and run."""
    calibration = detector.calibration
    tracker.metrics(
        {
            "calib/threshold": calibration.threshold,
            "calib/alpha": calibration.alpha,
            "calib/n": calibration.n,
            **evaluation.metrics,
        }
    )
    rows = np.concatenate([table.normal[splits.test], table.anomalous])
    if len(rows):
        test = table.records.take(rows)
        tracker.figures(figures(detector, assembled.fitted.history, evaluation, test))
    tracker.text(card_text(detector), "card.md")
    normal = table.records.take(table.normal)
    suspects = suspects_csv(assembled.ranking, normal, splits, table.normal)
    tracker.text(suspects, "suspects.csv")
    return register(detector, name)


def register(detector: Detector, name: str) -> tuple[str, bool, str]:
    """Log the model to the active run and register it: version, whether champion, run."""
    registered, is_champion = log_model(detector, name)
    return str(registered.version), is_champion, str(registered.run_id)


@contextmanager
def kept_if_unregistered(detector: Detector, name: str) -> Iterator[None]:
    """Save the detector beside if the registry fails within the block."""
    try:
        yield
    except DependencyDown as error:
        folder = Path(f"{name}-unregistered-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
        save(detector, folder)
        raise DependencyDown(
            f"{error} The detector is saved in {folder} and can be used from there."
        ) from error


def recalibrated(
    detector: Detector,
    alpha: float | None,
    data: Path | None = None,
    options: ReadOptions | None = None,
    group_column: str | None = None,
) -> Detector:
    """The same model with another threshold. What was measured at the old one leaves the card.

    Args:
        alpha: The false-alarm rate; None keeps the one in force.
        data: New normal rows that took no part in training; their scores replace the old ones.
        group_column: Which object each row measures; needed for a model calibrated on groups.

    Raises:
        AlphaNotSupported: too few calibration rows for that alpha.
        BadData: `data` is the file that the model was trained on.
        ConfigInvalid: groups for a model of rows, or none for a model of groups.
    """
    old, card = detector.calibration, detector.card
    rate = old.alpha if alpha is None else alpha
    # Notes on the old calibration, and rates at the old threshold, would no longer be true.
    notes = tuple(note for note in card.notes if "alpha" not in note)
    lasting = ("test/auroc", "test/average_precision", "test/normal_rows", "test/anomalies")
    metrics = {key: value for key, value in card.metrics.items() if key in lasting}
    note = f"alpha was {old.alpha:g} when the model was trained and measured"
    if data is None:
        card = replace(card, notes=(*notes, note), metrics=metrics)
        return replace(detector.with_alpha(rate), card=card)
    if file_digest(data) == card.data.get("sha256"):
        raise BadData(
            "is the file that the model was trained on, so its scores are too small to calibrate "
            "with. Give normal rows that took no part in training.",
            code="training_data",
            file=data,
        )
    if (group_column is not None) != (card.unit_of_calibration == "group"):
        raise ConfigInvalid(
            f"the model was calibrated on {card.unit_of_calibration}s: "
            + ("drop --group-column." if group_column else "name the groups with --group-column.")
        )
    config = RunConfig()
    if group_column is not None:
        config = replace(config, split=SplitConfig(by="group", group_column=group_column))
    table = read_table(data, _scoring_schema(detector), config, None, options or ReadOptions())
    terms = detector.backend.score_features(detector.features(table.records))
    scores = terms.scores if table.groups is None else highest_of_each(terms.scores, table.groups)
    note = f"calibrated anew on {len(terms.scores):,} rows of {data.name}"
    card = replace(
        card,
        rows={**card.rows, "calibration": len(terms.scores)},
        notes=(*notes, note),
        metrics=metrics,
    )
    return replace(
        detector,
        calibration=calibrate(scores, rate, old.rule),
        baseline=Baseline.of(detector.preprocessor.features.target_columns, terms),
        card=card,
    )


def evaluate_file(
    detector: Detector, data: Path, labels: Labels | None, options: ReadOptions
) -> Evaluation:
    """Measure a detector on a file; without labels every row is taken for normal.

    Raises:
        BadData: the file cannot be read, or no row has the normal label.
    """
    table = read_table(data, _scoring_schema(detector), RunConfig(), labels, options)
    rows = np.sort(np.concatenate([table.normal, table.anomalous]))
    return evaluate(detector, table.records.take(rows), np.isin(rows, table.anomalous))


def _scoring_schema(detector: Detector) -> Schema:
    """The columns without which a row cannot be scored, and no other."""
    return Schema(detector.schema.required)


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
