"""What can be wrong with a request, as stable words, and never with the value that was wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from anomaly.errors import BadData

MOST_LISTED = 20
"""Errors that a refusal lists; the others are only counted."""

LONGEST_NAME = 100


class Code(StrEnum):
    """What is wrong with one row or one of its values."""

    NOT_A_NUMBER = "not_a_number"
    NOT_A_BOOLEAN = "not_a_boolean"
    NOT_TEXT = "not_text"
    NOT_A_DATETIME = "not_a_datetime"
    NOT_AN_ID = "not_an_id"
    NON_FINITE = "non_finite"
    PRECISION_LOSS = "precision_loss"
    BAD_TEXT = "bad_text"
    MISSING_VALUE = "missing_value"
    TOO_MANY_MISSING = "too_many_missing"
    UNSEEN_CATEGORY = "unseen_category"
    UNKNOWN_COLUMN = "unknown_column"
    RAGGED_ROW = "ragged_row"
    NOT_AN_OBJECT = "not_an_object"
    NOT_AN_ARRAY = "not_an_array"
    NOT_A_LINE = "not_a_line"
    IMAGE_EMPTY = "image_empty"
    IMAGE_FORMAT = "image_format"
    IMAGE_TRUNCATED = "image_truncated"
    IMAGE_DAMAGED = "image_damaged"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_TOO_MANY_PIXELS = "image_too_many_pixels"
    IMAGE_TOO_MANY_TILES = "image_too_many_tiles"


MESSAGES = {
    Code.NOT_A_NUMBER: "must be a JSON number or null; text, true and false are not numbers",
    Code.NOT_A_BOOLEAN: "must be true, false or null",
    Code.NOT_TEXT: "must be a JSON string or null",
    Code.NOT_A_DATETIME: "must be a string with an ISO 8601 date or time, or null",
    Code.NOT_AN_ID: "must be a string, a number, true, false or null",
    Code.NON_FINITE: "must be a finite number; NaN, Infinity and numbers beyond 1.8e308 are not",
    Code.PRECISION_LOSS: "is an integer beyond 2^53, which a float64 cannot hold exactly; "
    "send it rounded, with a decimal point or exponent",
    Code.BAD_TEXT: "holds a NUL character or half of a surrogate pair, which is not text",
    Code.MISSING_VALUE: "is null or absent, and the schema says that it must not be",
    Code.TOO_MANY_MISSING: "too many of the needed columns are null or absent",
    Code.UNSEEN_CATEGORY: "is a category that the model was not fitted on, and the service is set "
    "to refuse those",
    Code.UNKNOWN_COLUMN: "is not a column of the schema; see /v1/model for its columns",
    Code.RAGGED_ROW: "has more or fewer values than `columns` has names",
    Code.NOT_AN_OBJECT: "must be a JSON object with column names as keys",
    Code.NOT_AN_ARRAY: "must be a JSON array with one value for each name in `columns`",
    Code.NOT_A_LINE: "must be one JSON object in UTF-8, in a line of its own",
    Code.IMAGE_EMPTY: "has no byte; send the file itself, in curl with `-F image=@part.png`",
    Code.IMAGE_FORMAT: "is neither PNG nor JPEG by its content, whatever its name says; convert it",
    Code.IMAGE_TRUNCATED: "ends before the image does; send the whole file",
    Code.IMAGE_DAMAGED: "cannot be decoded; open it in a viewer and write it again",
    Code.IMAGE_TOO_LARGE: "has more bytes than the service takes for one image; compress it, or "
    "raise LIMITS__IMAGE_BYTES",
    Code.IMAGE_TOO_MANY_PIXELS: "has more pixels than the service takes for one image; make it "
    "smaller, or raise LIMITS__IMAGE_PIXELS",
    Code.IMAGE_TOO_MANY_TILES: "is cut into more tiles than the service takes for one image; send "
    "it as large as the images the model was trained on, or raise LIMITS__IMAGE_TILES",
}


OF_IMAGES = frozenset(code for code in Code if code.startswith("image_"))
"""What can be wrong with images; everything else is wrong with rows."""


class RowError(msgspec.Struct, frozen=True):
    """One complaint.

    Attributes:
        row: 0-based number of the row or image, in the order of the request; None if it is about
            all of them.
        column: None if it is about the whole row.
    """

    row: int | None
    column: str | None
    code: str
    msg: str

    @staticmethod
    def of(code: Code, row: int | None, column: str | None = None) -> RowError:
        """With the message that belongs to the code."""
        return RowError(row, None if column is None else shown(column), code, MESSAGES[code])


class NotJSON(BadData):
    """Text that is not JSON, or nested too deeply to be read."""


class NotATable(BadData):
    """A body that is not the CSV, Parquet or Arrow that its header says, or is damaged."""


class TooLarge(BadData):
    """More bytes, rows, columns, images or pixels than the service takes."""


class InvalidRequest(BadData):
    """JSON that is no valid request.

    Attributes:
        errors: At most `MOST_LISTED`, in the order of the rows.
        rows_by_reason: How many rows are at fault, by the code of the first complaint about each.
    """

    def __init__(self, message: str, *, code: str, errors: Sequence[RowError] = ()) -> None:
        super().__init__(message, code=code)
        self.errors = tuple(errors[:MOST_LISTED])
        self.rows_by_reason = rows_by_reason(errors)


class ImagesTooLarge(InvalidRequest):
    """Nothing is wrong with the images but their size."""


class ImagesOfOtherFormat(InvalidRequest):
    """Nothing is wrong with the images but that they are neither PNG nor JPEG."""


class NotMultipart(BadData):
    """A form that is not written as its header says, or is cut off."""


def rows_by_reason(errors: Sequence[RowError]) -> Counter[str]:
    """How many rows are at fault; each counts once, by its first complaint."""
    first = {error.row: error.code for error in reversed(errors) if error.row is not None}
    return Counter(first.values())


def shown(name: str) -> str:
    """A column name of the caller's as it may be repeated to them: short, and always encodable."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")[:LONGEST_NAME]
