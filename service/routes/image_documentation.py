"""What `/openapi.json` says of the score routes of a model of images."""

from __future__ import annotations

from typing import Any

from anomaly.image_detector import ImageDetector
from service.routes.documentation import FILE, answered, operation, problem
from service.settings import Limits
from service.wire.answer import ImageAnswer
from service.wire.request import Mode

_RESPONSES = {
    200: answered("One entry for each image, in their order.", ImageAnswer),
    400: problem("The body is empty, or not the form that its header promises."),
    408: problem("The body did not arrive in time."),
    413: problem("Too many bytes, images, pixels or tiles."),
    415: problem(
        "The body is compressed, or no form and no image by its own account; or (mode "
        "strict) an image is neither PNG nor JPEG, and nothing else is wrong."
    ),
    422: problem("The query is not understood, or (mode strict) an image is faulty."),
    503: problem("Too much waits already; the header retry-after says how long to wait."),
}


def score_images_operation(summary: str, detector: ImageDetector, limits: Limits) -> dict[str, Any]:
    """A route that scores images."""
    form = {
        "title": "Images",
        "description": "PNG and JPEG files, told by their content. The fields may have any names, "
        "each may be repeated, and there are no fields but files.",
        "type": "object",
        "minProperties": 1,
        "properties": {
            "image": {"type": "array", "minItems": 1, "maxItems": limits.images, "items": FILE}
        },
        "additionalProperties": FILE,
    }
    parameters = [
        _parameter(
            "explain",
            "Also say where each image is anomalous: a heatmap, boxes and the largest heat.",
            {"type": "boolean", "default": False},
        ),
        _parameter(
            "alpha",
            "Another false-alarm rate for this request; no smaller than "
            f"{detector.calibration.smallest_alpha:.3g} for this model.",
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        ),
        _parameter(
            "mode",
            "Whether one faulty image refuses the request, or only itself.",
            {"type": "string", "enum": list(Mode), "default": Mode.STRICT},
        ),
    ]
    body = {
        "description": f"At most {limits.images} images and {limits.upload_bytes:,} bytes; of "
        f"each image at most {limits.image_bytes:,} bytes and {limits.image_pixels:,} pixels.",
        "content": {
            "multipart/form-data": {"schema": form},
            "image/png": {"schema": FILE},
            "image/jpeg": {"schema": FILE},
        },
    }
    return operation(
        summary,
        "Scores, p-values and verdicts for PNG and JPEG images, in their order.\n\n"
        "An image is an anomaly if and only if its p-value is at most alpha; among normal images "
        "that happens with probability alpha at most. The same image always gets the same score, "
        "alone or in any company. With `explain` each image comes with a heatmap.",
        _RESPONSES,
        parameters,
        body,
    )


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}
