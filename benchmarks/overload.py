"""Ten times as many requests as the service can answer: does it still answer as many as it can?

    python -m benchmarks.overload [--presets default nearest] [--rows 1000] [--seconds 10]

The service runs on one core as it comes, the load on another, over loopback. First every one of a
few callers asks again as soon as it has its answer: what is answered so is the peak. Then requests
arrive at once, five and ten times that rate, whether or not answers come. Good answers have status
200, the detector's own scores to the last bit, and come within a second of when the request was
due. Everything else must be 503 with Retry-After, on a connection that lives on.

Shares of the peak are of good answers per CPU second of the service: unlike answers per second that
hardly depends on what else the machine does. Exit code 1 if a request was lost, or answered
otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import numpy as np

from anomaly import VAEDetector, load
from anomaly.presets import PRESETS
from benchmarks.labelled import correlated
from benchmarks.record import RESULTS, ROOT, Record, Results, heading, markdown
from benchmarks.serving_peers.formats import OURS
from benchmarks.serving_peers.open_loop import Call, Probe, at_rate, message_of, without_pause
from benchmarks.serving_peers.processes import Tree, started
from benchmarks.serving_peers.servers import free_port

COLUMNS, FIT_ROWS, DECIMALS = 32, 5000, 4
REQUESTS = 8
"""Different ones."""

CALLERS = 5
"""At the peak: a request of a thousand rows is computed while four wait, and none is refused."""

FACTORS = (1, 5, 10)
DEADLINE_SECONDS = 1.0
START_SECONDS = 60

TABLE = {
    "preset": "{preset}",
    "asked": "{factor}",
    "requests/s": "{offered_per_s:,.0f}",
    "good/s": "{good_per_s:,.1f}",
    "good per CPU s": "{good_per_cpu_s:,.1f}",
    "of the peak": "{share:.0%}",
    "p99 ms": "{p99_ms:,.0f}",
    "refused": "{refused:,}",
    "p50 ms ": "{refusal_p50_ms:,.1f}",
    "p99 ms ": "{refusal_p99_ms:,.0f}",
    "lost, other": "{faults}",
    "/livez p99 ms": "{livez_p99_ms:,.0f}",
    "/metrics p99 ms": "{metrics_p99_ms:,.0f}",
    "MB before": "{rss_before_mb:,.0f}",
    "MB after": "{rss_after_mb:,.0f}",
}


@dataclass(frozen=True)
class Work:
    """What is asked, and the scores that are right."""

    messages: Sequence[bytes]
    scores: Sequence[list[float]]


def main() -> int:
    """Serve, load, count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    presets = ("default", "nearest")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=presets)
    parser.add_argument("--rows", type=int, default=1000, help="of a request")
    parser.add_argument("--seconds", type=float, default=10, help="of each load")
    asked = parser.parse_args()
    print(heading(), flush=True)
    results = Results.open(RESULTS / "overload.jsonl", fresh=True)
    server_core, undercore = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    for preset in asked.presets:
        with tempfile.TemporaryDirectory(prefix="overload-") as name:
            folder = Path(name)
            work = make_work(folder / "detector", preset, asked.rows)
            os.sched_setaffinity(0, {undercore})
            # The collector would stop the callers for 200 ms at times, and it would look as if the
            # service had.
            gc.disable()
            port, metrics_port = free_port(), free_port()
            command = [sys.executable, "-m", "anomaly", "serve", str(folder / "detector")]
            command += ["--port", str(port), "--metrics-port", str(metrics_port)]
            with (
                (folder / "log").open("wb") as log,
                started(command, {"PYTHONPATH": str(ROOT)}, server_core, folder, log) as tree,
            ):
                under = Loads(tree, port, metrics_port, work, asked.seconds)
                for record in asyncio.run(under.all()):
                    results.add({"preset": preset, "rows": asked.rows, **record})
    print(markdown(results.records, TABLE))
    return 1 if any(record["faults"] for record in results.records) else 0


def make_work(path: Path, preset: str, rows: int) -> Work:
    """A detector of made rows, saved, and requests to it."""
    rng = np.random.default_rng(0)
    fit_rows = correlated(rng, FIT_ROWS, COLUMNS).round(DECIMALS)
    VAEDetector(preset=preset, random_state=0, device="cpu").fit(fit_rows).save(path)
    detector = load(path)
    names = [column.name for column in detector.schema.required]
    tables = [correlated(rng, rows, COLUMNS).round(DECIMALS) for _ in range(REQUESTS)]
    return Work(
        [
            message_of("/v1/score", OURS.content_type, OURS.encode(names, values))
            for values in tables
        ],
        [detector.anomaly_score(values).tolist() for values in tables],
    )


@dataclass(frozen=True)
class Loads:
    """The loads of one service, one after the other."""

    tree: Tree
    port: int
    metrics_port: int
    work: Work
    seconds: float

    async def all(self) -> list[Record]:
        """The peak, and multiples of it."""
        await self._ready()
        messages = self.work.messages
        await without_pause(self.port, messages, CALLERS, self.seconds / 4)
        records = [await self._measured(without_pause(self.port, messages, CALLERS, self.seconds))]
        peak = records[0]
        for factor in FACTORS:
            rate = factor * peak["good_per_s"]
            record = await self._measured(at_rate(self.port, messages, rate, self.seconds))
            records.append({**record, "factor": f"{factor}x"})
        peak["factor"] = f"{CALLERS} callers"
        return [{**r, "share": r["good_per_cpu_s"] / peak["good_per_cpu_s"]} for r in records]

    async def _ready(self) -> None:
        probe = Probe(self.port, "/readyz")
        end = time.perf_counter() + START_SECONDS
        while await probe.once() is None and time.perf_counter() < end:
            await asyncio.sleep(0.1)

    async def _measured(self, under: Awaitable[list[Call]]) -> Record:
        """One load, what the probes saw meanwhile, and what it took."""
        livez, metrics = Probe(self.port, "/livez"), Probe(self.metrics_port, "/metrics")
        probing = [asyncio.create_task(probe.again_and_again()) for probe in (livez, metrics)]
        before, spent = self.tree.memory_mb(), self.tree.cpu_seconds()
        began = time.perf_counter()
        calls = await under
        seconds = time.perf_counter() - began
        spent, after = self.tree.cpu_seconds() - spent, self.tree.memory_mb()
        for task in probing:
            task.cancel()
        return {
            **told(calls, self.work),
            "offered_per_s": len(calls) / self.seconds,
            "good_per_s": good(calls) / seconds,
            "good_per_cpu_s": good(calls) / spent,
            "cpu_share": spent / seconds,
            "livez_p99_ms": milliseconds(livez.seconds, 0.99),
            "metrics_p99_ms": milliseconds(metrics.seconds, 0.99),
            "rss_before_mb": before["rss_mb"],
            "rss_after_mb": after["rss_mb"],
        }


def good(calls: Sequence[Call]) -> int:
    """How many were answered in time."""
    return sum(c.status == HTTPStatus.OK and c.seconds <= DEADLINE_SECONDS for c in calls)


def told(calls: Sequence[Call], work: Work) -> Record:
    """What became of the requests."""
    answered = [call for call in calls if call.status == HTTPStatus.OK]
    refused = [call for call in calls if call.status == HTTPStatus.SERVICE_UNAVAILABLE]
    wrong = sum(scores_of(call.body) != work.scores[call.number] for call in answered)
    silent = sum(b"retry-after: " not in call.head for call in refused)
    return {
        "requests": len(calls),
        "answered": len(answered),
        "refused": len(refused),
        "lost": sum(call.status == 0 for call in calls),
        "faults": len(calls) - len(answered) - len(refused) + wrong + silent,
        "p50_ms": milliseconds([call.seconds for call in answered], 0.5),
        "p99_ms": milliseconds([call.seconds for call in answered], 0.99),
        "refusal_p50_ms": milliseconds([call.seconds for call in refused], 0.5),
        "refusal_p99_ms": milliseconds([call.seconds for call in refused], 0.99),
        "late_p99_ms": milliseconds([call.sent - call.due for call in calls if call.sent], 0.99),
    }


def scores_of(answer: bytes) -> list[float]:
    """Of one of ours."""
    scores: list[float] = json.loads(answer)["scores"]
    return scores


def milliseconds(seconds: Sequence[float], quantile: float) -> float | None:
    """A quantile; None of nothing."""
    return 1e3 * float(np.quantile(seconds, quantile)) if seconds else None


if __name__ == "__main__":
    sys.exit(main())
