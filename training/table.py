"""A file of rows, read and told apart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from anomaly.arrays import Bool, Int64, Objects
from anomaly.calibration import DEFAULT_ALPHA, rows_needed
from anomaly.data.options import ReadOptions
from anomaly.data.readers import read_records
from anomaly.data.records import Records
from anomaly.data.schema import Column, Kind, Role, Schema
from anomaly.data.splits import Splits, split_groups, split_rows, split_times
from anomaly.errors import BadData, ConfigInvalid
from training.config import RunConfig


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
        needed=rows_needed(config.detector.alpha or DEFAULT_ALPHA),
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


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
