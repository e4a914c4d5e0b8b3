"""The warning that anomalies may hide among the training rows."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from anomaly.assembly import Assembled, DetectorConfig, assemble
from anomaly.backends.backend import Device
from anomaly.contamination import Contamination, ContaminationWarning
from anomaly.data.frames import records_from_array, schema_of_array
from anomaly.data.splits import split_rows
from anomaly.fitting import FitConfig
from anomaly.models.networks import DenseNetworks
from anomaly.models.vae import VAEConfig
from anomaly.scores import DEFAULT_SCORE, NearestRow, Score
from training.suspects import suspects_csv

N = 600
SCHEMA = schema_of_array(5)
SPLITS = split_rows(N, seed=0)


def assembled(hidden: int, seed: int = 0, score: Score = DEFAULT_SCORE) -> Assembled:
    """Rows of two factors, of which the last `hidden` are far outside."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(N, 2)) @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(N, 5))
    rows[N - hidden :] = rng.normal(0.0, 8.0, (hidden, 5))
    config = DetectorConfig(
        model=VAEConfig(networks=DenseNetworks(hidden=(16,))),
        fit=FitConfig(steps=100, learning_rate=1e-2, lr_warmup_steps=5),
        score=score,
        alpha=0.05,
    )
    records = records_from_array(rows, SCHEMA)
    return assemble(SCHEMA, records, SPLITS, config, seed=seed, device=Device.CPU)


@pytest.mark.parametrize("seed", range(3))
def test_clean_rows_are_not_warned_of(seed: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ContaminationWarning)
        assert not assembled(0, seed).notes


@pytest.mark.parametrize("score", [DEFAULT_SCORE, NearestRow()], ids=lambda score: score.kind)
def test_hidden_anomalies_are_warned_of_and_noted(score: Score) -> None:
    with pytest.warns(ContaminationWarning, match="anomalies may hide"):
        made = assembled(30, score=score)

    (note,) = made.detector.card.notes
    assert "--preset robust" in note


@pytest.mark.filterwarnings("ignore::anomaly.contamination.ContaminationWarning")
@pytest.mark.parametrize("score", [DEFAULT_SCORE, NearestRow()], ids=lambda score: score.kind)
def test_the_suspects_are_the_hidden_rows_by_their_number_in_the_file(score: Score) -> None:
    """The numbers count from 1, in a file in which these are every second row."""
    made, in_file = assembled(30, score=score), 2 * np.arange(N)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(N, 2)) @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(N, 5))
    rows[N - 30 :] = rng.normal(0.0, 8.0, (30, 5))

    text = suspects_csv(made.ranking, records_from_array(rows, SCHEMA), SPLITS, in_file)

    title, *lines = [line.split(",", 4) for line in text.splitlines()]
    assert title == ["row", "part", "score", "share_as_high", "top_columns"]
    assert len(lines) == 100
    found = {int(row) for row, *_ in lines[:30]}
    assert len(found & {2 * i + 1 for i in range(N - 30, N)}) >= 27
    assert {part for _, part, *_ in lines} == {"fit", "calibration"}
    shares = [float(share) for _, _, _, share, _ in lines]
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(1 / len(SPLITS.fit), rel=1e-4)
    for part, size in (("fit", len(SPLITS.fit)), ("calibration", len(SPLITS.calibration))):
        found_here = [(float(score), float(share)) for _, p, score, share, _ in lines if p == part]
        assert found_here == sorted(found_here, reverse=True, key=lambda row: row[0])
        assert [share for _, share in found_here] == pytest.approx(
            [(i + 1) / size for i in range(len(found_here))], rel=1e-4
        )


@pytest.mark.parametrize("freedom", [2, 5, 20])
def test_false_warnings_are_rare_on_chi_square_scores(freedom: int) -> None:
    """What squared errors of Gaussian columns add up to; 2 degrees are the exponential law."""
    rng = np.random.default_rng(freedom)
    found = [Contamination.of_scores(rng.chisquare(freedom, 300)) for _ in range(500)]

    assert sum(each.is_likely for each in found) <= 2


@pytest.mark.parametrize("share", [0.03, 0.05])
def test_far_scores_are_counted(share: float) -> None:
    scores = np.random.default_rng(0).exponential(size=1_000)
    far = int(share * len(scores))
    scores[:far] += 50.0

    found = Contamination.of_scores(scores)

    assert found.is_likely
    assert far <= found.suspicious <= far + 5


def test_the_limit_scales_and_shifts_with_the_scores() -> None:
    scores = np.random.default_rng(0).exponential(size=500)
    plain, moved = (Contamination.of_scores(s) for s in (scores, 7.0 * scores - 3.0))

    assert moved.beyond == pytest.approx(7.0 * plain.beyond - 3.0)
    assert replace(moved, beyond=plain.beyond) == plain


def test_a_few_far_scores_of_few_rows_are_no_evidence() -> None:
    scores = np.append(np.random.default_rng(0).exponential(size=98), [50.0, 60.0])

    assert not Contamination.of_scores(scores).is_likely
