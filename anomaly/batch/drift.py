"""How a file differs from what a model was fitted on."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np

from anomaly.arrays import Bool, Float64
from anomaly.calibration import SMALL_P
from anomaly.data.pixels import Pixels
from anomaly.data.readers import Chunk
from anomaly.detector import Detector, Verdicts
from anomaly.errors import BadData
from anomaly.image_detector import AnyDetector, ImageDetector
from anomaly.martingale import Bag, Martingale
from anomaly.preprocessing.watched import watched_images
from anomaly.reference import Drift, Watched

ROWS_TOGETHER = 1024
IMAGES_TOGETHER = 16


Scored: TypeAlias = tuple[Watched, Verdicts, Bool]
"""Rows, what was said of them, and by column whether their errors are large."""


@dataclass(frozen=True)
class DriftReport:
    """How N rows differ from the fit rows, and from the calibration rows in their order.

    Attributes:
        drifts: Of each column, the largest PSI first.
        psi_by_chance: What the PSI of the column with the most bins is without drift, on average.
        errors: By feature, the share of rows whose error in its column is large, over 0.05; about 1
            on normal rows. Of columns that are explained.
        calibration_ratio: The share of p <= 0.05 over 0.05; about 1 on normal rows.
        log10_martingale: After the last row; None where rows cannot be ranked among the calibration
            scores, which are of groups.
        log10_highest: The largest value on the way; None as above.
        seed: Of what breaks ties.
    """

    rows: int
    drifts: tuple[Drift, ...]
    psi_by_chance: float
    errors: dict[str, float]
    calibration_ratio: float
    log10_martingale: float | None
    log10_highest: float | None
    seed: int

    def alarms(self, threshold: float) -> bool:
        """Whether a bettor against the rows being exchangeable ever had so much."""
        return self.log10_highest is not None and self.log10_highest >= np.log10(threshold)


def drift_of_rows(
    detector: Detector, chunks: Iterable[Chunk], seed: int | None = None
) -> DriftReport:
    """The report on rows of a file.

    Args:
        seed: Of what breaks ties; None draws one.

    Raises:
        BadData: there is no row.
    """

    def scored() -> Iterator[Scored]:
        for chunk in chunks:
            terms = detector.terms(chunk.records)
            verdicts = detector.verdicts(chunk.records, terms)
            yield detector.watched(chunk.records), verdicts, detector.large_errors(terms)

    return _report(detector, scored(), seed, detector.explained_features)


def drift_of_images(
    detector: ImageDetector, images: Iterable[Pixels], seed: int | None = None
) -> DriftReport:
    """The report on images; as `drift_of_rows`."""

    def scored() -> Iterator[Scored]:
        left = iter(images)
        while some := list(islice(left, IMAGES_TOGETHER)):
            yield watched_images(some), detector.detect(some), np.zeros((len(some), 0), dtype=bool)

    return _report(detector, scored(), seed, {})


def drift_text(report: DriftReport, threshold: float) -> str:
    """The report for a person, without its table."""
    lines = [
        f"{report.rows:,} rows; p <= {SMALL_P:g} {report.calibration_ratio:.2f} times as often as "
        "calibration promises for normal rows",
        f"without drift the PSI of so many rows is about {report.psi_by_chance:.2f} on average",
    ]
    if report.log10_martingale is None or report.log10_highest is None:
        return "\n".join([*lines, "rows are not ranked: the model was calibrated on groups"])
    verdict = (
        "the rows are not" if report.alarms(threshold) else "nothing says that the rows are not"
    )
    lines.append(
        f"{verdict} exchangeable with the calibration rows, in this order (log10 of the "
        f"martingale: {report.log10_martingale:.2f}, highest {report.log10_highest:.2f}, alarm at "
        f"{np.log10(threshold):.2f}; a false alarm has probability at most {1 / threshold:g}; "
        f"seed {report.seed})"
    )
    return "\n".join(lines)


def drift_rows(report: DriftReport) -> list[tuple[str, ...]]:
    """(feature, PSI, Wasserstein, errors, missing, usually missing) as a table shows them."""
    return [
        (
            drift.feature,
            f"{drift.psi:.3f}",
            "" if drift.wasserstein is None else f"{drift.wasserstein:.3f}",
            f"{report.errors[drift.feature]:.2f}" if drift.feature in report.errors else "",
            f"{drift.missing:.1%}",
            f"{drift.usually_missing:.1%}",
        )
        for drift in report.drifts
    ]


def _report(
    detector: AnyDetector,
    scored: Iterable[Scored],
    seed: int | None,
    explained: Mapping[str, int],
) -> DriftReport:
    reference, calibration = detector.reference, detector.calibration
    seed = secrets.randbits(32) if seed is None else seed
    tally, small, martingale = reference.nothing, 0, Martingale()
    large = np.zeros(len(set(explained.values())), dtype=np.int64)
    bag = Bag(np.array(reference.score_edges), calibration.scores, seed)
    for watched, verdicts, are_large in scored:
        tally += reference.tally(watched)
        small += int(np.count_nonzero(verdicts.p_values <= SMALL_P))
        large += are_large.sum(axis=0)
        _bet(martingale, bag, verdicts.scores)
    if not tally.rows:
        raise BadData("there are no rows to compare", code="no_rows")
    is_ranked = calibration.unit != "group"
    return DriftReport(
        tally.rows,
        tuple(sorted(reference.drifts(tally), key=lambda drift: -drift.psi)),
        reference.psi_by_chance(tally.rows),
        {name: float(large[at]) / tally.rows / SMALL_P for name, at in explained.items()},
        small / tally.rows / SMALL_P,
        martingale.log10_capital if is_ranked else None,
        martingale.log10_highest if is_ranked else None,
        seed,
    )


def _bet(martingale: Martingale, bag: Bag, scores: Float64) -> None:
    """In parts, because ranking takes memory for each row."""
    for start in range(0, len(scores), ROWS_TOGETHER):
        martingale.bet(bag.ranks(scores[start : start + ROWS_TOGETHER]))
