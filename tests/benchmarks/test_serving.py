from __future__ import annotations

import os
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.serving import comparison
from benchmarks.serving_peers.formats import ROWS, ROWS_TO_NOTHING, arrow_stream, open_inference
from benchmarks.serving_peers.measuring import Fault, Question, judge
from benchmarks.serving_peers.processes import kilobytes_of, started, ticks_of

RIGHT = Question(b"", [0.1, 2.5])


def loads(server: str, requests: tuple[int, ...], rows: int = 1) -> list[dict[str, object]]:
    """Repeats of one second of the clock and half a second of the CPU."""
    rest = dict.fromkeys(("p50_ms", "p99_ms", "pss_mb", "rss_mb", "ready_s"), 1.0)
    common = {"server": server, "format": "json", "rows": rows, "version": "1", **rest}
    return [
        {**common, "requests": n, "seconds": 1.0, "cpu_seconds": 0.5, "generator_load": 0.95}
        for n in requests
    ]


def test_a_ratio_is_of_the_medians_of_requests_per_cpu_second() -> None:
    ours, naive = comparison([*loads("ours", (100, 300, 200)), *loads("naive", (50, 10, 40))])

    assert (ours["requests_per_s"], ours["requests_per_cpu_s"]) == (200, 400)
    assert (ours["ratio"], naive["ratio"]) == (1.0, 5.0)


def test_without_ours_there_is_no_ratio() -> None:
    (naive,) = comparison(loads("naive", (50,)))

    assert "ratio" not in naive


def test_rows_are_counted_and_a_busy_generator_is_told_of() -> None:
    (ours,) = comparison(loads("ours", (100,), rows=100))

    assert ours["rows_per_cpu_s"] == 20_000
    assert ours["busy"] == ", busy"


def test_only_the_right_scores_are_accepted() -> None:
    judge(ROWS, RIGHT, 200, b'{"scores": [0.1, 2.5]}')
    judge(ROWS_TO_NOTHING, RIGHT, 200, b"")

    with pytest.raises(Fault, match="scores are"):
        judge(ROWS, RIGHT, 200, b'{"scores": [0.1, 2.5000000000000004]}')
    with pytest.raises(Fault, match="answered 503"):
        judge(ROWS, RIGHT, 503, b"")


def test_arrow_holds_the_rows_by_name() -> None:
    rows = np.array([[1.5, 2.0], [3.0, 4.0]])

    table = pa.ipc.open_stream(BytesIO(arrow_stream(["a", "b"], rows))).read_all()

    assert table.to_pydict() == {"a": [1.5, 3.0], "b": [2.0, 4.0]}


def test_a_tensor_is_sent_row_by_row() -> None:
    body = open_inference([], np.array([[1.5, 2.0], [3.0, 4.0]]))

    assert b'"shape":[2,2]' in body
    assert b'"data":[1.5,2.0,3.0,4.0]' in body


def test_times_are_read_behind_any_program_name() -> None:
    numbers = " ".join(str(n) for n in range(4, 53))

    assert ticks_of(f"7 (a) b (c) S {numbers}") == 14 + 15 + 16 + 17


def test_memory_is_read_from_the_rollup() -> None:
    text = "5566-7788 ---p 00000000 00:00 0   [rollup]\nRss:   120 kB\nPss:    80 kB\n"

    assert kilobytes_of(text) == {"Rss": 120, "Pss": 80}


def test_a_tree_counts_children_that_ended_and_ends_those_that_live(tmp_path: Path) -> None:
    program = """
import subprocess, sys, time
burn = "import time\\nwhile time.process_time() < 0.3: pass"
subprocess.run([sys.executable, "-c", burn], check=True)
subprocess.Popen(["sleep", "600"], start_new_session=True)
print("ready", flush=True)
time.sleep(600)
"""
    core = min(os.sched_getaffinity(0))
    said = tmp_path / "said"
    with (
        said.open("wb") as log,
        started([sys.executable, "-c", program], {}, core, tmp_path, log) as tree,
    ):
        while not said.read_text(encoding="utf-8"):
            assert tree.root.poll() is None
        assert tree.cpu_seconds() >= 0.3
        assert tree.memory_mb()["rss_mb"] > 1
        assert len(list(tree.folders())) == 2

    assert not list(tree.folders())
