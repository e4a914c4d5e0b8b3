from __future__ import annotations

import sys

import pytest

from anomaly.models.kernels import EXACT, Kernels, training_kernels
from benchmarks import images_speed
from benchmarks.images_speed import CHOICES, FITS, in_turns, main, weaves, with_ratios
from benchmarks.record import markdown


def test_every_choice_takes_its_turn_and_the_start_of_a_fit_is_not_counted() -> None:
    told: list[tuple[int, str, Kernels]] = []

    found = in_turns(lambda *of: told.append(of), "cpu", steps=20, repeats=3)

    assert {name: len(times) for name, times in found.items()} == dict.fromkeys(CHOICES, 3)
    warm, timed = told[: len(CHOICES)], told[len(CHOICES) :]
    assert [kernels for _, _, kernels in warm] == list(CHOICES.values())
    assert [steps for steps, _, _ in timed] == [1, 21] * len(CHOICES) * 3


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_is_shipped_is_among_the_choices(device: str) -> None:
    for of_tiles in (False, True):
        assert training_kernels(device, of_tiles=of_tiles) in CHOICES.values()
    assert CHOICES["float32"] == EXACT


def test_a_ratio_above_one_is_faster_than_float32_of_the_same_network() -> None:
    measured = [
        ("a", "float32", 6.0),
        ("a", "bfloat16", 2.0),
        ("b", "float32", 1.0),
        ("b", "bfloat16", 4.0),
    ]
    rows = with_ratios(
        [
            {"network": network, "kernels": kernels, "s_per_100_steps": s, "shipped": ""}
            for network, kernels, s in measured
        ]
    )
    assert [row["ratio"] for row in rows] == [1.0, 3.0, 1.0, 0.25]
    assert "| a | bfloat16 | 2 | 3.00x |  |" in markdown(rows, FITS)


def test_without_a_gpu_it_says_that_it_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(images_speed, "has_gpu", lambda: False)
    monkeypatch.setattr(sys, "argv", ["images_speed", "--device", "cuda"])

    assert main() == 0
    assert capsys.readouterr().out.startswith("SKIPPED: torch finds no GPU here.")


def test_weaves_are_grey_and_no_two_alike() -> None:
    first, second = weaves(2)
    assert first.shape == (160, 160, 1)
    assert (first != second).any()
