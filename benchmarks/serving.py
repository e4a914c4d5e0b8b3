"""Our service beside other ways to serve the same detector: one run, one machine, one core.

    python -m benchmarks.serving [--servers ours mlserver] [--scenarios many bulk] [--repeats 3]
    python -m benchmarks.serving --quick

Every server scores the same rows with the same detector, and must give the detector's own scores
to the last bit, before and after each load, asked by as many connections as the load has. Peers
call the detector the shortest way there is and answer with scores alone, without an access log;
ours is the command that users type, with validation, p-values, metrics and every other setting as
it comes. Each repeat starts every server anew on one core, and wrk loads it from another.

Servers are compared by requests per CPU second of all their processes: unlike requests per second
that hardly depends on what else the machine does. `make -C benchmarks serving_peers` installs the
peers; what is not installed is left out, and said so. Exit code 1 if a server failed a request or
gave another score.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mlflow
import numpy as np

from anomaly import VAEDetector, load
from anomaly.artifact.pyfunc import LOADER, example_of, signature_of
from anomaly.presets import PRESETS
from benchmarks.labelled import correlated
from benchmarks.record import RESULTS, ROOT, Record, Results, heading, markdown
from benchmarks.serving_peers.formats import Kind
from benchmarks.serving_peers.load import is_installed
from benchmarks.serving_peers.measuring import Fault, Scenario, Work, measure
from benchmarks.serving_peers.servers import SERVERS, Models, Server

COLUMNS = 32
FIT_ROWS = 5000
DECIMALS = 4
"""Of every number that is sent; a measurement has about as many."""

REQUESTS = 32
"""Different ones of a scenario."""

SCENARIOS = (
    Scenario("single", 1, 1),
    Scenario("many", 1, 32),
    Scenario("bulk", 100, 8),
    Scenario("bulk-binary", 100, 8, Kind.BINARY),
)

OURS = "ours"
QUICK = (OURS, "naive")
BUSY_GENERATOR = 0.9

TABLE = {
    "server": "{title}",
    "format": "{format}",
    "requests/s": "{requests_per_s:,.0f}",
    "requests per CPU s": "{requests_per_cpu_s:,.0f}",
    "rows per CPU s": "{rows_per_cpu_s:,.0f}",
    "ours to it": "{ratio:.2f}x",
    "p50 ms": "{p50_ms:.2f}",
    "p99 ms": "{p99_ms:.2f}",
    "PSS MB": "{pss_mb:,.0f}",
    "RSS MB": "{rss_mb:,.0f}",
    "ready after s": "{ready_s:.1f}",
    "wrk's core": "{generator_load:.0%}{busy}",
}


def main() -> int:
    """Measure every server in every scenario, print the tables."""
    asked = arguments()
    if not is_installed():
        print("SKIPPED: there is no wrk. Debian and Ubuntu have it: apt install wrk")
        return 0
    print(heading(), flush=True)
    pythons = installed([s for s in SERVERS if s.name in asked.servers], asked.peers.absolute())
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in asked.scenarios]
    faults = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "quick.jsonl" if asked.quick else RESULTS / "serving.jsonl"
        results = Results.open(path, fresh=True)
        work = make_work(folder, asked.preset, asked.seconds)
        for repeat in range(asked.repeats):
            for server, (python, version) in pythons.items():
                place = folder / f"{server.name}-{repeat}"
                common = {"version": version, "preset": asked.preset, "repeat": repeat}
                try:
                    for record in measure(server, python, scenarios, work, place):
                        results.add({**record, **common})
                except Fault as fault:
                    faults += 1
                    print(f"FAULT: {server.title}: {fault}")
                print(f"repeat {repeat}: {server.title}", flush=True)
        print(tables(results.records))
    return 1 if faults else 0


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    servers = [server.name for server in SERVERS]
    scenarios = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--servers", nargs="+", choices=servers, default=servers)
    parser.add_argument("--scenarios", nargs="+", choices=scenarios, default=scenarios)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each load")
    parser.add_argument("--preset", choices=PRESETS, default="default")
    parser.add_argument(
        "--peers",
        type=Path,
        default=ROOT / ".venv-serving",
        help="folder of the peers' virtual environments",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{' and '.join(QUICK)} alone, once, in about a minute; the records are not kept",
    )
    asked = parser.parse_args()
    if asked.quick:
        asked.servers, asked.repeats, asked.seconds = QUICK, 1, 3
    return asked


def installed(servers: Sequence[Server], peers: Path) -> dict[Server, tuple[Path, str]]:
    """The interpreter of each server and the version of its package; others are told of."""
    found: dict[Server, tuple[Path, str]] = {}
    for server in servers:
        python = server.python(peers)
        version = package_version(python, server.package) if python.exists() else ""
        if version:
            found[server] = (python, version)
        else:
            print(f"SKIPPED: {server.title}: no {server.package} in {python.parent.parent.name}")
    return found


def package_version(python: Path, package: str) -> str:
    """Of a package of another environment; empty if it is not there."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def make_work(folder: Path, preset: str, seconds: int) -> Work:
    """A detector of made rows in both forms, the requests, and the cores."""
    rng = np.random.default_rng(0)
    models = Models(folder / "detector", folder / "pyfunc")
    fit_rows = correlated(rng, FIT_ROWS, COLUMNS).round(DECIMALS)
    VAEDetector(preset=preset, random_state=0, device="cpu").fit(fit_rows).save(models.detector)
    detector = load(models.detector)
    mlflow.pyfunc.save_model(
        models.pyfunc,
        loader_module=LOADER,
        data_path=str(models.detector),
        signature=signature_of(detector),
        input_example=example_of(detector),
    )
    rows = {
        n: [correlated(rng, n, COLUMNS).round(DECIMALS) for _ in range(REQUESTS)]
        for n in {1, *(scenario.rows for scenario in SCENARIOS)}
    }
    usable = os.sched_getaffinity(0)
    return Work(models, detector, rows, seconds, min(usable), max(usable))


def tables(records: Sequence[Record]) -> str:
    """One table for each number of rows and connections; formats stand beside each other."""
    loads = dict.fromkeys((record["rows"], record["connections"]) for record in records)
    return "\n".join(
        f"\n{rows} row{'s' if rows > 1 else ''} a request, {connections} "
        f"connection{'s' if connections > 1 else ''}:\n\n"
        + markdown(
            comparison(
                [r for r in records if (r["rows"], r["connections"]) == (rows, connections)]
            ),
            TABLE,
        )
        for rows, connections in loads
    )


def comparison(records: Sequence[Record]) -> list[Record]:
    """The lines of one table: medians over repeats, and how many times as much ours does in JSON.

    Without ours there is nothing to compare with, and no ratio.
    """
    sides = dict.fromkeys((record["server"], record["format"]) for record in records)
    lines = {
        side: medians([r for r in records if (r["server"], r["format"]) == side]) for side in sides
    }
    ours = lines.get((OURS, Kind.JSON.value))
    for line in lines.values():
        if ours is not None:
            line["ratio"] = ours["requests_per_cpu_s"] / line["requests_per_cpu_s"]
    return list(lines.values())


def medians(records: Sequence[Record]) -> Record:
    """One line of a table, from the repeats of one server."""
    first = records[0]
    title = next(server.title for server in SERVERS if server.name == first["server"])
    speeds = {
        "requests_per_s": [r["requests"] / r["seconds"] for r in records],
        "requests_per_cpu_s": [r["requests"] / r["cpu_seconds"] for r in records],
    }
    for name in ("p50_ms", "p99_ms", "pss_mb", "rss_mb", "ready_s", "generator_load"):
        speeds[name] = [r[name] for r in records]
    line: Record = {name: statistics.median(values) for name, values in speeds.items()}
    return {
        "title": f"{title} {first['version']}",
        "format": first["format"],
        **line,
        "rows_per_cpu_s": line["requests_per_cpu_s"] * first["rows"],
        "busy": ", busy" if line["generator_load"] > BUSY_GENERATOR else "",
    }


if __name__ == "__main__":
    sys.exit(main())
