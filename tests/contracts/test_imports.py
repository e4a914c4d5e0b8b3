"""What only scores does not pay for what only training needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import machines

HEAVY = ("torch", "sklearn", "scipy", "pandas", "mlflow", "matplotlib")


def imported_by(code: str, *arguments: object) -> set[str]:
    """The top-level modules that are loaded in a new process after running the code."""
    script = f"import sys\n{code}\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


def test_loading_scoring_and_explaining_an_artifact(artifact: Path) -> None:
    loaded = imported_by(
        "import anomaly\n"
        "from anomaly.artifact.directory import read_manifest\n"
        "from anomaly.artifact.golden import golden_records\n"
        "from pathlib import Path\n"
        "detector = anomaly.load(sys.argv[1])\n"
        "columns = read_manifest(Path(sys.argv[1])).of.golden.columns\n"
        "found = golden_records(detector.schema, columns)\n"
        "detector.detect(found), detector.explain(found), detector.sample(3)",
        artifact,
    )

    assert "numpy" in loaded, "the check itself works"
    assert sorted(loaded & set(HEAVY)) == []


def test_scoring_a_file_from_the_command_line(artifact: Path, tmp_path: Path) -> None:
    source = machines.written(machines.both(20, 5), tmp_path / "in.csv")
    loaded = imported_by(
        "from anomaly.cli import run\n"
        "assert run(['score', sys.argv[1], '--model', sys.argv[2], '--output', sys.argv[3]]) == 0",
        source,
        artifact,
        tmp_path / "out.csv",
    )

    # pyarrow itself looks for pandas when it hands out NumPy arrays.
    assert sorted(loaded & set(HEAVY) - {"pandas"}) == []


@pytest.mark.parametrize("command", [[], ["train"], ["score"], ["serve"], ["config", "show"]])
def test_the_help_of_a_command(command: list[str]) -> None:
    loaded = imported_by(
        "from anomaly.cli import run\nassert run([*sys.argv[1:], '--help']) == 0", *command
    )

    assert sorted(loaded & {*HEAVY, "numpy", "pyarrow", "fastapi"}) == []


def test_the_package_itself() -> None:
    loaded = imported_by("import anomaly, training, service")

    assert sorted(loaded & {*HEAVY, "numpy", "pyarrow"}) == []
