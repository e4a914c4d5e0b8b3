"""`anomaly serve`: quick to import, and it refuses before it listens."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anomaly.errors import ConfigInvalid, DeviceUnavailable, ModelNotFound
from service.cli import app


def test_importing_the_command_imports_nothing_heavy() -> None:
    program = (
        "import sys, service.cli; "
        "print(sorted({'numpy', 'fastapi', 'uvicorn', 'pydantic', 'msgspec'} & set(sys.modules)))"
    )

    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert answer.stdout.strip() == "[]"


def test_help_names_every_option() -> None:
    text = (
        CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    )

    for option in (
        "--host",
        "--port",
        "--metrics-port",
        "--grpc-port",
        "--device",
        "--keys",
        "--no-auth",
        "--shadow",
        "--no-docs",
    ):
        assert option in text


def error_of(*arguments: str) -> BaseException | None:
    return CliRunner().invoke(app, ["serve", *arguments]).exception


def test_an_open_address_is_refused_unless_said_aloud(artifact: Path) -> None:
    error = error_of(str(artifact), "--host", "0.0.0.0")

    assert isinstance(error, ConfigInvalid)
    assert "--no-auth" in str(error)


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    assert isinstance(error_of(str(tmp_path / "nothing")), ModelNotFound)


def test_without_a_model_there_is_nothing_to_serve() -> None:
    assert isinstance(error_of(), ConfigInvalid)


def test_cuda_without_a_gpu_refuses_to_start(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert isinstance(error_of(str(artifact), "--device", "cuda"), DeviceUnavailable)


PORTS = ("--port", "--metrics-port", "--grpc-port")


@pytest.mark.parametrize("option", PORTS)
def test_a_port_that_is_taken_is_refused_by_its_number(artifact: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = [word for other in PORTS for word in (other, port if other == option else "0")]

        error = error_of(str(artifact), *given)

    assert isinstance(error, ConfigInvalid)
    assert port in str(error)


def test_grpc_without_its_extra_is_refused_with_what_to_install(artifact: Path) -> None:
    program = (
        "import sys; sys.modules['grpc'] = None; from anomaly.cli import run; "
        f"sys.exit(run(['serve', {str(artifact)!r}, '--port', '0', '--metrics-port', '0', "
        "'--grpc-port', '0']))"
    )

    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )

    assert answer.returncode not in (0, 1)
    assert "pip install 'anomaly-vae[grpc]'" in " ".join(answer.stderr.split())


def test_grpc_is_not_loaded_unless_asked_for() -> None:
    program = "import sys, service.app.server; print('grpc' in sys.modules)"

    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert answer.stdout.strip() == "False"
