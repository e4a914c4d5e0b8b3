"""What can go wrong, as types.

Every message says what happened, why, and what to do next. `code` is a stable machine word:
the service sends it in its problem documents and the command line prints it with `--json`.
Which exit code or HTTP status a class becomes is decided at the two doors (`anomaly.cli`,
`service.routes`), never here.
"""

from __future__ import annotations

from pathlib import Path


class AnomalyError(Exception):
    """Base of every error that this project raises on purpose."""

    code = "error"


class BadData(AnomalyError, ValueError):
    """Input that cannot be read or does not fit the schema.

    Args:
        message: What happened, why, what to do next; without the location, which is added.
        code: Stable machine word, such as ``ragged_row``.
        file: The file that was read, if one was.
        line: 1-based line of the file, or None.
        row: 0-based row of an array, a frame or a request, or None.
        column: Name of the column, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        file: Path | str | None = None,
        line: int | None = None,
        row: int | None = None,
        column: str | None = None,
    ) -> None:
        self.code = code
        self.message = message
        self.file = file
        self.line = line
        self.row = row
        self.column = column
        place = ", ".join(
            part
            for part, given in (
                (f"{file}", file is not None),
                (f"line {line}", line is not None),
                (f"row {row}", row is not None),
                (f"column {column!r}", column is not None),
            )
            if given
        )
        super().__init__(f"{place}: {message}" if place else message)


class SchemaMismatch(BadData):
    """Columns or values that contradict the schema."""


class ImageRejected(BadData):
    """An image file that is too large, cut off, damaged, or neither PNG nor JPEG."""


class NotEnoughRows(AnomalyError, ValueError):
    """Fewer rows than the smallest split that still means something."""

    code = "not_enough_rows"


class AlphaNotSupported(AnomalyError, ValueError):
    """A false-alarm rate that the number of calibration scores cannot support."""

    code = "alpha_not_supported"


class TrainingDiverged(AnomalyError, ArithmeticError):
    """The loss or a gradient is no longer finite."""

    code = "training_diverged"


class ConfigInvalid(AnomalyError, ValueError):
    """A setting that is unknown, out of range, or contradicts another."""

    code = "config_invalid"


class ArtifactRejected(AnomalyError, ValueError):
    """A saved detector that is incomplete, altered, of another format, or computes other scores."""

    code = "artifact_rejected"


class DeviceUnavailable(AnomalyError, RuntimeError):
    """The device that was asked for is not in this machine."""

    code = "device_unavailable"


class DependencyDown(AnomalyError, ConnectionError):
    """A registry or other service that does not answer."""

    code = "dependency_down"


class ModelNotFound(AnomalyError, LookupError):
    """No model, version or alias of that name."""

    code = "model_not_found"


class CannotWrite(AnomalyError, OSError):
    """An output that cannot be written."""

    code = "cannot_write"
