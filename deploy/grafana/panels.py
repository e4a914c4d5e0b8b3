"""What the dashboard shows: questions, and the panels that answer each of them.

Data only; `deploy.grafana.dashboard` makes Grafana's JSON of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

HTTP = 'job="anomaly", instance=~"$instance"'
MODEL = 'model=~"$model"'
SERIES = f'{MODEL}, instance=~"$instance"'
VERSION = f'{SERIES}, version=~"$version"'
WINDOW = "$__rate_interval"


class Kind(StrEnum):
    """How a panel is drawn."""

    LINES = "lines"
    STACKED = "stacked"
    NUMBER = "number"
    TABLE = "table"
    HEATMAP = "heatmap"


class Needs(StrEnum):
    """Why a panel may be empty although all is well."""

    BATCH = "batch"
    CHALLENGER = "challenger"
    GPU = "gpu"
    HISTORY = "history"
    KL = "kl"


@dataclass(frozen=True)
class Query:
    """One query.

    Attributes:
        legend: With labels in double braces.
        is_bound: Drawn dashed: what the others are compared with.
    """

    expr: str
    legend: str = "{{model}}"
    is_bound: bool = False


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        text: What is usual, and what is not.
        unit: One of Grafana's.
        line: Where a limit is drawn; a number below it is red.
        linear_to: Beyond it the axis is logarithmic; None, linear throughout.
        width: Of 24.
    """

    title: str
    text: str
    queries: tuple[Query, ...]
    kind: Kind = Kind.LINES
    unit: str = "short"
    line: float | None = None
    linear_to: float | None = None
    width: int = 8
    needs: Needs | None = None


def rate(metric: str, labels: str, by: str) -> str:
    """Events a second, summed over what is not kept."""
    return f"sum by ({by}) (rate({metric}{{{labels}}}[{WINDOW}]))"


def quantile(q: float, histogram: str, labels: str, by: str = "model") -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({q}, {rate(f'{histogram}_bucket', labels, f'{by}, le')})"


def quantiles(histogram: str, labels: str, *levels: float) -> tuple[Query, ...]:
    """Quantiles of a model's histogram."""
    return tuple(
        Query(quantile(q, histogram, labels), f"{{{{model}}}} p{100 * q:g}") for q in levels
    )


def ratio_of_small_p(histogram: str, p: float) -> str:
    """The share of p-values up to p, over p, of one hour."""
    small = f'sum by (model) (increase({histogram}_bucket{{le="{p:g}", {SERIES}}}[1h]))'
    all_of_them = f"sum by (model) (increase({histogram}_count{{{SERIES}}}[1h]))"
    return f"{small} / ({all_of_them} > 0) / {p:g}"


def most(query: str) -> str:
    """Of a query by column, the columns that have the most."""
    return f"topk by (model) (8, {query})"


MISSING = f"model_feature:anomaly_input_missing:ratio_increase1h{{{MODEL}}}"

NOT_SCORED = rate("anomaly_rejected_rows_total", SERIES, "reason")
SEEN_REASONS = f"sum by (reason) (anomaly_rejected_rows_total{{{SERIES}}}) > 0"
"""Every reason is counted from 0, and most never occur."""

SCORE_SECONDS = (
    "sum by (le) (rate(http_request_duration_seconds_bucket"
    f'{{{HTTP}, handler=~".*(score|infer|invocations)"}}[{WINDOW}])'
    f' or rate(grpc_server_handling_seconds_bucket{{{HTTP}, grpc_method="ModelInfer"}}[{WINDOW}]))'
)

IS_IT_UP = (
    Panel(
        "Replicas that answer",
        "Each has loaded and verified its model. None is an outage.",
        (Query(f"sum(up{{{HTTP}}}) or vector(0)", "replicas"),),
        Kind.NUMBER,
        line=1,
        width=4,
    ),
    Panel(
        "What is served",
        "One line for each model and replica.",
        (Query(f"anomaly_model_info{{{VERSION}}}", ""),),
        Kind.TABLE,
        width=20,
    ),
    Panel(
        "Requests by status",
        "4xx is what callers sent; 503 is load; another 5xx is a fault of the service. Over gRPC "
        "UNAVAILABLE is load, and INTERNAL a fault.",
        (
            Query(rate("http_requests_total", HTTP, "status"), "{{status}}"),
            Query(rate("grpc_server_handled_total", HTTP, "grpc_code"), "{{grpc_code}}"),
        ),
        Kind.STACKED,
        "reqps",
    ),
    Panel(
        "Share of failed requests",
        "Of ten minutes, without probes: 5xx, and over gRPC what stands for it. Above the line "
        "somebody is paged.",
        (Query("job:requests_failed:ratio_rate10m", "failed"),),
        unit="percentunit",
        line=0.01,
    ),
    Panel(
        "Time of a score request",
        "Over HTTP and gRPC. Above the line p95 pages somebody.",
        tuple(
            Query(f"histogram_quantile({q}, {SCORE_SECONDS})", f"p{100 * q:g}")
            for q in (0.5, 0.95, 0.99)
        ),
        unit="s",
        line=0.5,
        linear_to=0.001,
    ),
    Panel(
        "Rows scored",
        "By model and version; of a model of images, images.",
        (
            Query(
                rate("anomaly_rows_scored_total", VERSION, "model, version"),
                "{{model}} {{version}}",
            ),
        ),
        unit="rowsps",
        width=12,
    ),
    Panel(
        "Rows not scored",
        "By reason: the codes that callers are told. Empty until a row is not scored.",
        (Query(f"{NOT_SCORED} and {SEEN_REASONS}", "{{reason}}"),),
        unit="rowsps",
        width=12,
    ),
)

IS_IT_RIGHT = (
    Panel(
        "Flagged share",
        "Of half an hour. Normal rows alone stay near alpha, and below the upper bound however "
        "unlucky the calibration was (999 of 1,000 calibration samples).",
        (
            Query(f"model:anomaly_rows_flagged:ratio_increase30m{{{MODEL}}}"),
            Query(
                f"max by (model) (anomaly_target_false_alarm_ratio{{{SERIES}}})",
                "{{model}} alpha",
                is_bound=True,
            ),
            Query(
                f"max by (model) (anomaly_false_alarm_ratio_upper{{{SERIES}}})",
                "{{model}} upper bound",
                is_bound=True,
            ),
        ),
        unit="percentunit",
    ),
    Panel(
        "Calibration ratio",
        "The share of p-values up to 0.05, over 0.05, of one hour; the same at 0.01. 1 is as "
        "promised; the dashed bounds leave room for luck with the calibration and for chance.",
        (
            Query(f"model:anomaly_calibration:ratio_increase1h{{{MODEL}}}", "{{model}} at 0.05"),
            Query(ratio_of_small_p("anomaly_p_value", 0.01), "{{model}} at 0.01"),
            Query(f"model:anomaly_calibration_lower:ratio{{{MODEL}}}", "{{model}} lower", True),
            Query(f"model:anomaly_calibration_upper:ratio{{{MODEL}}}", "{{model}} upper", True),
        ),
    ),
    Panel(
        "Margins",
        "0 is the median normal row, 1 the threshold; the same scale for every version.",
        (
            Query(
                f"sum by (le) (increase(anomaly_score_margin_ratio_bucket{{{SERIES}}}[{WINDOW}]))",
                "{{le}}",
            ),
        ),
        Kind.HEATMAP,
    ),
    Panel(
        "Median, p95 and p99 of the margin",
        "Above the line rows are flagged. Ten is as far as it is told.",
        quantiles("anomaly_score_margin_ratio", SERIES, 0.5, 0.95, 0.99),
        line=1,
    ),
    Panel(
        "Large errors by column",
        "The share of rows whose error in a column is as large as on 5 of 100 calibration rows, "
        "over 0.05: 1 is usual, within the dashed bounds. The columns that rise are the reason for "
        "flags, or belong together with the one that is; the eight with the most.",
        (
            Query(
                most(f"max by (model, feature) (anomaly_feature_error_ratio{{{SERIES}}})"),
                "{{model}} {{feature}}",
            ),
            Query(
                f"max by (model, bound) (anomaly_calibration_ratio_bounds{{{SERIES}}})",
                "{{model}} {{bound}}",
                is_bound=True,
            ),
        ),
    ),
    Panel(
        "Reconstruction and KL, each for itself",
        "The share of rows whose part is larger than that of 95 of 100 calibration rows, over "
        "0.05: 1 is usual. Of scores that have a KL, such as the ELBO.",
        tuple(
            Query(ratio_of_small_p(f"anomaly_{part}_rank", 0.05), f"{{{{model}}}} {part}")
            for part in ("reconstruction", "kl")
        ),
        needs=Needs.KL,
    ),
    Panel(
        "Flags of an hour, and a week before",
        "The week before is empty until there is one.",
        (
            Query(f"sum by (model) (increase(anomaly_rows_flagged_total{{{VERSION}}}[1h]))"),
            Query(
                f"sum by (model) (increase(anomaly_rows_flagged_total{{{VERSION}}}[1h] offset 1w))",
                "{{model}} a week before",
                is_bound=True,
            ),
        ),
        needs=Needs.HISTORY,
    ),
    Panel(
        "Threshold",
        "Of the score; changes with the version only.",
        (Query(f"max by (model) (anomaly_threshold{{{SERIES}}})"),),
        Kind.NUMBER,
        width=2,
    ),
    Panel(
        "Alpha",
        "The false-alarm rate asked for.",
        (Query(f"max by (model) (anomaly_target_false_alarm_ratio{{{SERIES}}})"),),
        Kind.NUMBER,
        "percentunit",
        width=3,
    ),
    Panel(
        "Calibration rows",
        "What the threshold rests on; more make the bounds tighter.",
        (Query(f"max by (model) (anomaly_calibration_rows{{{SERIES}}})"),),
        Kind.NUMBER,
        width=3,
    ),
)

IS_THE_INPUT_THE_SAME = (
    Panel(
        "Population stability index",
        "Against the rows that were fitted on, of the eight columns that differ most: below 0.1 "
        "the same, above the line another distribution.",
        (
            Query(
                most(f"max by (model, feature) (anomaly_feature_drift_psi{{{SERIES}}})"),
                "{{model}} {{feature}}",
            ),
        ),
        line=0.25,
    ),
    Panel(
        "Wasserstein distance",
        "From the rows that were fitted on, in their standard deviations; of the eight columns of "
        "numbers that differ most.",
        (
            Query(
                most(f"max by (model, feature) (anomaly_feature_drift_wasserstein{{{SERIES}}})"),
                "{{model}} {{feature}}",
            ),
        ),
    ),
    Panel(
        "Rows compared",
        "In the window of the drift of columns; too few are not compared.",
        (Query(f"anomaly_drift_window_rows{{{SERIES}}}", "{{model}} {{instance}}"),),
    ),
    Panel(
        "Missing share by column",
        "Of one hour, beside that of the fit rows; the eight columns with the most. "
        "Ten points above it, and what chance explains, make a ticket.",
        (
            Query(most(MISSING), "{{model}} {{feature}}"),
            Query(
                f"model_feature:anomaly_input_missing_usual:ratio{{{MODEL}}}"
                f" and on (model, feature) {most(MISSING)}",
                "{{model}} {{feature}} usually",
                is_bound=True,
            ),
        ),
        unit="percentunit",
        width=6,
    ),
    Panel(
        "Unseen categories by column",
        "Rows with a value that the model was not fitted on; the eight columns with the most.",
        (
            Query(
                most(rate("anomaly_input_unseen_category_total", SERIES, "model, feature")),
                "{{model}} {{feature}}",
            ),
        ),
        unit="rowsps",
        width=6,
    ),
    Panel(
        "Out of range by column",
        "Rows with a number far outside what the model was fitted on, often a change of unit; the "
        "eight columns with the most.",
        (
            Query(
                most(rate("anomaly_input_out_of_range_total", SERIES, "model, feature")),
                "{{model}} {{feature}}",
            ),
        ),
        unit="rowsps",
        width=6,
    ),
    Panel(
        "Mean score",
        "Of one hour, within three standard deviations of the day before.",
        (
            Query(f"model:anomaly_score:mean1h{{{MODEL}}}"),
            *(
                Query(
                    f"avg_over_time(model:anomaly_score:mean1h{{{MODEL}}}[1d]) {sign} 3 * "
                    f"stddev_over_time(model:anomaly_score:mean1h{{{MODEL}}}[1d])",
                    f"{{{{model}}}} {name}",
                    is_bound=True,
                )
                for sign, name in (("-", "lower"), ("+", "upper"))
            ),
        ),
        width=6,
    ),
    Panel(
        "Evidence against exchangeability",
        "Powers of ten by which a bettor against it has grown rich. Without a change one stream in "
        "a thousand ever crosses the line; beyond it there is a ticket.",
        (Query(f"anomaly_exchangeability_log10_martingale{{{SERIES}}}", "{{model}} {{instance}}"),),
        line=3,
        linear_to=1,
        width=24,
    ),
)

IS_THERE_ROOM = (
    Panel(
        "Rows that wait",
        "Beyond the limit requests get 503. Four tenths of it, on average, page somebody: a batch "
        "takes all that waits.",
        (
            Query(
                f"max by (model, instance) (anomaly_queue_rows{{{SERIES}}})",
                "{{model}} {{instance}}",
            ),
            Query(
                f"max by (model) (anomaly_queue_limit_rows{{{SERIES}}})", "{{model}} limit", True
            ),
        ),
    ),
    Panel(
        "Time in the queue",
        "Before the model has a request's rows.",
        quantiles("anomaly_queue_wait_seconds", SERIES, 0.5, 0.95),
        unit="s",
    ),
    Panel(
        "Busy share",
        "Of the time the model computes; near 1 the queue grows.",
        (
            Query(
                rate(
                    "anomaly_inference_seconds_sum",
                    f'phase="forward", {SERIES}',
                    "model, instance",
                ),
                "{{model}} {{instance}}",
            ),
        ),
        unit="percentunit",
        line=1,
    ),
    Panel(
        "Time by phase",
        "Share of the time, over all replicas; decode and respond are of requests, forward is the "
        "model.",
        (Query(rate("anomaly_inference_seconds_sum", SERIES, "phase"), "{{phase}}"),),
        Kind.STACKED,
        "percentunit",
    ),
    Panel(
        "Rows of a batch",
        "Rows that were scored together.",
        (
            Query(
                f"sum by (le) (increase(anomaly_batch_rows_bucket{{{SERIES}}}[{WINDOW}]))",
                "{{le}}",
            ),
        ),
        Kind.HEATMAP,
    ),
    Panel(
        "Processor",
        "Cores in use, by replica.",
        (Query(rate("process_cpu_seconds_total", HTTP, "instance"), "{{instance}}"),),
    ),
    Panel(
        "Memory",
        "Resident, by replica. Each loaded version stays until the one after the next.",
        (Query(f"process_resident_memory_bytes{{{HTTP}}}", "{{instance}}"),),
        unit="bytes",
        width=12,
    ),
    Panel(
        "GPU",
        "From dcgm-exporter, where it runs: the share of the time that kernels run.",
        (Query("DCGM_FI_DEV_GPU_UTIL / 100", "{{Hostname}} {{gpu}}"),),
        unit="percentunit",
        width=6,
        needs=Needs.GPU,
    ),
    Panel(
        "GPU memory",
        "Of all programs, from dcgm-exporter, and what the service holds.",
        (
            Query("DCGM_FI_DEV_FB_USED * 2^20", "{{Hostname}} {{gpu}}"),
            Query(f"anomaly_gpu_memory_bytes{{{HTTP}}}", "{{instance}}"),
        ),
        unit="bytes",
        width=6,
        needs=Needs.GPU,
    ),
)

WHICH_MODEL = (
    Panel(
        "Reloads by outcome",
        "Attempts to serve another version, of one hour.",
        (
            Query(
                f"sum by (model, outcome) (increase(anomaly_model_reload_total{{{SERIES}}}[1h]))",
                "{{model}} {{outcome}}",
            ),
        ),
    ),
    Panel(
        "Stale",
        "1: another version should be served, or the registry does not say which.",
        (Query(f"anomaly_model_stale{{{SERIES}}}", "{{model}} {{instance}}"),),
    ),
    Panel(
        "Days since training, and since calibration",
        "Calibrated longer ago than the line, there is a ticket: what is normal may have changed.",
        tuple(
            Query(
                f"(time() - max by (model) (anomaly_model_{what}_timestamp_seconds{{{SERIES}}}))"
                " / 86400",
                f"{{{{model}}}} {what}",
            )
            for what in ("trained", "calibrated")
        ),
        line=90,
    ),
    Panel(
        "Challenger: who flags",
        "Of the rows that both have scored, each at its own alpha; served with --shadow.",
        (
            Query(
                rate("anomaly_shadow_agreement_total", SERIES, "model, verdicts"),
                "{{model}} {{verdicts}}",
            ),
        ),
        Kind.STACKED,
        "rowsps",
        needs=Needs.CHALLENGER,
    ),
    Panel(
        "Challenger: another distribution",
        "Population stability index of its p-values against the champion's; above the line they "
        "differ.",
        (
            Query(
                f"max by (model, version) (anomaly_shadow_psi{{{SERIES}}})",
                "{{model}} {{version}}",
            ),
        ),
        line=0.1,
        needs=Needs.CHALLENGER,
    ),
    Panel(
        "Challenger: rows",
        "What it was shown; dropped where it does not keep up.",
        (
            Query(
                rate("anomaly_shadow_rows_total", SERIES, "model, outcome"),
                "{{model}} {{outcome}}",
            ),
        ),
        unit="rowsps",
        needs=Needs.CHALLENGER,
    ),
)

BATCH_JOBS = (
    Panel(
        "Rows of the last run",
        "By job: done were scored, flagged are some of those, failed were left out.",
        (Query("anomaly_batch_job_rows_total", "{{job}} {{status}}"),),
        needs=Needs.BATCH,
    ),
    Panel(
        "Hours since the last success",
        "Above the line there is a ticket.",
        (Query("(time() - anomaly_batch_job_last_success_timestamp_seconds) / 3600", "{{job}}"),),
        line=26,
        needs=Needs.BATCH,
    ),
    Panel(
        "Rows a second",
        "Of the last run, from its start to its end.",
        (
            Query(
                'anomaly_batch_job_rows_total{status="done"} / on (job) '
                "anomaly_batch_job_duration_seconds",
                "{{job}}",
            ),
        ),
        unit="rowsps",
        needs=Needs.BATCH,
    ),
)

ROWS = (
    ("Is it up?", IS_IT_UP),
    ("Is it right?", IS_IT_RIGHT),
    ("Is the input the same?", IS_THE_INPUT_THE_SAME),
    ("Is there room?", IS_THERE_ROOM),
    ("Which model?", WHICH_MODEL),
    ("Batch jobs", BATCH_JOBS),
)

ANNOTATIONS = (
    ("Reload", f"changes(anomaly_model_loaded_timestamp_seconds{{{SERIES}}}[1m]) > 0", "blue"),
    ("Threshold", f"changes(anomaly_threshold{{{SERIES}}}[1m]) > 0", "orange"),
)
"""Name, query and colour."""

VARIABLES = {
    "model": "label_values(anomaly_model_info, model)",
    "version": 'label_values(anomaly_model_info{model=~"$model"}, version)',
    "instance": 'label_values(up{job="anomaly"}, instance)',
}
