"""The commands that make detectors and look at them: train, calibrate, evaluate, latent, promote,
config."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomaly.cli import options
from anomaly.cli.console import progress, result, say, table

if TYPE_CHECKING:
    from anomaly.image_detector import AnyDetector
    from training.table import Labels

app = typer.Typer()
config_app = typer.Typer(help="The configuration of a training run.", no_args_is_help=True)
app.add_typer(config_app, name="config")

Name = Annotated[str, typer.Option("--name", help="Of the registered model.", show_default=False)]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="run.yaml; `anomaly config schema` tells its keys.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting, such as `seed=1` or `detector.fit.steps=500`."),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="default, fast, robust, ensemble, nearest, nearest_ensemble, vae, elbo, iw, iwae, "
        "masked, exemplar, beta, sigma, mixture, vamp, linear, autoencoder, wae or vq; for images "
        "tiles, whole or whole_nearest. [default: default; for images by their size]",
    ),
]
LabelColumn = Annotated[
    str | None, typer.Option("--label-column", help="Known truth: measures, never trains.")
]
NormalLabel = Annotated[
    str | None,
    typer.Option(
        "--normal-label", help="The label of normal rows or images. [default: 0; of images good]"
    ),
]

MaskColumn = Annotated[
    str | None,
    typer.Option(help="With --image-column: paths of masks, not zero where the anomaly is."),
]

OF_TABLES = ("schema", "id_column", "time_column", "context", "drop", "cycles")
"""Options of `train` that mean nothing for images."""

OF_FILES = ("delimiter", "encoding", "newlines_in_values")
"""How a table is read."""

OF_IMAGES = ("image_column", "image_root", "mask_column", "on_error", *options.LIMITS)

FOR_TABLES = "is for tables of rows, not for images"
FOR_IMAGES = "is for images: a folder, or a table with --image-column"


@app.command()
def train(
    context_of_command: typer.Context,
    data: options.Data,
    name: Name,
    config: ConfigFile = None,
    settings: Settings = None,
    schema: Annotated[
        Path | None, typer.Option("--schema", help="From `anomaly schema`. [default: inferred]")
    ] = None,
    preset: Preset = None,
    alpha: options.Alpha = None,
    alerts_per_day: Annotated[
        float | None,
        typer.Option(help="Instead of alpha: false alarms a day, at --rows-per-day."),
    ] = None,
    rows_per_day: Annotated[float | None, typer.Option(help="With --alerts-per-day.")] = None,
    id_column: Annotated[list[str] | None, typer.Option(help="Copied to outputs.")] = None,
    time_column: Annotated[
        str | None, typer.Option(help="Split by time: fit on the earliest rows.")
    ] = None,
    group_column: Annotated[
        str | None,
        typer.Option(help="Rows of one group measure one object and stay together."),
    ] = None,
    context: Annotated[
        list[str] | None, typer.Option(help="Told to the model, never scored.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Not used.")] = None,
    cycles: Annotated[
        list[str] | None,
        typer.Option(help="Cyclic parts of a date as features: `when=hour_of_day,day_of_week`."),
    ] = None,
    label_column: LabelColumn = None,
    normal_label: NormalLabel = None,
    image_column: options.ImageColumn = None,
    mask_column: MaskColumn = None,
    image_root: options.ImageRoot = None,
    on_error: options.OnError = "fail",
    image_pixels: options.ImagePixels = None,
    image_bytes: options.ImageBytes = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    delimiter: options.Delimiter = ",",
    encoding: options.Encoding = "utf-8",
    newlines_in_values: options.Newlines = False,
    as_json: options.Json = False,
) -> None:
    """Fit a detector on normal rows or images, calibrate it, measure it, register it."""
    import warnings

    from anomaly.errors import ConfigInvalid
    from training import pipeline
    from training.config import load_config
    from training.schemas import training_schema
    from training.telling import look_note, tell

    if time_column and group_column:
        raise ConfigInvalid(
            "rows are split either by time or by group: drop --time-column or --group-column."
        )
    chosen = [
        *([f"device={device}"] if device else []),
        *(
            f"detector.alpha={a!r}"
            for a in [_alpha(alpha, alerts_per_day, rows_per_day)]
            if a is not None
        ),
        *(["split.by=time"] if time_column else []),
        *(["split.by=group", f"split.group_column={group_column}"] if group_column else []),
        *_with_preset(settings, preset),
    ]
    read = options.read_options(delimiter, encoding, newlines_in_values, image_pixels, image_bytes)
    if options.are_images(data, image_column):
        from training.image_commands import train_on_images
        from training.image_data import table_of_images

        of_rows = OF_TABLES if image_column else (*OF_TABLES, *OF_FILES)
        options.refuse_given(context_of_command, of_rows, FOR_TABLES)
        train_on_images(
            data,
            name,
            table_of_images(image_column, label_column, group_column, mask_column, image_root),
            normal_label,
            config,
            chosen,
            read,
            is_skipping=options.is_skipping(on_error),
            as_json=as_json,
        )
        return
    options.refuse_given(context_of_command, OF_IMAGES, FOR_IMAGES)
    run = load_config(config, chosen)
    chosen_schema = training_schema(
        data,
        schema,
        read,
        say=lambda text: say(f"note: {text}"),
        ids=id_column or [],
        time=time_column,
        group=run.split.group_column,
        label=label_column,
        context=context or [],
        drop=drop or [],
        cycles=cycles or [],
    )
    label = chosen_schema.label
    labels = _labels(label.name if label else None, normal_label)
    if chosen_schema.time and run.split.by != "time":
        say(
            f"note: rows are split at random; to fit on the earliest, say --time-column "
            f"{chosen_schema.time.name}"
        )
    with progress("training") as update, warnings.catch_warnings():
        # What the pipeline warns of comes back as notes, to be said once and kept in the card.
        warnings.simplefilter("ignore")

        trained = pipeline.train(
            data, name, chosen_schema, run, labels=labels, options=read, on_look=look_note(update)
        )
    tell(name, trained, "ROWS.csv", as_json=as_json)


def _labels(column: str | None, normal: str | None) -> Labels | None:
    from anomaly.errors import ConfigInvalid
    from training.table import Labels

    if column is not None:
        return Labels(column, "0" if normal is None else normal)
    if normal is not None:
        raise ConfigInvalid("--normal-label says which label is normal: name its --label-column.")
    return None


def _alpha(
    alpha: float | None, alerts_per_day: float | None, rows_per_day: float | None
) -> float | None:
    from anomaly.calibration import alpha_for_alerts
    from anomaly.errors import ConfigInvalid

    if alerts_per_day is None and rows_per_day is None:
        return alpha
    if alpha is not None or alerts_per_day is None or rows_per_day is None:
        raise ConfigInvalid("give either --alpha, or --alerts-per-day with --rows-per-day.")
    return alpha_for_alerts(alerts_per_day, rows_per_day)


@app.command()
def calibrate(
    context_of_command: typer.Context,
    model: options.ModelArgument,
    alpha: options.Alpha = None,
    data: Annotated[
        Path | None, typer.Option(help="New normal rows that took no part in training.")
    ] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Of --data, for a model that was calibrated on groups.")
    ] = None,
    image_column: options.ImageColumn = None,
    image_root: options.ImageRoot = None,
    image_pixels: options.ImagePixels = None,
    image_bytes: options.ImageBytes = None,
    output: Annotated[
        Path | None, typer.Option(help="For a model from a directory: the new directory.")
    ] = None,
    delimiter: options.Delimiter = ",",
    encoding: options.Encoding = "utf-8",
    newlines_in_values: options.Newlines = False,
    as_json: options.Json = False,
) -> None:
    """Change the threshold: the same weights as a new version."""
    from anomaly.artifact import load_any
    from anomaly.artifact.directory import save
    from anomaly.artifact.mlflow_flavor import find
    from anomaly.errors import ConfigInvalid
    from anomaly.image_detector import ImageDetector
    from training.image_commands import recalibrated_on_images
    from training.image_data import table_of_images
    from training.pipeline import kept_if_unregistered, register
    from training.remeasure import recalibrated
    from training.tracking import tracked_run

    if alpha is None and data is None:
        raise ConfigInvalid("nothing to change: give --alpha, or --data, or both.")
    is_registered = model.startswith("models:/")
    if is_registered == (output is not None):
        raise ConfigInvalid(
            "a model from a directory needs --output; a registered one becomes a new version and "
            "takes none."
        )
    read = options.read_options(delimiter, encoding, newlines_in_values, image_pixels, image_bytes)
    loaded = load_any(model)
    detector: AnyDetector
    is_of_images = isinstance(loaded, ImageDetector)
    if not is_of_images:
        options.refuse_given(context_of_command, OF_IMAGES, FOR_IMAGES)
    elif image_column is None:
        options.refuse_given(context_of_command, OF_FILES, FOR_TABLES)
    if isinstance(loaded, ImageDetector):
        of = table_of_images(image_column, None, group_column, None, image_root)
        detector = recalibrated_on_images(loaded, alpha, data, of, read)
    else:
        detector = recalibrated(loaded, alpha, data, read, group_column)
    calibration = detector.calibration
    said = f"threshold {calibration.threshold:.6g} at alpha = {calibration.alpha:g}"
    answer = {"alpha": calibration.alpha, "threshold": calibration.threshold}
    if output is not None:
        save(detector, output)
        result({**answer, "output": output}, as_json=as_json, text=f"{output}: {said}")
        return
    name = find(model).name
    run = tracked_run(experiment=name, run_name="calibrate")
    with kept_if_unregistered(detector, name), run as tracker:
        tracker.metrics(
            {
                "calib/threshold": calibration.threshold,
                "calib/alpha": calibration.alpha,
                "calib/n": calibration.n,
            }
        )
        version, is_champion, _ = register(detector, name)
    text = f"{name} version {version}: {said}"
    if not is_champion:
        text += f"\npromote: anomaly promote {name} {version}"
    result({**answer, "name": name, "version": version}, as_json=as_json, text=text)


@app.command()
def evaluate(
    context_of_command: typer.Context,
    data: options.Data,
    model: options.Model,
    label_column: LabelColumn = None,
    normal_label: NormalLabel = None,
    group_column: Annotated[
        str | None,
        typer.Option(help="For a model calibrated on groups: which object each row measures."),
    ] = None,
    image_column: options.ImageColumn = None,
    mask_column: MaskColumn = None,
    image_root: options.ImageRoot = None,
    on_error: options.OnError = "fail",
    image_pixels: options.ImagePixels = None,
    image_bytes: options.ImageBytes = None,
    device: options.Device = "auto",
    delimiter: options.Delimiter = ",",
    encoding: options.Encoding = "utf-8",
    newlines_in_values: options.Newlines = False,
    as_json: options.Json = False,
) -> None:
    """Measure a model on rows or images that took no part in training."""
    from anomaly.artifact import load_any
    from anomaly.backends.backend import device_named
    from anomaly.image_detector import of_tables
    from training.remeasure import evaluate_file

    detector = load_any(model, device_named(device))
    read = options.read_options(delimiter, encoding, newlines_in_values, image_pixels, image_bytes)
    if options.are_images(data, image_column):
        from training.image_commands import evaluate_on_images
        from training.image_data import table_of_images

        if image_column is None:
            options.refuse_given(context_of_command, OF_FILES, FOR_TABLES)

        of = table_of_images(image_column, label_column, group_column, mask_column, image_root)
        evaluate_on_images(
            detector,
            data,
            of,
            normal_label,
            read,
            is_skipping=options.is_skipping(on_error),
            as_json=as_json,
        )
        return
    options.refuse_given(context_of_command, OF_IMAGES, FOR_IMAGES)
    labels = _labels(label_column, normal_label)
    found = evaluate_file(of_tables(detector), data, labels, read, group_column)
    by_missing = found.false_alarms_by_missing
    lines = [table([(key, f"{value:.4g}") for key, value in found.metrics.items()])]
    if len(by_missing) > 1:
        counts = [(k, n, f"{flagged / n:.4f}") for k, (n, flagged) in by_missing.items()]
        lines += ["", table(counts, ("missing entries", "normal rows", "false-alarm rate"))]
    answer = {
        "alpha": found.alpha,
        "metrics": found.metrics,
        "by_missing": {k: {"normal_rows": n, "flagged": f} for k, (n, f) in by_missing.items()},
    }
    result(answer, as_json=as_json, text="\n".join(lines))


@app.command()
def latent(
    context_of_command: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(
            help="CSV (also .gz) or Parquet file; for a model of images a folder of PNG and JPEG "
            "files.",
            metavar="DATA",
            show_default=False,
            readable=False,
        ),
    ],
    model: options.Model,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the figures.", show_default=False)
    ],
    rows: Annotated[
        int, typer.Option(min=1, help="At most so many rows or images, drawn at random.")
    ] = 200,
    seed: Annotated[
        int, typer.Option(min=0, help="Of that choice, and of draws from the prior.")
    ] = 0,
    image_pixels: options.ImagePixels = None,
    image_bytes: options.ImageBytes = None,
    device: options.Device = "auto",
    delimiter: options.Delimiter = ",",
    encoding: options.Encoding = "utf-8",
    newlines_in_values: options.Newlines = False,
    as_json: options.Json = False,
) -> None:
    """Draw a model's latent space: reconstructions, samples, ways through it, and a map."""
    from anomaly.backends.backend import device_named
    from anomaly.data.image_files import ImageReject
    from training.latent import draw_latents

    def on_reject(reject: ImageReject) -> None:
        say(f"note: {reject.name}: {reject.message}")

    if not data.is_dir():
        options.refuse_given(context_of_command, options.LIMITS, "is for a folder of images")
    with progress("looking") as update:
        files = draw_latents(
            model,
            data,
            output,
            rows=rows,
            seed=seed,
            device=device_named(device),
            options=options.read_options(
                delimiter, encoding, newlines_in_values, image_pixels, image_bytes
            ),
            on_reject=on_reject,
            on_image=lambda done, of: update(done, "", of),
        )
    answer = {"output": output, "figures": [path.name for path in files]}
    result(answer, as_json=as_json, text="\n".join(map(str, files)))


@app.command()
def promote(
    name: Annotated[str, typer.Argument(help="Of the registered model.")],
    version: Annotated[str, typer.Argument(help="To be used from now on.")],
    alias: Annotated[str, typer.Option(help="Which alias to move.")] = "champion",
    as_json: options.Json = False,
) -> None:
    """Point the alias `champion` at a version, after its artifact was loaded and verified."""
    from anomaly.artifact import load_any, mlflow_flavor

    load_any(f"models:/{name}/{version}")
    before = mlflow_flavor.promote(name, version, alias)
    text = f"models:/{name}@{alias} is version {version} now (was {before or 'nothing'})"
    answer = {"name": name, "alias": alias, "version": version, "before": before}
    result(answer, as_json=as_json, text=text)


@config_app.command("schema")
def config_schema(
    images: Annotated[bool, typer.Option("--images", help="Of a run on images.")] = False,
) -> None:
    """Print the JSON Schema of run.yaml, for editors."""
    import json

    from training.config import json_schema

    print(json.dumps(json_schema(images=images), indent=1))


@config_app.command("show")
def config_show(
    config: ConfigFile = None, settings: Settings = None, preset: Preset = None
) -> None:
    """Print the resolved configuration as YAML."""
    from training.config import load_config, to_yaml

    print(to_yaml(load_config(config, _with_preset(settings, preset))), end="")


def _with_preset(settings: list[str] | None, preset: str | None) -> list[str]:
    return [*([f"preset={preset}"] if preset else []), *(settings or [])]
