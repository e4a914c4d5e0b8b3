"""What a run leaves in MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow.data.meta_dataset import MetaDataset

from anomaly.artifact.mlflow_flavor import connect, registry_errors
from anomaly.data.schema import Schema
from anomaly.fitting import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_PARAM = 500
"""MLflow's limit on the value of a parameter."""


class Tracker:
    """Logs to the active run, each thing once."""

    def params(self, config: Mapping[str, Any], yaml: str) -> None:
        """The resolved configuration, flat for the table and whole as `run.yaml`."""
        flat = {key: str(value)[:LONGEST_PARAM] for key, value in flatten(config).items()}
        mlflow.log_params(flat)
        mlflow.log_text(yaml, "run.yaml")

    def data(self, name: str, digest: str, schema: Schema) -> None:
        """The data set by name and digest; no row of it."""
        source = mlflow.data.dataset_source_registry.resolve_dataset_source(name)
        # MLflow keeps 36 characters of a digest; the whole one is in the model card.
        mlflow.log_input(_NamedData(source, name=name, digest=digest[:32]), context="training")
        mlflow.log_text(schema.to_yaml(), "schema.yaml")

    def files(self, name: str, digest: str) -> None:
        """The images by the folder or table that names them, and a digest; no pixel of them."""
        source = mlflow.data.dataset_source_registry.resolve_dataset_source(name)
        mlflow.log_input(_NamedData(source, name=name, digest=digest[:32]), context="training")

    def look(self, progress: Progress) -> None:
        """One point of the curves: while training, and on early-stop rows or else fit rows."""
        of = "val" if progress.held_out else "fit"
        mlflow.log_metrics(
            {
                "train/loss": progress.train_loss,
                "train/recon": progress.train_reconstruction,
                "train/kl": progress.train_kl,
                "train/gradient_norm": progress.gradient_norm,
                f"{of}/loss": progress.loss,
                f"{of}/recon": progress.reconstruction,
                f"{of}/kl": progress.kl,
                f"{of}/elbo": -(progress.reconstruction + progress.kl),
                f"{of}/active_units": progress.active_units,
            },
            step=progress.step,
        )

    def metrics(self, metrics: Mapping[str, float]) -> None:
        """Final numbers."""
        mlflow.log_metrics(dict(metrics))

    def figures(self, figures: Mapping[str, Figure]) -> None:
        """Pictures, under `figures/`."""
        for name, figure in figures.items():
            mlflow.log_figure(figure, f"figures/{name}")

    def text(self, text: str, name: str) -> None:
        """A text file."""
        mlflow.log_text(text, name)


class _NamedData(MetaDataset):
    """A data set of which only name and digest are logged."""

    @property
    def profile(self) -> None:
        return None


@contextmanager
def tracked_run(experiment: str, run_name: str) -> Iterator[Tracker]:
    """An MLflow run of the experiment; it is marked as failed if the block raises.

    Raises:
        DependencyDown: the tracking server does not answer.
    """
    connect(create=True)
    with registry_errors(f"experiment {experiment}"):
        mlflow.set_experiment(experiment)
        run = mlflow.start_run(run_name=run_name)
    with run, registry_errors(f"run {run_name}"):
        yield Tracker()


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
