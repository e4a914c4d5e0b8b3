"""A batch job tells Prometheus how it ended: by a textfile, and by a real Pushgateway."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from anomaly.batch.job_metrics import Counts, Destination, NotReported, job_of, reported
from anomaly.errors import CannotWrite, ConfigInvalid, DependencyDown

LAST = "anomaly_batch_job_last_success_timestamp_seconds"
ROWS = "anomaly_batch_job_rows_total"


class Broken(Exception):
    """What a job failed of."""


def samples(text: str, job: str = "nightly") -> dict[tuple[str, str], float]:
    """By name and status, those of a job."""
    return {
        (sample.name, sample.labels.get("status", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("job") == job and sample.name.startswith("anomaly_")
    }


def fail(to: Destination) -> None:
    with pytest.raises(Broken), reported(to):
        raise Broken


@pytest.fixture
def textfile(tmp_path: Path) -> Path:
    return tmp_path / "nightly.prom"


def test_a_run_tells_what_it_did_and_when(textfile: Path) -> None:
    before = time.time()
    with reported(Destination("nightly", textfile)) as tell:
        tell(Counts(done=257, flagged=9, failed=2))

    found = samples(textfile.read_text())
    assert found[ROWS, "done"] == 257
    assert found[ROWS, "flagged"] == 9
    assert found[ROWS, "failed"] == 2
    assert found["anomaly_batch_job_success", ""] == 1
    assert before <= found[LAST, ""] <= time.time()
    assert 0 <= found["anomaly_batch_job_duration_seconds", ""] < 60


def test_a_failure_is_told_and_does_not_move_the_last_success(textfile: Path) -> None:
    to = Destination("nightly", textfile)
    with reported(to) as tell:
        tell(Counts(done=5))
    succeeded = samples(textfile.read_text())[LAST, ""]

    fail(to)
    fail(to)

    found = samples(textfile.read_text())
    assert found["anomaly_batch_job_success", ""] == 0
    assert found[LAST, ""] == succeeded
    assert found[ROWS, "done"] == 0


@pytest.mark.parametrize(
    "earlier",
    [None, "", "what is this {", f'{LAST}{{job="another"}} 5\n', "\x00\x01"],
)
def test_where_no_success_is_known_none_is_claimed(textfile: Path, earlier: str | None) -> None:
    if earlier is not None:
        textfile.write_text(earlier)

    fail(Destination("nightly", textfile))

    found = samples(textfile.read_text())
    assert (LAST, "") not in found
    assert found["anomaly_batch_job_success", ""] == 0


def test_an_interrupted_run_has_failed(textfile: Path) -> None:
    with pytest.raises(KeyboardInterrupt), reported(Destination("nightly", textfile)):
        raise KeyboardInterrupt

    assert samples(textfile.read_text())["anomaly_batch_job_success", ""] == 0


def test_nothing_but_the_file_is_left_in_its_folder(textfile: Path) -> None:
    with reported(Destination("nightly", textfile)):
        pass

    assert list(textfile.parent.iterdir()) == [textfile]


@pytest.mark.parametrize(
    ("model", "job"),
    [
        ("models:/pumps@champion", "pumps"),
        ("models:/pumps/7", "pumps"),
        ("models/pumps", "pumps"),
        ("models/pumps/", "pumps"),
    ],
)
def test_a_job_without_a_name_has_that_of_its_model(model: str, job: str) -> None:
    assert job_of(model) == job


def test_what_could_not_work_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"end in \.prom"):
        Destination("nightly", tmp_path / "nightly.txt")
    with pytest.raises(ConfigInvalid, match="--job is empty"):
        Destination("")
    for address in ("", "pushgateway:9091", "http://[", "http://"):
        with pytest.raises(ConfigInvalid, match="is a URL"):
            Destination("nightly", pushgateway=address)


def test_a_report_that_is_not_taken_is_an_error_of_its_own(tmp_path: Path) -> None:
    with (
        pytest.raises(CannotWrite, match="metrics-textfile"),
        reported(Destination("nightly", tmp_path / "nowhere" / "nightly.prom")),
    ):
        pass
    with pytest.raises(DependencyDown) as caught, reported(nobody()):
        pass
    assert "127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_error_of_the_job_comes_before_that_of_its_report() -> None:
    with pytest.warns(NotReported, match="Pushgateway"):
        fail(nobody())


def nobody() -> Destination:
    return Destination("nightly", pushgateway="http://user:secret@127.0.0.1:9")


@pytest.fixture(scope="module")
def pushgateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real one, at a port of its own."""
    program = shutil.which("prometheus-pushgateway")
    if program is None:
        pytest.skip("prometheus-pushgateway is not installed; see .ci/packages")
    with socket.create_server(("127.0.0.1", 0)) as found:
        address = f"127.0.0.1:{found.getsockname()[1]}"
    folder = tmp_path_factory.mktemp("pushgateway")
    process = subprocess.Popen(
        [program, f"--web.listen-address={address}"], cwd=folder, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            try:
                pushed(f"http://{address}")
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


def pushed(address: str) -> str:
    """What a scrape of the Pushgateway sees."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def test_a_pushgateway_keeps_the_last_success_through_a_failure(pushgateway: str) -> None:
    to = Destination("nightly", pushgateway=pushgateway)
    before = time.time()
    with reported(to) as tell:
        tell(Counts(done=257, flagged=9))
    first = samples(pushed(pushgateway))

    fail(to)

    then = samples(pushed(pushgateway))
    assert (first[ROWS, "done"], first["anomaly_batch_job_success", ""]) == (257, 1)
    assert before <= first[LAST, ""] == then[LAST, ""]
    assert (then[ROWS, "done"], then["anomaly_batch_job_success", ""]) == (0, 0)


def test_jobs_do_not_mix_whatever_they_are_called(pushgateway: str) -> None:
    for done, job in enumerate(("a/b", 'line 4 "north"', "ü")):
        with reported(Destination(job, pushgateway=pushgateway)) as tell:
            tell(Counts(done=done))

    text = pushed(pushgateway)
    assert [samples(text, job)[ROWS, "done"] for job in ("a/b", 'line 4 "north"', "ü")] == [0, 1, 2]
