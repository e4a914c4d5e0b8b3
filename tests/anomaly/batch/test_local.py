"""Scoring a file gives one output, whatever chunks it was read in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pyarrow import csv, parquet

from anomaly.assembly import DetectorConfig, assemble
from anomaly.batch.local import score_file
from anomaly.data.frames import records_from_array, schema_of_array
from anomaly.data.options import ReadOptions
from anomaly.data.splits import split_rows
from anomaly.detector import Detector
from anomaly.fitting import FitConfig


def small_detector() -> Detector:
    rows = np.random.default_rng(0).standard_normal((400, 3))
    schema = schema_of_array(3)
    config = DetectorConfig(fit=FitConfig(steps=20))
    records = records_from_array(rows, schema)
    return assemble(schema, records, split_rows(400, seed=0), config, seed=0).detector


def test_a_chunk_without_flags_or_warnings_fits_the_same_parquet_file(tmp_path: Path) -> None:
    source, as_parquet, as_csv = (tmp_path / n for n in ("rows.csv", "out.parquet", "out.csv"))
    usual, unusual = "0.1,-0.1,0.05\n" * 500, "90,-90,\n" * 3
    source.write_text("x0,x1,x2\n" + usual + unusual)
    detector = small_detector()
    chunks: list[int] = []
    options = ReadOptions(block_bytes=1024)

    score_file(detector, source, as_parquet, options=options, on_rows=chunks.append)
    score_file(detector, source, as_csv, options=options)

    assert len(chunks) > 2
    table = parquet.read_table(as_parquet)
    assert table["top_features"].null_count == table["warnings"].null_count == 500
    assert table["is_anomaly"].to_pylist()[-3:] == [True] * 3
    assert csv.read_csv(as_csv)["score"].to_pylist() == table["score"].to_pylist()
