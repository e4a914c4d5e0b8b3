"""`anomaly doctor` looks at everything and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest

from anomaly.arrays import Float32
from anomaly.cli import run
from anomaly.cli.diagnosis import diagnose
from anomaly.models.ops import NumpyOps
from tests.command import NAME, Registry


def test_a_sound_installation_has_no_bad_finding(
    connected: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--json"]) == 0

    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {finding["verdict"] for finding in findings} == {"ok"}
    named = {finding["what"]: finding["detail"] for finding in findings}
    assert {"python", "numpy", "torch", "mlflow", "device", "arithmetic", "registry"} <= set(named)
    assert NAME in named["registry"]


def test_no_registry_is_a_note_and_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    mlflow.set_tracking_uri("sqlite:///mlflow.db")

    verdicts = {finding.what: finding.verdict for finding in diagnose()}

    assert verdicts["registry"] == "note"
    assert list(tmp_path.iterdir()) == []
    mlflow.set_tracking_uri("")


def test_arithmetic_that_depends_on_the_batch_is_found(
    monkeypatch: pytest.MonkeyPatch, connected: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    """As by a BLAS whose products add up in another order from some row on."""
    sound = NumpyOps.linear

    def odd(self: NumpyOps, x: Float32, weight: Float32, bias: Float32) -> Float32:
        product: Float32 = sound(self, x, weight, bias)
        product[17:] = np.nextafter(product[17:], np.float32(np.inf))
        return product

    monkeypatch.setattr(NumpyOps, "linear", odd)

    assert run(["doctor"]) == 1
    assert "scores would depend on the batch" in capsys.readouterr().out
