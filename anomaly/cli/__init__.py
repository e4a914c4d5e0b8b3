"""The command `anomaly`: commands are found by entry points, errors become exit codes here.

Importing this costs little: every command imports what it needs when it runs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

import typer
from typer.exceptions import Abort, TyperException

from anomaly.errors import (
    AnomalyError,
    ArtifactRejected,
    BadData,
    CannotWrite,
    ConfigInvalid,
    DependencyDown,
    DeviceUnavailable,
    ModelNotFound,
    NotEnoughRows,
    TrainingDiverged,
)

USAGE, DATA, NO_INPUT, UNAVAILABLE, INTERNAL, CANNOT_WRITE, TRY_AGAIN, PERMISSION, CONFIG = (
    64,
    65,
    66,
    69,
    70,
    74,
    75,
    77,
    78,
)
"""The exit codes of BSD's sysexits; 0 is success, and 3 is what
`--fail-on-anomaly` and `--fail-on-alarm` wait for."""

TYPERS_INTERRUPTED = 130
"""What typer makes of KeyboardInterrupt."""

EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (BadData, DATA),
    (NotEnoughRows, DATA),
    (ModelNotFound, NO_INPUT),
    (DependencyDown, UNAVAILABLE),
    (CannotWrite, CANNOT_WRITE),
    (TrainingDiverged, INTERNAL),
    (ConfigInvalid, CONFIG),
    (ArtifactRejected, CONFIG),
    (DeviceUnavailable, CONFIG),
    (AnomalyError, DATA),
    (FileNotFoundError, NO_INPUT),
    (IsADirectoryError, NO_INPUT),
    (NotADirectoryError, NO_INPUT),
    (PermissionError, PERMISSION),
)
"""First match wins."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    raise SystemExit(run(given))


def run(arguments: list[str]) -> int:
    """Run the command line; returns the exit code."""
    # A command tells its own story; MLflow's log, its reports to its makers, and the addresses that
    # it prints, which would break the JSON on stdout, are not part of it.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    signal.signal(signal.SIGTERM, _interrupt)
    warnings.showwarning = _show_warning
    as_json = "--json" in arguments
    try:
        # Outside standalone mode `typer.Exit` comes back as a value.
        code = assemble_app()(arguments, prog_name="anomaly", standalone_mode=False)
    except Abort:
        return _interrupted()
    except TyperException as error:
        if not error.format_message():  # help was asked for by giving no argument
            return USAGE
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "anomaly"
        message = f"{error.format_message()} See `{command} --help`."
        return _fail("usage", message, USAGE, as_json)
    except BrokenPipeError:
        return CANNOT_WRITE
    except Exception as error:
        for kind, code in EXIT_CODES:
            if isinstance(error, kind):
                return _fail(getattr(error, "code", "error"), _message(error), code, as_json)
        traceback.print_exc()
        advice = "This is a fault of the program: please report it with the lines above."
        return _fail("internal", f"{type(error).__name__}: {error}. {advice}", INTERNAL, as_json)
    if code == TYPERS_INTERRUPTED:
        return _interrupted()
    return code if isinstance(code, int) else 0


def assemble_app() -> typer.Typer:
    """All commands of the installed packages, in one application."""
    app = typer.Typer(
        help="Fit on normal data, get a detector with a stated false-alarm rate.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for entry in sorted(entry_points(group="anomaly.commands"), key=_order):
        app.add_typer(entry.load())
    return app


def _order(entry: Any) -> int:
    return ("training", "anomaly", "service").index(entry.name)


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, AnomalyError):
        return f"{error.filename}: {error.strerror}. Check the path."
    return str(error)


def _fail(code: str, message: str, exit_code: int, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": {"code": code, "message": message}}))
    else:
        print(f"error: {message}", file=sys.stderr)
    return exit_code


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    if category.__module__.startswith(("anomaly", "training", "service")):
        print(f"note: {message}", file=sys.stderr)


def _interrupted() -> int:
    print("interrupted", file=sys.stderr)
    return TRY_AGAIN


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
