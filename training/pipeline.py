"""From a file of rows to a registered detector: read, split, assemble, evaluate, log, register."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from anomaly.artifact.card import card_text
from anomaly.artifact.directory import save
from anomaly.artifact.mlflow_flavor import check_name, check_registry, log_model
from anomaly.assembly import Assembled, assemble
from anomaly.data.options import ReadOptions
from anomaly.data.schema import Schema
from anomaly.data.splits import Splits, duplicate_share
from anomaly.detector import Detector
from anomaly.errors import DependencyDown
from anomaly.fitting import Progress
from anomaly.image_detector import AnyDetector
from training.config import RunConfig, to_plain, to_yaml
from training.evaluate import Evaluation, evaluate
from training.report import figures
from training.suspects import suspects_csv
from training.table import Labels, Table, divide, exchangeability, file_digest, read_table
from training.tracking import Tracker, tracked_run


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


def register(detector: AnyDetector, name: str) -> tuple[str, bool, str]:
    """Log the model to the active run and register it: version, whether champion, run."""
    registered, is_champion = log_model(detector, name)
    return str(registered.version), is_champion, str(registered.run_id)


@contextmanager
def kept_if_unregistered(detector: AnyDetector, name: str) -> Iterator[None]:
    """Save the detector beside if the registry fails within the block."""
    try:
        yield
    except DependencyDown as error:
        folder = Path(f"{name}-unregistered-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
        save(detector, folder)
        raise DependencyDown(
            f"{error} The detector is saved in {folder} and can be used from there."
        ) from error
