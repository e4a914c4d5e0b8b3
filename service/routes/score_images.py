"""POST /v1/score, of a model of images."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response

from service.routes.body import Wanted, media_type, read_body
from service.routes.image_documentation import IMAGE_RESPONSES, image_extra
from service.routes.problems import MediaTypeRefused
from service.routes.score import SCORE_PATH
from service.scoring.images import Images
from service.wire.images import read_options
from service.wire.multipart import Upload, boundary_of, files_of

FORM_TYPE = "multipart/form-data"
IMAGE_TYPES = ("image/png", "image/jpeg")
WANTED = (
    f"PNG or JPEG files as {FORM_TYPE} (curl -F image=@part.png), or a single one as the body with "
    f"the header content-type: {IMAGE_TYPES[0]} or {IMAGE_TYPES[1]}"
)


def add_score_images(app: FastAPI, images: Images) -> Callable[[Request], Awaitable[Response]]:
    """Put the route on the application.

    It declares no parameters: FastAPI would read the form itself, without these limits.
    """
    limits, scorer = images.settings.limits, images.scorer
    wanted = Wanted(WANTED, limits.upload_bytes, "Send the images in parts.")

    @app.post(
        SCORE_PATH,
        tags=["score"],
        summary="Score images",
        response_class=Response,
        responses=IMAGE_RESPONSES,
        openapi_extra=image_extra(images.detector, limits),
    )
    async def score(request: Request) -> Response:
        """Scores, p-values and verdicts for PNG and JPEG images, in their order.

        An image is an anomaly if and only if its p-value is at most alpha; among normal images
        that happens with probability alpha at most. The same image always gets the same score,
        alone or in any company. With `explain` each image comes with a heatmap.
        """
        options = read_options(request.query_params.multi_items())
        take_apart = reader_of(request, limits.images)
        with scorer.memory.share() as share:
            body = await read_body(request, wanted, limits.body_seconds, share.take)
            answer = await images.answer(
                lambda: take_apart(body), options, request.state.request_id, share
            )
        return Response(answer, media_type="application/json")

    return score


def reader_of(request: Request, most: int) -> Callable[[bytes], list[Upload]]:
    """How the body becomes files, by what it is by its own account.

    Raises:
        MediaTypeRefused: neither a form nor an image, or compressed.
        NotMultipart: a form without a boundary.
    """
    name, parameters = media_type(request)
    if name in IMAGE_TYPES:
        return lambda body: [Upload(None, memoryview(body))]
    if name != FORM_TYPE:
        raise MediaTypeRefused(f"this model looks at images. Send {WANTED}.")
    boundary = boundary_of(parameters)
    return lambda body: files_of(body, boundary, most)
