"""Options that several commands share, each spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from anomaly.data.options import ReadOptions

Data = Annotated[
    Path,
    typer.Argument(
        help="CSV (also .gz) or Parquet file.",
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
Delimiter = Annotated[str, typer.Option("--delimiter", help="Of a CSV; \\t for a tab.")]
Encoding = Annotated[str, typer.Option("--encoding", help="Of a CSV; never guessed.")]
Newlines = Annotated[
    bool, typer.Option("--newlines-in-values", help="Quoted CSV values may span lines.")
]


def read_options(delimiter: str, encoding: str, newlines_in_values: bool) -> ReadOptions:
    """The reader's options from the command line's."""
    from anomaly.data.options import ReadOptions

    return ReadOptions(
        delimiter="\t" if delimiter == "\\t" else delimiter,
        encoding=encoding,
        newlines_in_values=newlines_in_values,
    )
