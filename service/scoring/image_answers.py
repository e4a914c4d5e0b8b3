"""What the detector says of images, laid out as the answer to their request."""

from __future__ import annotations

from collections.abc import Sequence

from anomaly.calibration import Calibration
from anomaly.detector import Verdicts
from anomaly.heat import Heat
from anomaly.heat_png import boxes_at_size, layer_png
from service.scoring.answers import spread, threshold_at
from service.wire.answer import HotRegion, ImageAnswer, ImageExplanation, ModelName
from service.wire.images import ImageRequest
from service.wire.options import Options
from service.wire.request import Mode


def to_image_answer(
    request: ImageRequest,
    verdicts: Verdicts,
    heats: Sequence[Heat] | None,
    options: Options,
    *,
    model: ModelName,
    calibration: Calibration,
    request_id: str,
) -> ImageAnswer:
    """The answer.

    Args:
        verdicts, heats: Of the sound images of the request.
    """
    n_images = len(request.names)
    explanations = None
    if heats is not None:
        explained = [
            explanation(heat, *pixels.shape[:2])
            for heat, pixels in zip(heats, request.images, strict=True)
        ]
        explanations = spread(explained, request.rows, n_images)
    return ImageAnswer(
        model=model,
        alpha=verdicts.alpha,
        threshold=threshold_at(options.alpha, calibration),
        names=request.names,
        scores=spread(verdicts.scores.tolist(), request.rows, n_images),
        p_values=spread(verdicts.p_values.tolist(), request.rows, n_images),
        is_anomaly=spread(verdicts.is_anomaly.tolist(), request.rows, n_images),
        request_id=request_id,
        explanations=explanations,
        errors=list(request.errors) if options.mode is Mode.PARTIAL else None,
    )


def explanation(heat: Heat, height: int, width: int) -> ImageExplanation:
    """Where an image of that size is anomalous."""
    boxes = boxes_at_size(heat, height, width)
    return ImageExplanation(
        heat.hottest,
        [HotRegion(box.top, box.left, box.bottom, box.right, box.hottest) for box in boxes],
        heat.is_widespread,
        layer_png(heat, height, width),
    )
