"""Options that several commands share, each spelled once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from anomaly.batch.job_metrics import Destination
    from anomaly.data.options import ReadOptions

Data = Annotated[
    Path,
    typer.Argument(
        help="CSV (also .gz) or Parquet file; of images a folder, or a table with --image-column.",
        metavar="DATA",
        show_default=False,
        readable=False,  # whoever opens it tells what is wrong, with its exit code
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="`models:/NAME@ALIAS`, `models:/NAME/VERSION`, or a directory.",
        show_default=False,
    ),
]
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="`models:/NAME@ALIAS`, `models:/NAME/VERSION`, or a directory."
    ),
]
Alpha = Annotated[
    float | None,
    typer.Option(
        "--alpha",
        help="False-alarm rate: the share of normal rows that may be flagged. "
        "[default: the model's; in training 0.01, or the smallest the rows support]",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ImageColumn = Annotated[
    str | None,
    typer.Option("--image-column", help="DATA is a table of images: the column of their paths."),
]
ImageRoot = Annotated[
    Path | None,
    typer.Option("--image-root", help="What those paths start from. [default: DATA's folder]"),
]
OnError = Annotated[
    str,
    typer.Option(
        "--on-error", help="Image files that cannot be read: `fail` at the first, or `skip` them."
    ),
]
ImagePixels = Annotated[
    int | None,
    typer.Option(
        "--image-pixels",
        min=1,
        help="Refuse images of more pixels, width times height. [default: 16777216]",
        show_default=False,
    ),
]
ImageBytes = Annotated[
    int | None,
    typer.Option(
        "--image-bytes",
        min=1,
        help="Refuse image files of more bytes. [default: 20971520]",
        show_default=False,
    ),
]
LIMITS = ("image_pixels", "image_bytes")
"""The names of these two, for `refuse_given`."""

Delimiter = Annotated[str, typer.Option("--delimiter", help="Of a CSV; \\t for a tab.")]
Encoding = Annotated[str, typer.Option("--encoding", help="Of a CSV; never guessed.")]
Newlines = Annotated[
    bool, typer.Option("--newlines-in-values", help="Quoted CSV values may span lines.")
]


def are_images(data: Path, image_column: str | None) -> bool:
    """Whether DATA names images: a folder, or a table with a column of paths.

    Raises:
        ConfigInvalid: it is a single image.
    """
    from anomaly.errors import ConfigInvalid

    if data.suffix.lower() in (".png", ".jpg", ".jpeg") and data.is_file():
        raise ConfigInvalid(f"{data} is a single image. Give the folder that holds it.")
    return image_column is not None or data.is_dir()


def refuse_given(context: typer.Context, names: Sequence[str], why: str) -> None:
    """Refuse options that would do nothing here.

    Raises:
        ConfigInvalid: names those that were given.
    """
    from anomaly.errors import ConfigInvalid

    sources = {name: context.get_parameter_source(name) for name in names}
    given = [name for name, source in sources.items() if source and source.name != "DEFAULT"]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ConfigInvalid(f"{flags}: {why}. Leave it out.")


def is_skipping(on_error: str) -> bool:
    """Whether image files that cannot be read are left out.

    Raises:
        ConfigInvalid: neither `fail` nor `skip`.
    """
    from anomaly.errors import ConfigInvalid

    if on_error not in ("fail", "skip"):
        raise ConfigInvalid(f"--on-error is `fail` or `skip`, not {on_error!r}.")
    return on_error == "skip"


def destination(
    model: str, job: str | None, textfile: Path | None, pushgateway: str | None
) -> Destination:
    """Where a job reports to.

    Raises:
        ConfigInvalid: see `Destination`, or a name without anything that it is for.
    """
    from anomaly.batch.job_metrics import Destination, job_of
    from anomaly.errors import ConfigInvalid

    if job is not None and textfile is None and pushgateway is None:
        raise ConfigInvalid(
            "--job names what is reported: add --metrics-textfile or --pushgateway."
        )
    return Destination(job_of(model) if job is None else job, textfile, pushgateway)


def read_options(
    delimiter: str,
    encoding: str,
    newlines_in_values: bool,
    image_pixels: int | None = None,
    image_bytes: int | None = None,
) -> ReadOptions:
    """The reader's options from the command line's."""
    from anomaly.data.options import DEFAULT_LIMITS, ImageLimits, ReadOptions

    return ReadOptions(
        delimiter="\t" if delimiter == "\\t" else delimiter,
        encoding=encoding,
        newlines_in_values=newlines_in_values,
        images=ImageLimits(
            bytes=image_bytes or DEFAULT_LIMITS.bytes, pixels=image_pixels or DEFAULT_LIMITS.pixels
        ),
    )
