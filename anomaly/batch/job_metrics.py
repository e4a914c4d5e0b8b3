"""What a batch job tells Prometheus when it ends: by a file of node_exporter's, or a Pushgateway.

The one home of the names `anomaly_batch_job_*`. All are gauges, because each run tells of itself: a
run does not count on from the one before.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from time import perf_counter, time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from anomaly.errors import AnomalyError, CannotWrite, ConfigInvalid, DependencyDown

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

ROWS = "anomaly_batch_job_rows_total"
SECONDS = "anomaly_batch_job_duration_seconds"
SUCCESS = "anomaly_batch_job_success"
LAST_SUCCESS = "anomaly_batch_job_last_success_timestamp_seconds"

PUSH_SECONDS = 10.0
"""Of patience with a Pushgateway."""


class NotReported(UserWarning):
    """A run failed, and what should hear of it did not take the news."""


@dataclass(frozen=True)
class Counts:
    """What one run did; of images, images.

    Attributes:
        done: Scored.
        flagged: Of those.
        failed: Left out, because they could not be read.
    """

    done: int = 0
    flagged: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Destination:
    """Where a job reports to.

    Attributes:
        textfile: That node_exporter's textfile collector reads; one for each job.
        pushgateway: Its URL, such as `http://pushgateway:9091`.

    Raises:
        ConfigInvalid: no name, a file that node_exporter would not read, or no URL.
    """

    job: str
    textfile: Path | None = None
    pushgateway: str | None = None

    def __post_init__(self) -> None:
        if not self.job:
            raise ConfigInvalid("--job is empty. Give the job a name, or leave the option out.")
        if self.textfile is not None and self.textfile.suffix != ".prom":
            raise ConfigInvalid(
                f"node_exporter reads files that end in .prom, not {self.textfile.name!r}. Rename "
                "the file of --metrics-textfile."
            )
        if self.pushgateway is not None and not self.host:
            raise ConfigInvalid("--pushgateway is a URL, such as http://pushgateway:9091.")

    @property
    def host(self) -> str:
        """Of the Pushgateway, if there is one; the rest of its URL may hold a password."""
        try:
            return urlsplit(self.pushgateway or "").hostname or ""
        except ValueError:
            return ""


def job_of(model: str) -> str:
    """The name of a job that was given none: that of its model."""
    if model.startswith("models:/"):
        return model.removeprefix("models:/").partition("@")[0].partition("/")[0] or model
    return Path(model).resolve().name or model


@contextmanager
def reported(to: Destination) -> Iterator[Callable[[Counts], None]]:
    """A function that takes what was done. When the block ends it is reported; a block that fails
    reports that, with the time of the last success as it was.

    Raises:
        CannotWrite, DependencyDown: the work is done, and could not be reported.
    """
    started, counts = perf_counter(), Counts()

    def tell(found: Counts) -> None:
        nonlocal counts
        counts = found

    try:
        yield tell
    except BaseException:
        try:
            _report(to, Counts(), perf_counter() - started, None)
        except AnomalyError as error:
            # What the job failed of is what its caller must hear.
            warnings.warn(str(error), NotReported, stacklevel=3)
        raise
    _report(to, counts, perf_counter() - started, time())


def _report(to: Destination, counts: Counts, seconds: float, ended: float | None) -> None:
    if to.textfile is not None:
        last = _last_success(to.textfile, to.job) if ended is None else ended
        _write(to.textfile, registry_of(to.job, counts, seconds, ended is not None, last))
    if to.pushgateway is not None:
        # What is not pushed stays there as it was.
        _push(to, registry_of(to.job, counts, seconds, ended is not None, ended))


def registry_of(
    job: str, counts: Counts, seconds: float, is_success: bool, last_success: float | None
) -> CollectorRegistry:
    """The metrics of one run.

    Args:
        last_success: Seconds since 1970, UTC; None leaves the metric out.
    """
    from prometheus_client import CollectorRegistry, Gauge

    registry = CollectorRegistry()
    text = "Of the last run: done were scored, flagged are some of those, failed were left out."
    rows = Gauge(ROWS, text, ("job", "status"), registry=registry)
    for status in ("done", "flagged", "failed"):
        rows.labels(job, status).set(getattr(counts, status))
    single = {
        SECONDS: ("How long the last run took.", seconds),
        SUCCESS: ("1 if the last run succeeded, 0 if it failed.", float(is_success)),
        LAST_SUCCESS: ("When a run last succeeded.", last_success),
    }
    for name, (text, value) in single.items():
        if value is not None:
            Gauge(name, text, ("job",), registry=registry).labels(job).set(value)
    return registry


def _last_success(path: Path, job: str) -> float | None:
    """As an earlier run wrote it; a file that says nothing of it is as good as none."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    samples = (sample for family in families for sample in family.samples)
    found = (s.value for s in samples if s.name == LAST_SUCCESS and s.labels.get("job") == job)
    return next(found, None)


def _write(path: Path, registry: CollectorRegistry) -> None:
    from prometheus_client import write_to_textfile

    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise CannotWrite(
            f"the metrics of the job cannot be written to {path}: {error.strerror}. Check the "
            "folder of --metrics-textfile."
        ) from error


def _push(to: Destination, registry: CollectorRegistry) -> None:
    from prometheus_client import pushadd_to_gateway

    try:
        pushadd_to_gateway(to.pushgateway or "", to.job, registry, timeout=PUSH_SECONDS)
    except (OSError, HTTPException, ValueError) as error:
        raise DependencyDown(
            f"the Pushgateway at {to.host} did not take the metrics of the job ({error}). Check "
            "--pushgateway."
        ) from error
