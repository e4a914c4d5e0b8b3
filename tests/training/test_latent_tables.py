"""Pictures of a table's latent space show what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anomaly.assembly import DetectorConfig, assemble
from anomaly.backends.backend import Device, open_backend
from anomaly.data.records import Records
from anomaly.data.schema import Column, Kind, Role, Schema
from anomaly.data.splits import split_rows
from anomaly.detector import Detector
from anomaly.fitting import FitConfig
from tests import machines
from training.latent_tables import (
    MOST_RESPONSES,
    report_figures,
    response_figure,
    space_of,
    table_latent_figures,
    thinned,
)
from training.measures import Measures

ALL = {
    f"latent_{name}.png"
    for name in (
        "units",
        "reconstructions",
        "responses",
        "samples",
        "interpolations",
        "projection",
    )
}


def said(figure: object) -> str:
    text: str = figure.get_suptitle()  # type: ignore[attr-defined]
    return text


@pytest.fixture(scope="module")
def collapsed(every_preset: dict[str, Detector]) -> Detector:
    """The encoder says N(0, 1) of every row."""
    model = every_preset["vae"].model
    last = max(name for name in model.first if name.startswith("encoder"))
    prefix = last.rsplit(".", 1)[0]
    zeros = {k: np.zeros_like(v) for k, v in model.first.items() if k.startswith(prefix)}
    changed = replace(model, members=({**model.first, **zeros},))
    return replace(every_preset["vae"], backend=open_backend(changed, None, Device.CPU))


def test_every_figure_is_drawn_titled_and_written(detector: Detector, tmp_path: Path) -> None:
    rows = machines.both(80, 10, seed=4)

    found = table_latent_figures(detector, rows, np.arange(90) >= 80)

    assert set(found) == ALL
    for name, figure in found.items():
        figure.savefig(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5_000
        assert "latents active" in said(figure)


@pytest.mark.parametrize("n", [1, 2])
def test_a_row_or_two_are_drawn_as_far_as_they_go(detector: Detector, n: int) -> None:
    """One row alone cannot tell which latents are in use, and must not look like a collapse."""
    found = table_latent_figures(detector, machines.records(n, 4))

    assert set(found) == (
        {"latent_reconstructions.png"} if n == 1 else ALL - {"latent_projection.png"}
    )
    assert not any("COLLAPSED" in said(figure) for figure in found.values())


def test_the_report_has_those_that_tell_of_the_model(detector: Detector) -> None:
    truth = np.ones(9, bool)

    found = report_figures(detector, machines.anomalies(9), truth)

    assert set(found) == ALL - {"latent_interpolations.png", "latent_projection.png"}


def test_a_collapsed_posterior_is_said_to_be_one_and_not_drawn_as_a_vae(
    collapsed: Detector,
) -> None:
    found = table_latent_figures(collapsed, machines.records(50, 4))

    assert set(found) == {"latent_units.png", "latent_reconstructions.png"}
    for figure in found.values():
        assert "THE POSTERIOR HAS COLLAPSED" in said(figure)
    assert "expected to be the same" in said(found["latent_reconstructions.png"])
    assert set(report_figures(collapsed, machines.records(50, 4))) == set(found)


def test_a_point_is_not_called_a_vae(every_preset: dict[str, Detector]) -> None:
    found = table_latent_figures(every_preset["autoencoder"], machines.records(50, 4))

    assert all("not a VAE" in said(figure) for figure in found.values())


def test_responses_of_a_linear_model_are_straight_and_begin_at_the_reconstruction(
    every_preset: dict[str, Detector],
) -> None:
    """Closed form: one standard deviation of a latent moves column c by W_dec[c, latent] sd."""
    detector = every_preset["linear"]
    rows = machines.records(60, 4)
    space, p = space_of(detector, rows), detector.model.first
    layer = min(name for name in p if name.startswith("decoder")).rsplit(".", 1)[0]
    latent = int(space.leading(1)[0])

    axis = response_figure(detector, rows, space).axes[0]

    lines = {str(line.get_label()): line for line in axis.get_lines()}
    numbers = Measures.of(detector, rows).names[: detector.model.vae.likelihood.gaussian]
    drawn = [(n, name) for n, name in enumerate(numbers) if name in lines]
    assert drawn
    for column, name in drawn:
        x, y = (np.asarray(part) for part in lines[name].get_data())
        slope = p[f"{layer}.weight"][column, latent] * space.spread(latent)
        np.testing.assert_allclose(y, slope * x, atol=1e-4)
        assert y[x == 0] == 0
    assert len(space.leading(MOST_RESPONSES)) <= MOST_RESPONSES


def test_interpolation_begins_and_ends_at_reconstructions(detector: Detector) -> None:
    rows = machines.records(2, 4)
    axis = table_latent_figures(detector, rows)["latent_interpolations.png"].axes[0]
    constants = detector.preprocessor.features.numbers

    (load,) = (line for line in axis.get_lines() if line.get_label() == "load")

    drawn = np.asarray(load.get_ydata())[[0, -1]] * constants.scale[1] + constants.center[1]
    np.testing.assert_allclose(
        np.sort(drawn), np.sort(detector.reconstruct(rows)["load"]), rtol=1e-4
    )


def test_flagged_rows_are_marked_on_the_map(detector: Detector) -> None:
    rows = machines.both(80, 10, seed=4)
    flagged = int(detector.detect(rows).is_anomaly.sum())

    axis = table_latent_figures(detector, rows)["latent_projection.png"].axes[0]

    points, rings = axis.collections
    assert np.shape(points.get_offsets()) == (90, 2)
    assert np.shape(rings.get_offsets()) == (flagged, 2)
    assert flagged > 0


def test_with_context_nothing_is_drawn_from_the_prior_alone() -> None:
    rng = np.random.default_rng(0)
    schema = Schema(
        (Column("heat", Kind.NUMERIC), Column("machine", Kind.CATEGORICAL, Role.CONTEXT))
    )
    machine = np.array(["a", "b"] * 60, object)
    rows = Records({"heat": rng.normal(0, 1, 120) + (machine == "b"), "machine": machine}, 120)
    config = DetectorConfig(fit=FitConfig(steps=20, check_every=20), alpha=0.1)
    told = assemble(schema, rows, split_rows(120, seed=0), config, seed=0, device=Device.CPU)

    found = table_latent_figures(told.detector, rows)

    assert "latent_samples.png" not in found


def test_of_many_rows_an_even_choice_is_taken() -> None:
    rows = machines.records(100)

    assert thinned(rows, 100) is rows
    assert thinned(rows, 3).columns["serial"].tolist() == [
        rows.columns["serial"][n] for n in (0, 50, 99)
    ]
