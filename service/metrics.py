"""Every metric: its name, its labels, its buckets. Nothing else in the project spells them.

Labels come from closed sets only: names of models and of the schema, codes of ours, route
templates, a few HTTP methods. So no caller can make the series grow. What is told of a model,
`anomaly_*`, has the label `model`; what is told of requests, `http_*`, has not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from anomaly.baseline import Parts
from anomaly.calibration import SMALL_P, Calibration
from anomaly.preprocessing.preprocessor import WarningCode
from anomaly.realised import realised_bounds
from service.batcher import BatchReport, Overloaded
from service.collectors import Distribution, Reading, Readings, SettlingRegistry, Sums
from service.ledger import Scored

MARGINS = (-1, -0.5, 0, 0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10)
P_VALUES = (0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1)
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
BATCH_ROWS = tuple(2**k for k in range(13))
BODY_BYTES = tuple(10**k for k in range(2, 9))

METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "other"
NO_HANDLER = "none"

GRPC_SERVICE = "inference.GRPCInferenceService"

MOST_FEATURES = 50
OTHER_FEATURES = "(other)"
"""The label that columns beyond the first `MOST_FEATURES` share."""

LEVEL = "anomaly"

OUTCOMES = ("loaded", "refused", "unreachable", "rolled_back")

SHADOW_OUTCOMES = ("scored", "dropped", "failed")
AGREEMENTS = ("both", "neither", "champion_only", "challenger_only")

INFO = ("version", "run_id", "alias", "digest", "device")
"""What `anomaly_model_info` says besides the name."""


PSI = "anomaly_feature_drift_psi"
WASSERSTEIN = "anomaly_feature_drift_wasserstein"
ERROR_RATIO = "anomaly_feature_error_ratio"
WINDOW_ROWS = "anomaly_drift_window_rows"
CALIBRATION_RATIO = "anomaly_calibration_ratio"
MARTINGALE = "anomaly_exchangeability_log10_martingale"
ALARM = "anomaly_exchangeability_alarm"

DRIFT = {
    PSI: ("Population stability index of the window against the fit rows.", ("feature",)),
    WASSERSTEIN: (
        "1-Wasserstein distance of the window from the fit rows, in their standard deviations.",
        ("feature",),
    ),
    ERROR_RATIO: (
        "Share of rows in the window whose error in the column is large, over 0.05.",
        ("feature",),
    ),
    WINDOW_ROWS: ("Drawn rows that are compared with the fit rows.", ()),
    CALIBRATION_RATIO: ("Share of rows in the window with p <= 0.05, over 0.05.", ()),
    MARTINGALE: ("Evidence that the stream is not exchangeable with the calibration rows.", ()),
    ALARM: ("1 once that evidence has passed the threshold, until the next start or version.", ()),
}


@dataclass(frozen=True)
class DriftFigures:
    """How the stream of one version differs from what it was fitted on.

    Attributes:
        psi, wasserstein, error_ratio: By feature; empty while the window holds too few rows. It
            is told of the first `MOST_FEATURES`.
        calibration_ratio: None while the window holds too few rows.
        log10_martingale, alarm: None where rows cannot be ranked among calibration scores.
    """

    window_rows: int
    psi: Mapping[str, float]
    wasserstein: Mapping[str, float]
    error_ratio: Mapping[str, float]
    calibration_ratio: float | None
    log10_martingale: float | None
    alarm: bool | None

    def readings(self) -> Iterable[Reading]:
        """The gauges."""
        told = frozenset(islice(self.psi, MOST_FEATURES))
        explained = frozenset(islice(self.error_ratio, MOST_FEATURES))
        for name, by_feature, those in (
            (PSI, self.psi, told),
            (WASSERSTEIN, self.wasserstein, told),
            (ERROR_RATIO, self.error_ratio, explained),
        ):
            yield from ((name, (f,), value) for f, value in by_feature.items() if f in those)
        yield WINDOW_ROWS, (), self.window_rows
        for name, value in (
            (CALIBRATION_RATIO, self.calibration_ratio),
            (MARTINGALE, self.log10_martingale),
            (ALARM, self.alarm),
        ):
            if value is not None:
                yield name, (), float(value)


class Metrics:
    """The metrics of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = SettlingRegistry()
        self.families = Families(registry)
        ProcessCollector(registry=registry)
        self._models: dict[str, ModelMetrics] = {}
        self._requests = Counter(
            "http_requests_total",
            "Requests answered.",
            ("handler", "method", "status"),
            registry=registry,
        )
        self._request_seconds = Distribution(
            "http_request_duration_seconds", "Until the answer was sent.", SECONDS, ("handler",)
        )
        self._request_bytes = Distribution(
            "http_request_size_bytes", "Of request bodies.", BODY_BYTES, ("handler",)
        )
        self._calls = Counter(
            "grpc_server_handled_total",
            "Calls answered.",
            ("grpc_type", "grpc_service", "grpc_method", "grpc_code"),
            registry=registry,
        )
        self._call_seconds = Distribution(
            "grpc_server_handling_seconds",
            "Until the answer was handed over.",
            SECONDS,
            ("grpc_method",),
        )
        for family in (self._request_seconds, self._request_bytes):
            registry.register(family)
            family.labels(NO_HANDLER)
        registry.register(self._call_seconds)
        self._gpu_memory: Gauge | None = None
        self._answered: dict[tuple[str, str, int], Counter] = {}

    def of(self, model: str) -> ModelMetrics:
        """Those of one model, the same at every call: its versions share them."""
        found = self._models.get(model)
        return found or self._models.setdefault(model, ModelMetrics(self.families, model))

    def held_on_gpu(self, read: Callable[[], float]) -> None:
        """From now on tell how many bytes of the GPU this process holds.

        Args:
            read: Asked at every scrape.
        """
        if self._gpu_memory is None:
            self._gpu_memory = Gauge(
                "anomaly_gpu_memory_bytes",
                "Of the GPU, held by this process for all its models.",
                registry=self.registry,
            )
        self._gpu_memory.set_function(read)

    def request_answered(
        self, handler: str, method: str, status: int, seconds: float, body_bytes: int
    ) -> None:
        """Count one request; `handler` is a route template or `NO_HANDLER`."""
        key = (handler, method if method in METHODS else OTHER_METHOD, status)
        counter = self._answered.get(key)
        if counter is None:
            counter = self._answered[key] = self._requests.labels(*key)
        counter.inc()
        self._request_seconds.labels(handler).one(seconds)
        self._request_bytes.labels(handler).one(body_bytes)

    def call_answered(self, method: str, code: str, seconds: float) -> None:
        """Count one call of gRPC; `method` is one that there is, or `NO_HANDLER`."""
        self._calls.labels("unary", GRPC_SERVICE, method, code).inc()
        self._call_seconds.labels(method).one(seconds)


class Families:
    """What is told of models: the series of all of them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, ("model", *labels), registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, ("model", *labels), registry=registry)

        def histogram(name: str, text: str, bounds: Sequence[float], *labels: str) -> Distribution:
            found = Distribution(name, text, bounds, ("model", *labels))
            registry.register(found)
            return found

        self.scored = counter("anomaly_rows_scored_total", "Rows scored.", "version")
        self.flagged = counter(
            "anomaly_rows_flagged_total",
            "Rows flagged at the model's own false-alarm rate, whatever rate a request asks for.",
            "version",
            "level",
        )
        self.margin = histogram(
            "anomaly_score_margin_ratio",
            "Scores on the scale on which 0 is the median normal row and 1 the threshold.",
            MARGINS,
        )
        self.p_value = histogram("anomaly_p_value", "Conformal p-values.", P_VALUES)
        self.part_ranks = {
            part: histogram(
                f"anomaly_{part}_rank",
                f"p-values of the {text} alone, of rows drawn for it.",
                P_VALUES,
            )
            for part, text in (("reconstruction", "reconstruction error"), ("kl", "KL"))
        }
        self.score = Sums(
            "anomaly_score_total",
            "Sum of the scores above 0, and of the sizes of those below it.",
            ("model",),
        )
        registry.register(self.score)
        self.threshold = gauge("anomaly_threshold", "Of the score.", "level")
        self.alpha = gauge("anomaly_target_false_alarm_ratio", "The false-alarm rate asked for.")
        self.calibration_rows = gauge("anomaly_calibration_rows", "Scores behind the threshold.")
        self.lower = gauge(
            "anomaly_false_alarm_ratio_lower",
            "Fewer normal rows are flagged by one calibration sample in a thousand.",
        )
        self.upper = gauge(
            "anomaly_false_alarm_ratio_upper",
            "More normal rows are flagged by one calibration sample in a thousand.",
        )
        self.bounds = gauge(
            "anomaly_calibration_ratio_bounds",
            "The same of the share of p-values up to 0.05, over 0.05.",
            "bound",
        )
        self.trained = gauge("anomaly_model_trained_timestamp_seconds", "When it was trained.")
        self.calibrated = gauge(
            "anomaly_model_calibrated_timestamp_seconds",
            "When it was calibrated, at first or anew.",
        )
        self.info = gauge(
            "anomaly_model_info",
            "Always 1; the labels say what is served.",
            *INFO,
        )
        self.loaded = gauge("anomaly_model_loaded_timestamp_seconds", "When it was loaded.")
        self.reloads = counter(
            "anomaly_model_reload_total", "Attempts to serve another version.", "outcome"
        )
        self.stale = gauge(
            "anomaly_model_stale",
            "1 if another version should be served, or the registry does not say which.",
        )
        self.refused = gauge(
            "anomaly_model_refused", "1 if the version that should be served was refused."
        )
        self.rejected = counter(
            "anomaly_rejected_rows_total", "Rows that were not scored.", "reason"
        )
        self.remarks = {
            WarningCode.MISSING_VALUE: counter(
                "anomaly_input_missing_total", "Missing values that were imputed.", "feature"
            ),
            WarningCode.UNSEEN_CATEGORY: counter(
                "anomaly_input_unseen_category_total",
                "Categories that the model was not fitted on.",
                "feature",
            ),
            WarningCode.OUT_OF_RANGE: counter(
                "anomaly_input_out_of_range_total",
                "Numbers far outside the range the model was fitted on.",
                "feature",
            ),
        }
        self.usually_missing = gauge(
            "anomaly_input_missing_usual_ratio",
            "Share of the fit rows that lacked a value.",
            "feature",
        )
        self.drift = Readings(DRIFT)
        registry.register(self.drift)
        self.queue_rows = gauge("anomaly_queue_rows", "Rows that wait for the model.")
        self.queue_limit = gauge("anomaly_queue_limit_rows", "Beyond which they are turned away.")
        self.queue_seconds = histogram(
            "anomaly_queue_wait_seconds", "How long requests waited for the model.", SECONDS
        )
        self.batch_rows = histogram("anomaly_batch_rows", "Rows scored together.", BATCH_ROWS)
        self.phase_seconds = histogram(
            "anomaly_inference_seconds",
            "decode and respond: of a request; forward: of a batch.",
            SECONDS,
            "phase",
        )
        self.shadow_rows = counter(
            "anomaly_shadow_rows_total",
            "Rows of the champion that were shown to the challenger.",
            "version",
            "outcome",
        )
        self.shadow_agreement = counter(
            "anomaly_shadow_agreement_total",
            "Rows that the challenger scored, by which of the two flags them.",
            "version",
            "verdicts",
        )
        self.shadow_psi = gauge(
            "anomaly_shadow_psi",
            "Population stability index of the challenger's p-values against the champion's.",
            "version",
        )


class ModelMetrics:
    """The metrics of one model, whichever version of it is served.

    Args:
        model: Its name, the label `model`.
    """

    def __init__(self, families: Families, model: str) -> None:
        self._families = families
        self._model = model
        self._features: frozenset[str] = frozenset()
        self._usually_missing: Set[str] = frozenset()
        self._versions: list[str] = []
        self._info: tuple[str, ...] | None = None
        self._margin = families.margin.labels(model)
        self._p_value = families.p_value.labels(model)
        self._score = families.score.labels(model)
        self._queue_seconds = families.queue_seconds.labels(model)
        self._batch_rows = families.batch_rows.labels(model)
        for outcome in OUTCOMES:
            families.reloads.labels(model, outcome)
        self.stale(False)

    def serving(
        self,
        calibration: Calibration,
        *,
        info: Mapping[str, str],
        trained_at: float,
        calibrated_at: float,
        loaded_at: float,
        features: Sequence[str],
        queue_rows: Callable[[], int],
        queue_limit: int,
        drift: Callable[[], DriftFigures],
        usually_missing: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Describe what is served from now on. Counts of the version before are kept until the next
        one comes: a scrape may not have seen the last of them.

        Args:
            info: The labels of `anomaly_model_info`, `INFO`.
            trained_at, calibrated_at, loaded_at: Seconds since 1970, UTC.
            features: Names that may be labels; what else is remarked shares one.
            queue_rows, drift: Asked at every scrape.
            usually_missing: By feature, the share of the fit rows that lacked a value.
            queue_limit: That more must not wait than.
        """
        families, model = self._families, self._model
        self._versions_are(info["version"])
        self._features_are(features[:MOST_FEATURES])
        self._usually_missing_are(usually_missing)
        self._promised(calibration)
        if self._info is not None:
            families.info.remove(*self._info)
        self._info = (model, *(info[name] for name in INFO))
        families.info.labels(*self._info).set(1)
        families.trained.labels(model).set(trained_at)
        families.calibrated.labels(model).set(calibrated_at)
        families.loaded.labels(model).set(loaded_at)
        families.queue_rows.labels(model).set_function(queue_rows)
        families.queue_limit.labels(model).set(queue_limit)
        families.drift.read_from(model, lambda: drift().readings())

    def reloaded(self, outcome: str) -> None:
        """Count an attempt to serve another version; one of `OUTCOMES`."""
        self._families.reloads.labels(self._model, outcome).inc()

    def stale(self, is_stale: bool, *, is_refused: bool = False) -> None:
        """Whether what is served is not known to be what should be.

        Args:
            is_refused: Whether that is because what should be served was refused.
        """
        self._families.stale.labels(self._model).set(is_stale)
        self._families.refused.labels(self._model).set(is_refused)

    def rows_scored(self, scored: Scored, calibration: Calibration, version: str) -> None:
        """Count rows with what was said of them, and what was remarkable about them."""
        margins = calibration.margins(scored.scores)
        # What lies above 1 is what is flagged; the float may differ from that by the tolerance.
        above = np.maximum(margins, np.nextafter(1.0, 2.0))
        self._margin.many(np.where(scored.is_anomaly, above, np.minimum(margins, 1.0)))
        self._p_value.many(scored.p_values)
        self._score.many(scored.scores)
        flagged = int(scored.is_anomaly.sum())
        self._families.scored.labels(self._model, version).inc(len(scored))
        self._families.flagged.labels(self._model, version, LEVEL).inc(flagged)
        for (code, column), values in scored.remarks.items():
            self._remarked(code, column, values)

    def parts_ranked(self, ranks: Parts) -> None:
        """Count ranks of the parts of scores."""
        for part, values in (("reconstruction", ranks.reconstruction), ("kl", ranks.kl)):
            self._families.part_ranks[part].labels(self._model).many(values)

    def may_reject(self, reasons: Iterable[str]) -> None:
        """Count rows of these reasons, and those that find no room, from 0; see `_features_are`."""
        for reason in (*reasons, Overloaded.code):
            self._families.rejected.labels(self._model, reason)

    def rows_rejected(self, rows_by_reason: Mapping[str, int]) -> None:
        """Count rows that were not scored; the reasons are codes of ours."""
        for reason, rows in rows_by_reason.items():
            self._families.rejected.labels(self._model, reason).inc(rows)

    def batch_scored(self, report: BatchReport) -> None:
        """Count one batch."""
        self._batch_rows.one(report.rows)
        self.phase("forward", report.seconds)
        for seconds in report.waits:
            self._queue_seconds.one(seconds)

    def phase(self, name: str, seconds: float) -> None:
        """Count the time of one phase of an answer."""
        self._families.phase_seconds.labels(self._model, name).one(seconds)

    def _versions_are(self, version: str) -> None:
        """From now on this one and the one before."""
        families, model = self._families, self._model
        others = [known for known in self._versions if known != version]
        for old in others[:-1]:
            families.scored.remove(model, old)
            families.flagged.remove(model, old, LEVEL)
        self._versions = [*others[-1:], version]
        families.scored.labels(model, version)
        families.flagged.labels(model, version, LEVEL)

    def _features_are(self, features: Sequence[str]) -> None:
        """Every one is counted from 0: a counter that begins at its first event hides that one."""
        self._features = frozenset(features)
        for counter in self._families.remarks.values():
            for feature in features:
                counter.labels(self._model, feature)

    def _usually_missing_are(self, shares: Mapping[str, float]) -> None:
        """Of the features of this version, and no longer of those of the one before."""
        gauge, model = self._families.usually_missing, self._model
        told = {name: share for name, share in shares.items() if name in self._features}
        for gone in self._usually_missing - told.keys():
            gauge.remove(model, gone)
        for feature, share in told.items():
            gauge.labels(model, feature).set(share)
        self._usually_missing = told.keys()

    def _promised(self, calibration: Calibration) -> None:
        """The threshold, what it rests on, and how many normal rows it may flag."""
        families, model = self._families, self._model
        families.threshold.labels(model, LEVEL).set(calibration.threshold)
        families.alpha.labels(model).set(calibration.alpha)
        families.calibration_rows.labels(model).set(calibration.n)
        lower, upper = realised_bounds(calibration, calibration.alpha)
        families.lower.labels(model).set(lower)
        families.upper.labels(model).set(upper)
        usual = realised_bounds(calibration, SMALL_P)
        for bound, value in zip(("lower", "upper"), usual, strict=True):
            families.bounds.labels(model, bound).set(value / SMALL_P)

    def _remarked(self, code: WarningCode, column: str, values: int) -> None:
        counter = self._families.remarks.get(code)
        if counter is not None:
            feature = column if column in self._features else OTHER_FEATURES
            counter.labels(self._model, feature).inc(values)
