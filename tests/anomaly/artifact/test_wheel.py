"""The project, packed again: an environment made for a model gets exactly this code."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import anomaly
from anomaly.artifact.wheel import PACKAGES, pack_wheel

SOURCE = Path(anomaly.__file__).parent


def test_the_same_code_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()

    assert pack_wheel(tmp_path).read_bytes() == pack_wheel(tmp_path / "again").read_bytes()


def test_it_holds_every_module_and_no_cache(tmp_path: Path) -> None:
    with zipfile.ZipFile(pack_wheel(tmp_path)) as archive:
        names = archive.namelist()
        card = archive.read("anomaly/artifact/card.py")

    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == set(PACKAGES)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    assert card == (SOURCE / "artifact" / "card.py").read_bytes()
    assert len([n for n in names if n.startswith("anomaly/")]) == len(
        [p for p in SOURCE.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    )


def test_pip_installs_it_and_it_loads_a_model_without_the_source(
    artifact: Path, tmp_path: Path
) -> None:
    wheel, target = pack_wheel(tmp_path), tmp_path / "target"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--target", target, wheel], check=True)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import anomaly; "
        "assert anomaly.__file__.startswith(sys.argv[1]), anomaly.__file__; "
        "print(anomaly.load(sys.argv[2]).calibration.threshold)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, target, artifact],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert float(done.stdout) == anomaly.load(artifact).calibration.threshold
    assert len(list(target.glob("anomaly_vae-*.dist-info/RECORD"))) == 1
