"""docs/serving.md tells every metric with its labels, and none that there is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from anomaly.baseline import Parts
from service.app.edge import Edge
from service.metrics import Metrics
from service.scoring.comparison import Comparison
from tests.service.pumps import Caller, as_request, normal_records

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
TABLE = r"\| \| labels \| \|\n\|---\|---\|---\|\n((?:\|.*\n)+)"
MODEL = "model"


@dataclass(frozen=True)
class Row:
    """Of a table of metrics, which has the columns name, labels and text."""

    names: list[str]
    labels: set[str]
    text: str


def rows(section: str) -> list[Row]:
    """Those of the section's table."""
    whole = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    (table,) = re.findall(TABLE, whole)
    cells = [line[1:-1].split("|") for line in table.splitlines()]
    return [Row(words(names), set(words(labels)), text) for names, labels, text in cells]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


OF_A_CHALLENGER = rows("Challenger")
ROWS = [*rows("Metrics"), *OF_A_CHALLENGER]
(WITHOUT_MODEL,) = re.findall(r"Every `anomaly_\*` but `(\w+)` has the label `model`", PAGE)


def told() -> dict[str, set[str]]:
    """The labels of every metric, by its name."""
    return {name: row.labels | of_models(name) for row in ROWS for name in row.names}


def of_models(name: str) -> set[str]:
    return {MODEL} if name.startswith("anomaly_") and name != WITHOUT_MODEL else set()


def told_by(metrics: Metrics) -> dict[str, set[str]]:
    """The labels of every metric that a scrape would see something of, but not of buckets."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): {
            label for sample in family.samples for label in sample.labels if label != "le"
        }
        for family in metrics.registry.collect()
        if family.samples
    }


@pytest.fixture
def metrics(make_app: Callable[..., Edge]) -> Metrics:
    """Of a service of rows on a CPU, which has scored as many as it compares with the fit rows."""
    caller = Caller(make_app(drift={"min_rows": 200}))
    assert caller.score(as_request(normal_records(240, seed=5))).status_code == 200
    return caller.app.scorer.common.metrics


def test_every_metric_is_told_with_its_labels_and_none_that_there_is_not(metrics: Metrics) -> None:
    metrics.call_answered("ModelInfer", "OK", 0.1)
    metrics.held_on_gpu(lambda: 0.0)
    metrics.of("pumps").parts_ranked(Parts(np.array([0.5]), np.array([0.5])))
    Comparison(metrics.families, "pumps", "2")

    assert told() == told_by(metrics)


def test_a_metric_is_said_to_be_there_only_with_something_else_if_that_is_so(
    metrics: Metrics,
) -> None:
    with_something_else = [*OF_A_CHALLENGER, *(row for row in ROWS if "only with" in row.text)]

    missing = told().keys() - told_by(metrics).keys()

    assert missing == {name for row in with_something_else for name in row.names}


def test_each_metric_is_told_once() -> None:
    names = [name for row in ROWS for name in row.names]

    assert len(names) == len(set(names)) > 40


def test_values_of_labels_are_those_that_are_told(metrics: Metrics) -> None:
    """Of closed sets, and of a date, which is a column here and the share of a cycle there."""
    values: dict[tuple[str, str], set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            for label, value in sample.labels.items():
                values.setdefault((family.name, label), set()).add(value)
    texts = {name: row.text for row in ROWS for name in row.names}

    for name, label in (
        ("anomaly_calibration_ratio_bounds", "bound"),
        ("anomaly_inference_seconds", "phase"),
        ("anomaly_threshold", "level"),
        ("anomaly_rows_flagged_total", "level"),
        ("anomaly_score_total", "sign"),
        ("anomaly_model_reload_total", "outcome"),
    ):
        assert values[name.removesuffix("_total"), label] <= set(words(texts[name]))
    for name in (
        "anomaly_input_missing",
        "anomaly_input_missing_usual_ratio",
        "anomaly_feature_error_ratio",
    ):
        assert "taken" in values[name, "feature"]
    assert "taken:hour_of_day" in values["anomaly_feature_drift_psi", "feature"]
    assert "`taken:hour_of_day`" in texts["anomaly_feature_drift_psi"]
