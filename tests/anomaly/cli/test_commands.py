"""The commands that neither train nor serve, as a user meets them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import anomaly
from anomaly.cli import run
from anomaly.data.schema import Kind, Role, Schema
from tests import machines
from tests.command import CHAMPION, NAME, Registry


def test_a_schema_is_proposed_with_its_reasons_and_can_be_used(
    connected: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "schema.yaml"

    assert run(["schema", str(connected.training), "-o", str(place)]) == 0

    said = capsys.readouterr().err
    assert "note: column 'serial': " in said
    assert "note: column 'taken': holds dates" in said
    schema = Schema.from_yaml(place.read_text())
    assert schema.column("serial").role is Role.ID
    assert schema.column("idle").kind is Kind.BOOLEAN
    assert f"--schema {place}" in said


def test_a_schema_goes_to_stdout_by_default(
    connected: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["schema", str(connected.training)]) == 0

    assert Schema.from_yaml(capsys.readouterr().out).column("load").kind is Kind.NUMERIC


def test_score_says_what_it_found_and_what_was_promised(
    connected: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.csv"

    arguments = ["score", str(connected.new), "--model", CHAMPION, "--output", str(output)]
    assert run(arguments) == 0

    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    flagged = [row["is_anomaly"] for row in rows].count("true")
    said = capsys.readouterr().out
    assert f"257 rows scored, {flagged} flagged" in said
    assert "alpha = 0.05 promises at most 5.00%" in said
    # The anomalies are the last seven rows.
    assert [row["is_anomaly"] for row in rows[-7:]] == ["true"] * 7
    assert flagged <= 7 + 25


def test_score_quarantines_where_it_says(
    connected: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(connected.new.read_text() + "only,three,cells\n")

    code = run(
        [
            *("score", str(source), "--model", CHAMPION, "--output", str(output)),
            *("--bad-rows", "quarantine", "--json"),
        ]
    )

    assert code == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["rows"], answer["rejected"]) == (257, 1)
    assert (tmp_path / "out.csv.rejects.csv").read_text().count("ragged_row") == 1


def test_explain_names_rows_columns_and_values(
    connected: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["explain", str(connected.new), "--model", CHAMPION, "--rows", "3"]

    assert run([*arguments, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert run(arguments) == 0
    text = capsys.readouterr().out

    assert len(rows) == 3
    assert rows[0]["reasons"][0]["column"] == "load"
    for row in rows:
        assert f"serial {row['serial']}, line {row['line']}" in text


def test_inspect_shows_card_columns_and_thresholds(
    connected: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", CHAMPION]) == 0
    text = capsys.readouterr().out
    assert run(["inspect", CHAMPION, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)

    detector = anomaly.load(CHAMPION)
    assert "# Anomaly detector" in text
    assert f"{detector.calibration.threshold:.6g}" in text
    for column in detector.schema.names:
        assert column in text
    assert plain["alpha"] == 0.05
    assert plain["threshold"] == detector.calibration.threshold


@pytest.mark.parametrize("command", ["score", "explain"])
def test_another_delimiter_is_said_and_hinted_at(
    connected: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    source = machines.written(machines.records(20), tmp_path / "in.csv")
    source.write_text(source.read_text().replace(",", ";"))
    arguments = [command, str(source), "--model", CHAMPION]
    if command == "score":
        arguments += ["--output", str(tmp_path / "out.csv")]

    assert run(arguments) == 65
    assert "--delimiter ';'" in capsys.readouterr().err
    assert run([*arguments, "--delimiter", ";"]) == 0


def test_score_reports_to_prometheus_how_it_ended(connected: Registry, tmp_path: Path) -> None:
    textfile = tmp_path / "nightly.prom"
    arguments = ["score", str(connected.new), "--model", CHAMPION]
    arguments += ["--output", str(tmp_path / "out.csv"), "--metrics-textfile", str(textfile)]

    assert run(arguments) == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        flagged = sum(row["is_anomaly"] == "true" for row in csv.DictReader(file))
    said = textfile.read_text()
    assert f'anomaly_batch_job_rows_total{{job="{NAME}",status="done"}} 257.0' in said
    assert f'anomaly_batch_job_rows_total{{job="{NAME}",status="flagged"}} {flagged}.0' in said

    assert run(["score", str(tmp_path / "gone.csv"), *arguments[2:], "--job", NAME]) == 66
    assert f'anomaly_batch_job_success{{job="{NAME}"}} 0.0' in textfile.read_text()


def test_a_name_of_a_job_that_nobody_would_hear_is_refused(
    connected: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["score", str(connected.new), "--model", CHAMPION, "--job", "nightly"]

    assert run([*arguments, "--output", str(tmp_path / "out.csv")]) == 78
    assert "add --metrics-textfile or --pushgateway" in capsys.readouterr().err


def test_drift_names_the_column_that_moved(
    connected: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = machines.both(300, 0, seed=9)
    moved.columns["load"][:] += 3 * np.nanstd(moved.columns["load"])
    data = machines.written(moved, tmp_path / "moved.csv")

    arguments = ["drift", str(data), "--model", CHAMPION, "--seed", "0"]
    assert run([*arguments, "--json"]) == 0

    answer = json.loads(capsys.readouterr().out)
    assert answer["rows"] == 300
    assert answer["drifts"][0]["feature"] == "load"
    assert answer["drifts"][0]["psi"] > 0.25
    assert answer["log10_highest"] > 3
    assert answer["errors"]["load"] > 1
    assert 0 < answer["psi_by_chance"] < 0.2
    assert run([*arguments, "--fail-on-alarm"]) == 3
    assert run(arguments) == 0
    assert "the rows are not exchangeable" in capsys.readouterr().out


def test_drift_of_rows_like_those_of_the_training_is_none(
    connected: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = machines.written(machines.both(300, 0, seed=9), tmp_path / "same.csv")

    assert run(["drift", str(data), "--model", CHAMPION, "--seed", "0", "--fail-on-alarm"]) == 0

    assert "nothing says that the rows are not exchangeable" in capsys.readouterr().out
