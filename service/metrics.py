"""Every metric: its name, its labels, its buckets. Nothing else in the project spells them.

Labels come from closed sets only: names of the schema, codes of ours, route templates, a few HTTP
methods. So no caller can make the series grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from anomaly.arrays import Float64
from anomaly.calibration import Calibration
from anomaly.detector import Verdicts
from anomaly.preprocessing.preprocessor import ColumnWarning, WarningCode
from service.batcher import BatchReport

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


class RowHistogram(Collector):
    """A histogram that takes an array at once: `prometheus_client` takes one value a call."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = np.array(bounds, dtype=np.float64)
        self._labels = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self._sum = 0.0
        self._lock = Lock()

    def observe(self, values: Float64) -> None:
        """Count N values; a value equal to a bound belongs below it."""
        bins = np.searchsorted(self._bounds, values, side="left")
        with self._lock:
            self._counts += np.bincount(bins, minlength=len(self._counts))
            self._sum += float(values.sum())

    def collect(self) -> Iterable[Metric]:
        """The family, as a scrape sees it."""
        with self._lock:
            counts, total = self._counts.cumsum().tolist(), self._sum
        buckets = list(zip(self._labels, counts, strict=True))
        family = HistogramMetricFamily(self._name, self._documentation)
        family.add_metric([], buckets=buckets, sum_value=total)
        yield family


class RowSummary(Collector):
    """Sum and count of values, an array at once."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name = name
        self._documentation = documentation
        self._state = (0, 0.0)

    def observe(self, values: Float64) -> None:
        """Count N values."""
        count, total = self._state
        self._state = (count + len(values), total + float(values.sum()))

    def collect(self) -> Iterable[Metric]:
        """The family, as a scrape sees it."""
        count, total = self._state
        yield SummaryMetricFamily(self._name, self._documentation, count, total)


class Metrics:
    """The metrics of one application, in a registry of its own.

    Args:
        model, version: Of the detector that is served.
        features: Names that may be labels; what else is remarked shares one.
    """

    def __init__(self, model: str, version: str, features: Sequence[str]) -> None:
        self.registry = registry = CollectorRegistry()
        self._features = frozenset(features[:MOST_FEATURES])

        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        def histogram(
            name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()
        ) -> Histogram:
            return Histogram(name, text, labels, registry=registry, buckets=buckets)

        self._requests = counter(
            "http_requests_total", "Requests answered.", ("handler", "method", "status")
        )
        self._request_seconds = histogram(
            "http_request_duration_seconds", "Until the answer was sent.", SECONDS, ("handler",)
        )
        self._request_bytes = histogram(
            "http_request_size_bytes", "Of request bodies.", BODY_BYTES, ("handler",)
        )
        labels = ("model", "version")
        self._scored = counter("anomaly_rows_scored_total", "Rows scored.", labels).labels(
            model, version
        )
        self._flagged = counter(
            "anomaly_rows_flagged_total",
            "Rows flagged at the model's own false-alarm rate, whatever rate a request asks for.",
            (*labels, "level"),
        ).labels(model, version, LEVEL)
        self._margin = RowHistogram(
            "anomaly_score_margin_ratio",
            "Scores on the scale on which 0 is the median normal row and 1 the threshold.",
            MARGINS,
        )
        self._p_value = RowHistogram("anomaly_p_value", "Conformal p-values.", P_VALUES)
        self._score = RowSummary("anomaly_score", "Scores; higher is more anomalous.")
        for collector in (self._margin, self._p_value, self._score):
            registry.register(collector)
        self._threshold = gauge("anomaly_threshold", "Of the score.", ("level",))
        self._alpha = gauge("anomaly_target_false_alarm_ratio", "The false-alarm rate asked for.")
        self._calibration_rows = gauge("anomaly_calibration_rows", "Scores behind the threshold.")
        self._info = gauge(
            "anomaly_model_info",
            "Always 1; the labels say what is served.",
            (*labels, "run_id", "alias", "digest", "device"),
        )
        self._loaded = gauge("anomaly_model_loaded_timestamp_seconds", "When it was loaded.")
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
            ("phase",),
        )
        # Unknown paths must not add series, so theirs are there from the start.
        self._request_seconds.labels(NO_HANDLER)
        self._request_bytes.labels(NO_HANDLER)

    def model_loaded(
        self,
        calibration: Calibration,
        *,
        info: dict[str, str],
        loaded_at: float,
        queue_rows: Callable[[], int],
    ) -> None:
        """Describe what is served.

        Args:
            info: The labels of `anomaly_model_info`.
            loaded_at: Seconds since 1970, UTC.
            queue_rows: Asked at every scrape.
        """
        self._threshold.labels(LEVEL).set(calibration.threshold)
        self._alpha.set(calibration.alpha)
        self._calibration_rows.set(calibration.n)
        self._info.labels(**info).set(1)
        self._loaded.set(loaded_at)
        self._queue_rows.set_function(queue_rows)

    def rows_scored(self, verdicts: Verdicts, calibration: Calibration) -> None:
        """Count the rows of one answer, and what was remarkable about them."""
        flagged = calibration.is_anomaly(verdicts.p_values)
        margins = calibration.margins(verdicts.scores)
        # What lies above 1 is what is flagged; the float may differ from that by the tolerance.
        above = np.maximum(margins, np.nextafter(1.0, 2.0))
        self._margin.observe(np.where(flagged, above, np.minimum(margins, 1.0)))
        self._p_value.observe(verdicts.p_values)
        self._score.observe(verdicts.scores)
        self._scored.inc(len(verdicts))
        self._flagged.inc(int(flagged.sum()))
        for warning in verdicts.warnings:
            self._remarked(warning)

    def rows_rejected(self, rows_by_reason: Mapping[str, int]) -> None:
        """Count rows that were not scored; the reasons are codes of ours."""
        for reason, rows in rows_by_reason.items():
            self._rejected.labels(reason).inc(rows)

    def batch_scored(self, report: BatchReport) -> None:
        """Count one batch."""
        self._batch_rows.observe(report.rows)
        self.phase("forward", report.seconds)
        for seconds in report.waits:
            self._queue_seconds.observe(seconds)

    def phase(self, name: str, seconds: float) -> None:
        """Count the time of one phase of an answer."""
        self._phase_seconds.labels(name).observe(seconds)

    def request_answered(
        self, handler: str, method: str, status: int, seconds: float, body_bytes: int
    ) -> None:
        """Count one request; `handler` is a route template or `NO_HANDLER`."""
        known = method if method in METHODS else OTHER_METHOD
        self._requests.labels(handler, known, str(status)).inc()
        self._request_seconds.labels(handler).observe(seconds)
        self._request_bytes.labels(handler).observe(body_bytes)

    def _remarked(self, warning: ColumnWarning) -> None:
        if warning.code in self._remarks:
            known = warning.column in self._features
            feature = warning.column if known else OTHER_FEATURES
            self._remarks[warning.code].labels(feature).inc(len(warning.rows))
