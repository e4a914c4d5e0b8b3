"""The command `anomaly`: errors become exit codes and advice, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from anomaly.cli import EXIT_CODES, assemble_app, run
from anomaly.errors import AnomalyError
from tests import machines
from tests.command import CHAMPION, Registry, run_anomaly

COMMANDS = (
    *("train", "calibrate", "evaluate", "promote", "config", "schema"),
    *("score", "explain", "inspect", "doctor", "serve"),
)


def exit_code(*arguments: object) -> int:
    return run([str(argument) for argument in arguments])


def test_every_command_of_every_house_is_there_with_its_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert {entry.name for entry in entry_points(group="anomaly.commands")} == {
        "anomaly",
        "training",
        "service",
    }
    assert exit_code("--help") == 0
    listed = capsys.readouterr().out
    for command in COMMANDS:
        assert f" {command} " in listed
        assert exit_code(command, "--help") == 0
        assert f"anomaly {command}" in capsys.readouterr().out
    for command in ("schema", "show"):
        assert exit_code("config", command, "--help") == 0


def test_commands_may_be_assembled_more_than_once() -> None:
    assert assemble_app() is not assemble_app()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["frob"], 64, "See `anomaly --help`"),
        (["score", "--frob"], 64, "See `anomaly score --help`"),
        (["score", "new.csv", "--model", "m"], 64, "--output"),
        (["config", "frob"], 64, "See `anomaly config --help`"),
        (["score", "nothing.csv", "--model", "MODEL", "--output", "o.csv"], 66, "nothing.csv"),
        (["score", "bad.csv", "--model", "MODEL", "--output", "o.csv"], 65, "bad.csv, line 3"),
        (["score", "empty.csv", "--model", "MODEL", "--output", "o.csv"], 65, "empty.csv"),
        (["score", "header.csv", "--model", "MODEL", "--output", "o.csv"], 65, "no row"),
        (["score", "new.csv", "--model", "nothing", "--output", "o.csv"], 66, "holds no manifest"),
        (["score", "new.csv", "--model", "models:/x", "--output", "o.csv"], 78, "models:/NAME"),
        (["score", "new.csv", "--model", "models:/x@y", "--output", "o.csv"], 66, "no such model"),
        (["score", "new.csv", "--model", "MODEL", "--output", "no/o.csv"], 74, "cannot write"),
        (["score", "new.csv", "--model", "MODEL", "--output", "new.csv"], 78, "different files"),
        (["score", "new.csv", "--model", "MODEL", "--output", "o.xlsx"], 78, ".parquet"),
        (
            ["score", "new.csv", "--model", "MODEL", "--output", "o.csv", "--alpha", "2"],
            78,
            "0 and",
        ),
        (
            ["score", "new.csv", "--model", "MODEL", "--output", "o.csv", "--alpha", "1e-9"],
            65,
            "needs at least",
        ),
        (
            ["score", "new.csv", "--model", "MODEL", "--output", "o.csv", "--device", "gpu"],
            78,
            "auto, cpu, cuda",
        ),
        (
            ["score", "new.csv", "--model", "MODEL", "--output", "o.csv", "--bad-rows", "skip"],
            78,
            "quarantine",
        ),
        (
            ["score", "new.csv", "--model", "MODEL", "--output", "o.csv", "--rejects", "r.csv"],
            78,
            "--bad-rows quarantine",
        ),
        (["score", "new.csv", "--model", "broken", "--output", "o.csv"], 78, "SHA-256"),
        (["schema", "nothing.csv"], 66, "nothing.csv"),
        (["schema", "new.csv", "-o", "no/schema.yaml"], 74, "cannot write"),
        (["schema", "notes.doc"], 65, "cannot tell the format"),
        (["train", "nothing.csv", "--name", "x"], 66, "nothing.csv"),
        (["train", "new.csv", "--name", "x", "--config", "nothing.yaml"], 66, "nothing.yaml"),
        (["train", "new.csv", "--name", "x", "--schema", "bad.csv"], 78, "bad.csv"),
        (["train", "new.csv", "--name", "x", "--set", "seed"], 78, "key=value"),
        (["train", "new.csv", "--name", "x", "--set", "seed=["], 78, "not YAML"),
        (["train", "new.csv", "--name", "x", "--set", "sed=1"], 78, "anomaly config schema"),
        (["train", "new.csv", "--name", "x", "--preset", "deep"], 78, "There are: default"),
        (["train", "new.csv", "--name", "x", "--alpha", "0"], 78, "greater than 0"),
        (["train", "new.csv", "--name", "x", "--alpha", "0.0001"], 65, "needs at least 9999"),
        (["train", "new.csv", "--name", "x", "--alerts-per-day", "5"], 78, "--rows-per-day"),
        (["train", "new.csv", "--name", "x", "--label-column", "no"], 65, "'no'"),
        (["train", "few.csv", "--name", "x"], 65, "Add normal rows"),
        (["evaluate", "new.csv", "--model", "MODEL", "--label-column", "no"], 65, "'no'"),
        (["calibrate", "MODEL"], 78, "--alpha, or --data"),
        (["calibrate", "MODEL", "--alpha", "0.1"], 78, "--output"),
        (["calibrate", CHAMPION, "--alpha", "0.1", "--output", "x"], 78, "takes"),
        (["calibrate", "MODEL", "--alpha", "0.1", "--output", "new.csv"], 74, "cannot write"),
        (["promote", "machines", "99"], 66, "no such model, version"),
        (["inspect", "nothing"], 66, "holds no manifest"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_wrong_has_an_exit_code_and_advice(
    workshop: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    says: str,
    as_json: bool,
) -> None:
    before = sorted(path.name for path in workshop.iterdir())
    takes_json = arguments[0] not in ("schema", "frob", "config")
    given = [str(workshop / "model") if part == "MODEL" else part for part in arguments]

    found = exit_code(*given, *(["--json"] if as_json and takes_json else []))

    printed = capsys.readouterr()
    assert found == code, printed.err
    if as_json and takes_json:
        answer = json.loads(printed.out)["error"]
        assert set(answer) == {"code", "message"}
        assert says in answer["message"]
    else:
        assert says in printed.err
        assert printed.err.splitlines()[-1].startswith("error: ") or "\n" in printed.err
        assert printed.out == ""
    assert "Traceback" not in printed.err
    assert sorted(path.name for path in workshop.iterdir()) == before, "something was left behind"


@pytest.fixture
def workshop(
    connected: Registry, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with a sound model and every kind of unsound file."""
    monkeypatch.chdir(tmp_path)
    machines.written(machines.records(60), tmp_path / "new.csv")
    machines.written(machines.records(5), tmp_path / "few.csv")
    lines = (tmp_path / "new.csv").read_text().splitlines(keepends=True)
    (tmp_path / "bad.csv").write_text("".join([lines[0], lines[1], lines[2].replace("2024", "x")]))
    (tmp_path / "header.csv").write_text(lines[0])
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "notes.doc").write_text("notes")
    shutil.copytree(artifact, tmp_path / "model")
    shutil.copytree(artifact, tmp_path / "broken")
    (tmp_path / "broken" / "README.md").write_text("altered")
    return tmp_path


def test_the_smallest_alpha_that_a_refusal_names_works(
    workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["score", "new.csv", "--model", "model", "--output", "o.csv", "--alpha"]
    assert exit_code(*arguments, "1e-9") == 65
    advice = capsys.readouterr().err.split("ask for ")[1].split(" or more")[0]

    assert exit_code(*arguments, advice) == 0


def test_the_help_that_a_refusal_names_works(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["frob"], ["score", "--frob"], ["config", "frob"], ["promote"], ["schema"]):
        assert exit_code(*wrong) == 64
        named = capsys.readouterr().err.split("See `anomaly ")[1].split("`")[0]
        assert exit_code(*named.split()) == 0


def test_anomalies_have_an_exit_code_of_their_own_if_asked_for(
    workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machines.written(machines.anomalies(5), workshop / "odd.csv")
    arguments = ["--model", "model", "--output", "o.csv"]

    assert exit_code("score", "odd.csv", *arguments) == 0
    assert exit_code("score", "odd.csv", *arguments, "--fail-on-anomaly") == 3
    assert (workshop / "o.csv").exists()


def test_every_error_of_ours_has_an_exit_code_and_first_match_wins() -> None:
    def code(kind: type[BaseException]) -> int:
        return next(code for known, code in EXIT_CODES if issubclass(kind, known))

    def all_below(kind: type[AnomalyError]) -> list[type[AnomalyError]]:
        return [kind, *(inner for below in kind.__subclasses__() for inner in all_below(below))]

    codes = {kind.__name__: code(kind) for kind in all_below(AnomalyError)}
    assert codes == codes | {
        "BadData": 65,
        "SchemaMismatch": 65,
        "NotEnoughRows": 65,
        "AlphaNotSupported": 65,
        "ModelNotFound": 66,
        "DependencyDown": 69,
        "CannotWrite": 74,
        "ConfigInvalid": 78,
        "ArtifactRejected": 78,
        "DeviceUnavailable": 78,
    }


# The real process


def test_the_console_script_and_the_module_are_the_same_command(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("anomaly")
    assert script.exists(), "the project is not installed"

    by_script = subprocess.run([script, "frob"], capture_output=True, text=True, check=False)
    by_module = run_anomaly(tmp_path, "frob")

    assert (by_script.returncode, by_script.stderr) == (by_module.returncode, by_module.stderr)
    assert by_script.returncode == 64


def test_a_registry_that_is_down_is_exit_code_69(workshop: Path) -> None:
    done = run_anomaly(
        *(workshop, "train", "new.csv", "--name", "x", "--set", "detector.fit.steps=1"),
        MLFLOW_TRACKING_URI="http://127.0.0.1:1",
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
    )

    assert done.returncode == 69, done.stderr
    assert "MLFLOW_TRACKING_URI" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="root reads everything, so it must become another")
def test_a_file_that_may_not_be_read_is_exit_code_77(tmp_path: Path) -> None:
    secret = machines.written(machines.records(20), tmp_path / "secret.csv")
    secret.chmod(0)
    script = (
        "import os, sys; from anomaly.cli import run; from anomaly.data import infer, readers; "
        "os.setuid(65534); sys.exit(run(['schema', 'secret.csv']))"
    )
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 77, done.stderr
    assert "secret.csv: Permission denied" in done.stderr


def test_being_stopped_is_exit_code_75_and_leaves_no_half_result(
    workshop: Path, tmp_path: Path
) -> None:
    found = machines.written(machines.records(20_000), workshop / "many.csv")
    with found.open("a") as file:
        rows = found.read_text().split("\n", 1)[1]
        for _ in range(30):
            file.write(rows)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "anomaly", "score", "many.csv"),
            *("--model", "model", "--output", "o.csv"),
        ],
        cwd=workshop,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not list(workshop.glob(".o.csv.*.partial")):
        pass
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 75, said
    assert said.strip() == "interrupted"
    assert not list(workshop.glob("*o.csv*"))


def test_a_pipe_sees_no_progress_and_nothing_but_the_result(workshop: Path) -> None:
    done = run_anomaly(
        workshop, "score", "new.csv", "--model", "model", "--output", "o.csv", "--json"
    )

    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["rows"] == 60
