"""Every metric: its name, its labels, its buckets. Nothing else in the project spells them.

Labels come from closed sets only: names of the schema, codes of ours, route templates, a few HTTP
methods. So no caller can make the series grow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge

from anomaly.calibration import Calibration
from anomaly.detector import Verdicts
from anomaly.preprocessing.preprocessor import ColumnWarning, WarningCode
from service.batcher import BatchReport
from service.collectors import Distribution, Summary

MARGINS = (-1, -0.5, 0, 0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10)
P_VALUES = (0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1)
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
BATCH_ROWS = tuple(2**k for k in range(13))
BODY_BYTES = tuple(10**k for k in range(2, 9))

METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "other"
NO_HANDLER = "none"

MOST_FEATURES = 50
OTHER_FEATURES = "(other)"
"""The label that columns beyond the first `MOST_FEATURES` share."""

LEVEL = "anomaly"

OUTCOMES = ("loaded", "refused", "unreachable", "rolled_back")

Version: TypeAlias = tuple[str, str]
"""Name and version of a model."""


class Metrics:
    """The metrics of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._features: frozenset[str] = frozenset()
        self._versions: list[Version] = []

        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        def histogram(
            name: str,
            text: str,
            bounds: Sequence[float],
            label: str | None = None,
            known: Sequence[str] = (),
        ) -> Distribution:
            found = Distribution(name, text, bounds, label, known)
            registry.register(found)
            return found

        self._requests = counter(
            "http_requests_total", "Requests answered.", ("handler", "method", "status")
        )
        self._request_seconds = histogram(
            "http_request_duration_seconds",
            "Until the answer was sent.",
            SECONDS,
            "handler",
            (NO_HANDLER,),
        )
        self._request_bytes = histogram(
            "http_request_size_bytes", "Of request bodies.", BODY_BYTES, "handler", (NO_HANDLER,)
        )
        labels = ("model", "version")
        self._scored = counter("anomaly_rows_scored_total", "Rows scored.", labels)
        self._flagged = counter(
            "anomaly_rows_flagged_total",
            "Rows flagged at the model's own false-alarm rate, whatever rate a request asks for.",
            (*labels, "level"),
        )
        self._margin = histogram(
            "anomaly_score_margin_ratio",
            "Scores on the scale on which 0 is the median normal row and 1 the threshold.",
            MARGINS,
        )
        self._p_value = histogram("anomaly_p_value", "Conformal p-values.", P_VALUES)
        self._score = Summary("anomaly_score", "Scores; higher is more anomalous.")
        registry.register(self._score)
        self._threshold = gauge("anomaly_threshold", "Of the score.", ("level",))
        self._alpha = gauge("anomaly_target_false_alarm_ratio", "The false-alarm rate asked for.")
        self._calibration_rows = gauge("anomaly_calibration_rows", "Scores behind the threshold.")
        self._info = gauge(
            "anomaly_model_info",
            "Always 1; the labels say what is served.",
            (*labels, "run_id", "alias", "digest", "device"),
        )
        self._loaded = gauge("anomaly_model_loaded_timestamp_seconds", "When it was loaded.")
        self._reloads = counter(
            "anomaly_model_reload_total", "Attempts to serve another version.", ("outcome",)
        )
        for outcome in OUTCOMES:
            self._reloads.labels(outcome)
        self._stale = gauge(
            "anomaly_model_stale",
            "1 if another version should be served, or the registry does not say which.",
        )
        self._rejected = counter(
            "anomaly_rejected_rows_total", "Rows that were not scored.", ("reason",)
        )
        self._remarks = {
            WarningCode.MISSING_VALUE: counter(
                "anomaly_input_missing_total", "Missing values that were imputed.", ("feature",)
            ),
            WarningCode.UNSEEN_CATEGORY: counter(
                "anomaly_input_unseen_category_total",
                "Categories that the model was not fitted on.",
                ("feature",),
            ),
            WarningCode.OUT_OF_RANGE: counter(
                "anomaly_input_out_of_range_total",
                "Numbers far outside the range the model was fitted on.",
                ("feature",),
            ),
        }
        self._queue_rows = gauge("anomaly_queue_rows", "Rows that wait for the model.")
        self._queue_seconds = histogram(
            "anomaly_queue_wait_seconds", "How long requests waited for the model.", SECONDS
        )
        self._batch_rows = histogram("anomaly_batch_rows", "Rows scored together.", BATCH_ROWS)
        self._phase_seconds = histogram(
            "anomaly_inference_seconds",
            "decode and respond: of a request; forward: of a batch.",
            SECONDS,
            "phase",
        )
        self._answered: dict[tuple[str, str, int], Counter] = {}

    def serving(
        self,
        calibration: Calibration,
        *,
        info: dict[str, str],
        loaded_at: float,
        features: Sequence[str],
        queue_rows: Callable[[], int],
    ) -> None:
        """Describe what is served from now on. Counts of the version before are kept until the next
        one comes: a scrape may not have seen the last of them.

        Args:
            info: The labels of `anomaly_model_info`.
            loaded_at: Seconds since 1970, UTC.
            features: Names that may be labels; what else is remarked shares one.
            queue_rows: Asked at every scrape.
        """
        version = (info["model"], info["version"])
        self._versions = [known for known in self._versions if known != version]
        for old in self._versions[:-1]:
            self._scored.remove(*old)
            self._flagged.remove(*old, LEVEL)
        self._versions = [*self._versions[-1:], version]
        self._scored.labels(*version)
        self._flagged.labels(*version, LEVEL)
        self._features = frozenset(features[:MOST_FEATURES])
        self._threshold.labels(LEVEL).set(calibration.threshold)
        self._alpha.set(calibration.alpha)
        self._calibration_rows.set(calibration.n)
        self._info.clear()
        self._info.labels(**info).set(1)
        self._loaded.set(loaded_at)
        self._queue_rows.set_function(queue_rows)

    def reloaded(self, outcome: str) -> None:
        """Count an attempt to serve another version; one of `OUTCOMES`."""
        self._reloads.labels(outcome).inc()

    def stale(self, is_stale: bool) -> None:
        """Whether what is served is not known to be what should be."""
        self._stale.set(is_stale)

    def rows_scored(self, verdicts: Verdicts, calibration: Calibration, by: Version) -> None:
        """Count rows with their verdicts at the model's own alpha, and what was remarkable about
        them."""
        margins = calibration.margins(verdicts.scores)
        # What lies above 1 is what is flagged; the float may differ from that by the tolerance.
        above = np.maximum(margins, np.nextafter(1.0, 2.0))
        self._margin.many(np.where(verdicts.is_anomaly, above, np.minimum(margins, 1.0)))
        self._p_value.many(verdicts.p_values)
        self._score.many(verdicts.scores)
        self._scored.labels(*by).inc(len(verdicts))
        self._flagged.labels(*by, LEVEL).inc(int(verdicts.is_anomaly.sum()))
        for warning in verdicts.warnings:
            self._remarked(warning)

    def rows_rejected(self, rows_by_reason: Mapping[str, int]) -> None:
        """Count rows that were not scored; the reasons are codes of ours."""
        for reason, rows in rows_by_reason.items():
            self._rejected.labels(reason).inc(rows)

    def batch_scored(self, report: BatchReport) -> None:
        """Count one batch."""
        self._batch_rows.one(report.rows)
        self.phase("forward", report.seconds)
        for seconds in report.waits:
            self._queue_seconds.one(seconds)

    def phase(self, name: str, seconds: float) -> None:
        """Count the time of one phase of an answer."""
        self._phase_seconds.one(seconds, name)

    def request_answered(
        self, handler: str, method: str, status: int, seconds: float, body_bytes: int
    ) -> None:
        """Count one request; `handler` is a route template or `NO_HANDLER`."""
        key = (handler, method if method in METHODS else OTHER_METHOD, status)
        counter = self._answered.get(key)
        if counter is None:
            counter = self._answered[key] = self._requests.labels(*key)
        counter.inc()
        self._request_seconds.one(seconds, handler)
        self._request_bytes.one(body_bytes, handler)

    def _remarked(self, warning: ColumnWarning) -> None:
        if warning.code in self._remarks:
            known = warning.column in self._features
            feature = warning.column if known else OTHER_FEATURES
            self._remarks[warning.code].labels(feature).inc(len(warning.rows))
