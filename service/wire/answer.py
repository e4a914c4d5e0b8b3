"""Answers: from verdicts to bytes. Floats are written so that they read back to the same bit."""

from __future__ import annotations

from typing import Any

import msgspec

from service.wire.refusals import RowError

MOST_WARNINGS = 10_000
"""Warnings that an answer lists: a few bytes of input must not become many of output."""

JSON = msgspec.json.Encoder()


class ModelName(msgspec.Struct, frozen=True):
    """Which model answered.

    Attributes:
        version: Of the registered model; "unregistered" for one from a directory.
        digest: SHA-256 of the artifact's manifest.
    """

    name: str
    version: str
    digest: str
    alias: str | None
    run_id: str


class Warned(msgspec.Struct, frozen=True):
    """A remarkable value that was scored all the same."""

    row: int
    column: str
    code: str


class Contribution(msgspec.Struct, frozen=True):
    """One column's part in one flagged row's score.

    Attributes:
        share: Of the excess score of all columns, in [0, 1].
        expected: What the model expects there; null where it has no single value.
        observed: What was there; null if missing.
    """

    column: str
    share: float
    expected: float | str | None
    observed: float | str | None


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the model says of the rows, in their order.

    Attributes:
        alpha: The false-alarm rate that was applied.
        threshold: Of the score, at that rate, in the unit of the score.
        scores: Higher is more anomalous; null where the row has an error.
        p_values: In (0, 1]; small is anomalous.
        is_anomaly: p_value <= alpha, and nothing else.
        warnings: None of them changes a verdict.
        warnings_omitted: How many more there would be.
        ids: The id columns that were sent.
        contributions: With `explain`: the largest of each flagged row, null for the others.
        errors: With mode `partial`: the rows that were not scored, and why.
    """

    model: ModelName
    alpha: float
    threshold: float
    scores: list[float | None]
    p_values: list[float | None]
    is_anomaly: list[bool | None]
    warnings: list[Warned]
    request_id: str
    warnings_omitted: int = 0
    ids: dict[str, list[Any]] = {}
    contributions: list[list[Contribution] | None] | None = None
    errors: list[RowError] | None = None


class HotRegion(msgspec.Struct, frozen=True):
    """A place hotter than 1, in pixels of the image; `bottom` and `right` are exclusive.

    Attributes:
        hottest: The largest heat in it.
    """

    top: int
    left: int
    bottom: int
    right: int
    hottest: float


class ImageExplanation(msgspec.Struct, frozen=True):
    """Where an image is anomalous.

    Attributes:
        hottest: The largest heat. 0 is usual; 1 is what the hottest pixel of a normal image
            exceeds with probability alpha, the model's own.
        boxes: Hot places, hottest first.
        widespread: It is odd as a whole, and no place of it; then there is a single box.
        heatmap: A PNG of the image's own size, to be laid over it: transparent where the heat is 0
            or less, yellow, red from 1 on, darkest at 3. The scale is the same for all images.
    """

    hottest: float
    boxes: list[HotRegion]
    widespread: bool
    heatmap: bytes


class ImageAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the model says of the images, in their order.

    Attributes:
        alpha: The false-alarm rate that was applied.
        threshold: Of the score, at that rate, in the unit of the score.
        names: Of the files, as they were sent but for their length; null where there was none.
        scores: Higher is more anomalous; null where the image has an error.
        p_values: In (0, 1]; small is anomalous.
        is_anomaly: p_value <= alpha, and nothing else.
        explanations: With `explain`: of each image, null where it has an error.
        errors: With mode `partial`: the images that were not scored, and why.
    """

    model: ModelName
    alpha: float
    threshold: float
    names: list[str | None]
    scores: list[float | None]
    p_values: list[float | None]
    is_anomaly: list[bool | None]
    request_id: str
    explanations: list[ImageExplanation | None] | None = None
    errors: list[RowError] | None = None


class ColumnInfo(msgspec.Struct, frozen=True):
    """A column of the schema; `role` is feature, context, id, label, time or ignore."""

    name: str
    kind: str
    role: str
    nullable: bool


class ImageInfo(msgspec.Struct, frozen=True):
    """What a model of images looks at.

    Attributes:
        channels: 1: every image becomes grey; 3: RGB.
        scale: By which the sides of an image are reduced first; null if every image is resized to
            one tile.
        tile: Side in pixels of the squares that the networks see.
        contrast: `plain` is brightness; `local` is brightness against the surroundings.
        most_images, most_bytes, most_pixels: Of a request, of one file and of one image.
    """

    channels: int
    scale: float | None
    tile: int
    contrast: str
    most_images: int
    most_bytes: int
    most_pixels: int


class ModelInfo(msgspec.Struct, frozen=True):
    """What is served.

    Attributes:
        threshold: A row, or image, is flagged if and only if its score exceeds it by more than
            `tolerance`.
        unit: Of scores and threshold.
        calibration_scores: How many scores are behind the threshold.
        unit_of_calibration: What each of them is of, and the rate one of: row, image or group.
        smallest_alpha: The smallest false-alarm rate that a request may ask for.
        device: cpu or cuda.
        backend: The library that computes.
        loaded_at: UTC, ISO 8601.
        columns: Of a table. Features and context columns are needed; ids are sent back; others are
            ignored.
        images: Of a model of images: what it looks at.
        card: What a reader must know before trusting a verdict.
    """

    model: ModelName
    alpha: float
    threshold: float
    tolerance: float
    unit: str
    calibration_scores: int
    unit_of_calibration: str
    smallest_alpha: float
    device: str
    backend: str
    loaded_at: str
    columns: list[ColumnInfo]
    images: ImageInfo | None
    card: dict[str, Any]


class ServedModel(msgspec.Struct, frozen=True):
    """One of the models of the service.

    Attributes:
        kind: What it scores: rows or images.
        alias: By which it was asked for, and which it follows.
        device: cpu or cuda.
        ready: Whether it would gladly take another request.
    """

    name: str
    version: str
    kind: str
    alias: str | None
    device: str
    ready: bool


class ServedModels(msgspec.Struct, frozen=True):
    """All of them; the first one is the default."""

    models: list[ServedModel]


class Ready(msgspec.Struct, frozen=True, omit_defaults=True):
    """Requests may be sent.

    Attributes:
        models: By name, if asked.
    """

    status: str
    models: dict[str, str] = {}


class Reloaded(msgspec.Struct, frozen=True):
    """What is served after a reload or a rollback.

    Attributes:
        outcome: loaded, unchanged or rolled_back.
    """

    outcome: str
    model: str
    version: str


class Problem(msgspec.Struct, frozen=True):
    """Why there is no answer (RFC 9457), sent as `application/problem+json`.

    Attributes:
        code: A stable word for programs.
        detail: What happened and what to do; it never repeats a value that was sent.
        errors: The first of what is wrong, by row and column.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    errors: list[RowError]
