"""What a person sees of a training run."""

from __future__ import annotations

from collections.abc import Callable

from anomaly.artifact.mlflow_flavor import registry
from anomaly.cli.console import result, say, table
from anomaly.fitting import Progress
from training.image_pipeline import TrainedImages
from training.pipeline import Trained


def look_note(update: Callable[..., None]) -> Callable[[Progress], None]:
    """Looks, told to a progress bar."""

    def on_look(look: Progress) -> None:
        of = "held-out loss" if look.held_out else "loss"
        note = f"{of} {look.loss:.4g}, {look.active_units} active units"
        update(look.step, note, look.of_steps)

    return on_look


def tell(name: str, trained: Trained | TrainedImages, example: str, *, as_json: bool) -> None:
    """Print what a training run made, and what can be done with it.

    Args:
        example: What could be scored, as one would name it.
    """
    card, calibration = trained.detector.card, trained.detector.calibration
    for note in card.notes:
        say(f"note: {note}")
    unit = "rows" if isinstance(trained, Trained) else "images"
    lines = [
        f"{name} version {trained.version}" + (" (champion)" if trained.is_champion else ""),
        table([(key, f"{count:,}") for key, count in card.rows.items() if count], (unit, "")),
        f"threshold {calibration.threshold:.6g} at alpha = {calibration.alpha:g} "
        f"({calibration.n} calibration {calibration.unit}s)",
        table([(key, f"{value:.4g}") for key, value in card.metrics.items()]),
        "",
        f"score:   anomaly score {example} --model models:/{name}/{trained.version} "
        "--output scored.csv" + ("" if unit == "rows" else " --heatmaps heatmaps"),
        f"serve:   anomaly serve models:/{name}@champion",
        f"look:    mlflow ui --backend-store-uri {registry()[0]}",
    ]
    if not trained.is_champion:
        lines.append(f"promote: anomaly promote {name} {trained.version}")
    answer = {
        "name": name,
        "version": trained.version,
        "champion": trained.is_champion,
        "run_id": trained.run_id,
        "alpha": calibration.alpha,
        "threshold": calibration.threshold,
        "calibration_scores": calibration.n,
        "unit_of_calibration": calibration.unit,
        "rows": card.rows,
        "metrics": card.metrics,
        "notes": card.notes,
    }
    result(answer, as_json=as_json, text="\n".join(lines))
