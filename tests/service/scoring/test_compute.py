"""Jobs of several callers: each gets its own rows, and the remarks on them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anomaly.data.records import Records
from anomaly.detector import Detector, Verdicts
from anomaly.preprocessing.preprocessor import ColumnWarning, WarningCode
from anomaly.scores import ScoreTerms
from service.scoring.compute import Job, compute, divided
from tests.service.pumps import normal_records


@given(
    lengths=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    remarked=st.lists(st.sets(st.integers(0, 23), min_size=1), max_size=3),
)
def test_each_job_gets_the_remarks_on_its_own_rows(
    lengths: list[int], remarked: list[set[int]]
) -> None:
    ends = np.cumsum(lengths).tolist()
    rows = [sorted(row for row in of if row < ends[-1]) for of in remarked]
    warnings = [
        ColumnWarning(WarningCode.MISSING_VALUE, f"x{n}", np.array(of, dtype=np.int64))
        for n, of in enumerate(rows)
        if of
    ]

    found = divided(warnings, ends)

    for job, (end, length) in enumerate(zip(ends, lengths, strict=True)):
        start = end - length
        expected = {
            f"x{n}": [row - start for row in of if start <= row < end] for n, of in enumerate(rows)
        }
        assert {w.column: w.rows.tolist() for w in found[job]} == {
            name: of for name, of in expected.items() if of
        }


def test_every_job_gets_what_it_would_get_alone(detector: Detector) -> None:
    jobs = [Job(normal_records(n, seed=n)) for n in (1, 7, 2, 30)]
    jobs[1].records.columns["flow"][2] = -40.0
    told: list[tuple[Records, Verdicts, ScoreTerms]] = []

    together = compute(detector, jobs, lambda *rows: told.append(rows))

    ((records, verdicts, terms),) = told
    assert len(records) == len(verdicts) == 40
    assert verdicts.scores.tolist() == terms.scores.tolist()
    assert verdicts.scores.tolist() == detector.anomaly_score(records).tolist()
    for job, result in zip(jobs, together, strict=True):
        (alone,) = compute(detector, [job], lambda *_: None)
        np.testing.assert_array_equal(result.verdicts.scores, alone.verdicts.scores)
        np.testing.assert_array_equal(result.verdicts.p_values, alone.verdicts.p_values)
        assert [(w.code, w.column, w.rows.tolist()) for w in result.verdicts.warnings] == [
            (w.code, w.column, w.rows.tolist()) for w in alone.verdicts.warnings
        ]


def test_another_alpha_changes_the_verdicts_of_its_own_job_only(detector: Detector) -> None:
    records = normal_records(40, seed=3)
    told: list[tuple[Records, Verdicts, ScoreTerms]] = []

    usual, strict = compute(
        detector, [Job(records), Job(records, alpha=0.5)], lambda *rows: told.append(rows)
    )

    assert strict.verdicts.alpha == 0.5
    assert strict.verdicts.is_anomaly.sum() > usual.verdicts.is_anomaly.sum()
    both = Records.concatenate([records, records])
    assert told[0][1].is_anomaly.sum() == detector.detect(both).is_anomaly.sum()
