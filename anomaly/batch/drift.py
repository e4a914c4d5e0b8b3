"""How a file differs from what a model was fitted on."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from anomaly.arrays import Float64
from anomaly.data.pixels import Pixels
from anomaly.data.readers import Chunk
from anomaly.detector import Detector, Verdicts
from anomaly.errors import BadData
from anomaly.image_detector import AnyDetector, ImageDetector
from anomaly.martingale import Bag, Martingale
from anomaly.preprocessing.watched import watched_images
from anomaly.reference import Drift, Watched

SMALL_P = 0.05
ROWS_TOGETHER = 1024
IMAGES_TOGETHER = 16


@dataclass(frozen=True)
class DriftReport:
    """How N rows differ from the fit rows, and from the calibration rows in their order.

    Attributes:
        drifts: Of each column, the largest PSI first.
        calibration_ratio: The share of p <= 0.05 over 0.05; about 1 on normal rows.
        log10_martingale: After the last row; None where rows cannot be ranked among the calibration
            scores, which are of groups.
        log10_highest: The largest value on the way; None as above.
        seed: Of what breaks ties.
    """

    rows: int
    drifts: tuple[Drift, ...]
    calibration_ratio: float
    log10_martingale: float | None
    log10_highest: float | None
    seed: int


def drift_of_rows(
    detector: Detector, chunks: Iterable[Chunk], seed: int | None = None
) -> DriftReport:
    """The report on rows of a file.

    Args:
        seed: Of what breaks ties; None draws one.

    Raises:
        BadData: there is no row.
    """
    scored = ((detector.watched(chunk.records), detector.detect(chunk.records)) for chunk in chunks)
    return _report(detector, scored, seed)


def drift_of_images(
    detector: ImageDetector, images: Iterable[Pixels], seed: int | None = None
) -> DriftReport:
    """The report on images; as `drift_of_rows`."""

    def scored() -> Iterator[tuple[Watched, Verdicts]]:
        left = iter(images)
        while some := list(islice(left, IMAGES_TOGETHER)):
            yield watched_images(some), detector.detect(some)

    return _report(detector, scored(), seed)


def drift_text(report: DriftReport, threshold: float) -> str:
    """The report for a person, without its table."""
    lines = [
        f"{report.rows:,} rows; p <= {SMALL_P:g} {report.calibration_ratio:.2f} times as often as "
        "calibration promises for normal rows"
    ]
    if report.log10_martingale is None or report.log10_highest is None:
        return "\n".join([*lines, "rows are not ranked: the model was calibrated on groups"])
    alarms = report.log10_highest >= np.log10(threshold)
    verdict = "the rows are not" if alarms else "nothing says that the rows are not"
    lines.append(
        f"{verdict} exchangeable with the calibration rows, in this order (log10 of the "
        f"martingale: {report.log10_martingale:.2f}, highest {report.log10_highest:.2f}, alarm at "
        f"{np.log10(threshold):.2f}; a false alarm has probability at most {1 / threshold:g}; "
        f"seed {report.seed})"
    )
    return "\n".join(lines)


def drift_rows(drifts: Sequence[Drift]) -> list[tuple[str, ...]]:
    """(feature, PSI, Wasserstein, missing, usually missing) as a table shows them."""
    return [
        (
            drift.feature,
            f"{drift.psi:.3f}",
            "" if drift.wasserstein is None else f"{drift.wasserstein:.3f}",
            f"{drift.missing:.1%}",
            f"{drift.usually_missing:.1%}",
        )
        for drift in drifts
    ]


def _report(
    detector: AnyDetector, scored: Iterable[tuple[Watched, Verdicts]], seed: int | None
) -> DriftReport:
    reference, calibration = detector.reference, detector.calibration
    seed = secrets.randbits(32) if seed is None else seed
    tally, small, martingale = reference.nothing, 0, Martingale()
    bag = Bag(np.array(reference.score_edges), calibration.scores, seed)
    for watched, verdicts in scored:
        tally += reference.tally(watched)
        small += int(np.count_nonzero(verdicts.p_values <= SMALL_P))
        _bet(martingale, bag, verdicts.scores)
    if not tally.rows:
        raise BadData("there are no rows to compare", code="no_rows")
    is_ranked = calibration.unit != "group"
    return DriftReport(
        tally.rows,
        tuple(sorted(reference.drifts(tally), key=lambda drift: -drift.psi)),
        small / tally.rows / SMALL_P,
        martingale.log10_capital if is_ranked else None,
        martingale.log10_highest if is_ranked else None,
        seed,
    )


def _bet(martingale: Martingale, bag: Bag, scores: Float64) -> None:
    """In parts, because ranking takes memory for each row."""
    for start in range(0, len(scores), ROWS_TOGETHER):
        martingale.bet(bag.ranks(scores[start : start + ROWS_TOGETHER]))
