"""The commands that neither train nor serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anomaly.cli import options
from anomaly.cli.console import result, say, table

app = typer.Typer()
FAIL_ON_ANOMALY = 3


@app.command()
def schema(
    data: options.Data,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write YAML here. [default: stdout]")
    ] = None,
    delimiter: options.Delimiter = ",",
    encoding: options.Encoding = "utf-8",
    newlines_in_values: options.Newlines = False,
) -> None:
    """Propose a schema for a file: kinds and roles of its columns, to be edited."""
    from anomaly.data.infer import infer_schema
    from anomaly.data.readers import read_sample
    from anomaly.errors import CannotWrite

    sample = read_sample(data, options.read_options(delimiter, encoding, newlines_in_values))
    found, proposals = infer_schema(sample)
    for proposal in proposals:
        say(f"note: column {proposal.column!r}: {proposal.message}")
    if output is None:
        print(found.to_yaml(), end="")
        return
    try:
        output.write_text(found.to_yaml(), encoding="utf-8")
    except OSError as error:
        raise CannotWrite(f"cannot write {output}: {error.strerror}. Check the path.") from error
    say(f"wrote {output}: edit it, then `anomaly train {data} --name NAME --schema {output}`")


@app.command()
def score(
    context_of_command: typer.Context,
    data: options.Data,
    model: options.Model,
    output: Annotated[Path, typer.Option("--output", help="A .csv or .parquet file.")],
    alpha: options.Alpha = None,
    keep_input: Annotated[
        bool, typer.Option("--keep-input", help="Keep all input columns in front.")
    ] = False,
    bad_rows: Annotated[
        str,
        typer.Option(help="`fail` at the first row that cannot be read, or `quarantine` them."),
    ] = "fail",
    rejects: Annotated[
        Path | None,
        typer.Option(help="Where quarantined rows are listed. [default: OUTPUT.rejects.csv]"),
    ] = None,
    fail_on_anomaly: Annotated[
        bool, typer.Option("--fail-on-anomaly", help="Exit with 3 if anything is flagged.")
    ] = False,
    image_column: options.ImageColumn = None,
    image_root: options.ImageRoot = None,
    heatmaps: Annotated[
        Path | None,
        typer.Option(help="A folder for pictures of the flagged images under their heat."),
    ] = None,
    every_heatmap: Annotated[
        bool, typer.Option("--every-heatmap", help="Also of the images that are not flagged.")
    ] = False,
    on_error: options.OnError = "fail",
    image_pixels: options.ImagePixels = None,
    image_bytes: options.ImageBytes = None,
    device: options.Device = "auto",
    delimiter: options.Delimiter = ",",
    encoding: options.Encoding = "utf-8",
    newlines_in_values: options.Newlines = False,
    metrics_textfile: Annotated[
        Path | None,
        typer.Option(
            help="Write metrics of this run for node_exporter's textfile collector (.prom); a "
            "file of this job alone."
        ),
    ] = None,
    pushgateway: Annotated[
        str | None, typer.Option(help="Push metrics of this run to this URL.")
    ] = None,
    job: Annotated[
        str | None, typer.Option(help="Its name in the metrics. [default: the model's]")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Score every row of a file, or every image of a folder, and flag the anomalies."""
    from anomaly.batch.job_metrics import Counts, reported

    to = options.destination(model, job, metrics_textfile, pushgateway)
    with reported(to) as tell:
        read = options.read_options(
            delimiter, encoding, newlines_in_values, image_pixels, image_bytes
        )
        if options.are_images(data, image_column):
            from anomaly.cli.image_commands import score_folder

            of_rows = ["keep_input", "bad_rows"]
            of_rows += [] if image_column else ["delimiter", "encoding", "newlines_in_values"]
            options.refuse_given(
                context_of_command, of_rows, "is for tables of rows, not for images"
            )
            images = score_folder(
                data,
                model,
                output,
                alpha=alpha,
                image_column=image_column,
                image_root=image_root,
                heatmaps=heatmaps,
                every_heatmap=every_heatmap,
                is_skipping=options.is_skipping(on_error),
                rejects=rejects,
                device=device,
                read=read,
                as_json=as_json,
            )
            counts = Counts(images.images, images.flagged, images.rejected)
        else:
            from anomaly.cli.table_commands import score_table

            of_images = ("image_root", "heatmaps", "every_heatmap", "on_error", *options.LIMITS)
            options.refuse_given(
                context_of_command,
                of_images,
                "is for images: a folder, or a table with --image-column",
            )
            rows = score_table(
                data,
                model,
                output,
                alpha=alpha,
                keep_input=keep_input,
                bad_rows=bad_rows,
                rejects=rejects,
                device=device,
                read=read,
                as_json=as_json,
            )
            counts = Counts(rows.rows, rows.flagged, rows.rejected)
        tell(counts)
    if fail_on_anomaly and counts.flagged:
        raise typer.Exit(FAIL_ON_ANOMALY)


@app.command()
def explain(
    data: options.Data,
    model: options.Model,
    alpha: options.Alpha = None,
    rows: Annotated[
        int, typer.Option(min=1, help="At most so many rows, the most anomalous first.")
    ] = 10,
    top_k: Annotated[int, typer.Option(min=1, help="Reasons for each row.")] = 3,
    device: options.Device = "auto",
    delimiter: options.Delimiter = ",",
    encoding: options.Encoding = "utf-8",
    newlines_in_values: options.Newlines = False,
    as_json: options.Json = False,
) -> None:
    """Say why rows of a file are flagged: expected value, observed value, share of the excess."""
    import anomaly
    from anomaly.backends.backend import device_named
    from anomaly.batch.reasons import explained_rows, reasons_text
    from anomaly.errors import ConfigInvalid

    if data.is_dir():
        raise ConfigInvalid(
            "where an image is odd is told by its heatmap: `anomaly score FOLDER --model MODEL "
            "--output scored.csv --heatmaps heatmaps`."
        )

    detector = anomaly.load(model, device_named(device))
    read = options.read_options(delimiter, encoding, newlines_in_values)
    found = explained_rows(detector, data, alpha=alpha, most=rows, top_k=top_k, options=read)
    result({"rows": found}, as_json=as_json, text=reasons_text(found))


@app.command()
def drift(
    context_of_command: typer.Context,
    data: options.Data,
    model: options.Model,
    alarm_threshold: Annotated[
        float,
        typer.Option(help="False alarms of exchangeability: at most 1 / this.", min=1.0),
    ] = 1000.0,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of what breaks ties. [default: drawn, and told]")
    ] = None,
    image_column: options.ImageColumn = None,
    image_root: options.ImageRoot = None,
    image_pixels: options.ImagePixels = None,
    image_bytes: options.ImageBytes = None,
    device: options.Device = "auto",
    delimiter: options.Delimiter = ",",
    encoding: options.Encoding = "utf-8",
    newlines_in_values: options.Newlines = False,
    fail_on_alarm: Annotated[
        bool, typer.Option("--fail-on-alarm", help="Exit with 3 if the rows are not exchangeable.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Compare a file with what a model was fitted and calibrated on, in the order of its rows."""
    from dataclasses import asdict

    from anomaly.artifact import load, load_images
    from anomaly.backends.backend import device_named
    from anomaly.batch.drift import drift_of_images, drift_of_rows, drift_rows, drift_text
    from anomaly.data.readers import open_reader

    read = options.read_options(delimiter, encoding, newlines_in_values, image_pixels, image_bytes)
    if options.are_images(data, image_column):
        from anomaly.cli.image_commands import images_named

        images = images_named(data, image_column, image_root, read)
        report = drift_of_images(load_images(model, device_named(device)), images, seed)
    else:
        of_images = ("image_root", *options.LIMITS)
        options.refuse_given(
            context_of_command, of_images, "is for images: a folder, or a table with --image-column"
        )
        detector = load(model, device_named(device))
        rows = open_reader(data, detector.schema, options=read)
        report = drift_of_rows(detector, rows, seed)
    header = ("feature", "PSI", "Wasserstein (sd)", "large errors", "missing", "usually")
    text = f"{table(drift_rows(report), header)}\n\n{drift_text(report, alarm_threshold)}"
    result(asdict(report), as_json=as_json, text=text)
    if fail_on_alarm and report.alarms(alarm_threshold):
        raise typer.Exit(FAIL_ON_ANOMALY)


@app.command()
def inspect(model: options.ModelArgument, as_json: options.Json = False) -> None:
    """Show a model's card, columns and the thresholds it supports."""
    from anomaly.artifact import load_any
    from anomaly.artifact.card import card_text, describe, threshold_rows
    from anomaly.detector import Detector

    detector = load_any(model)
    thresholds = table(threshold_rows(detector), ("alpha", "threshold", "in force"))
    text = f"{card_text(detector)}\n{thresholds}"
    if isinstance(detector, Detector):
        columns = [(c.name, c.kind, c.role) for c in detector.schema.columns]
        text += f"\n\n{table(columns, ('column', 'kind', 'role'))}"
    result(describe(detector), as_json=as_json, text=text)


@app.command()
def doctor(as_json: options.Json = False) -> None:
    """Check this installation: versions, devices, arithmetic, registry."""
    from anomaly.cli.diagnosis import diagnose

    findings = diagnose()
    text = table([(f.verdict, f.what, f.detail) for f in findings])
    answer = {"findings": [vars(f) for f in findings]}
    result(answer, as_json=as_json, text=text)
    if any(f.verdict == "bad" for f in findings):
        raise typer.Exit(1)
