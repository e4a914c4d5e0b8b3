"""POST /v1/score, of a model of images."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import QueryParams

from service.routes.body import Endpoint, Post, Reply, Wanted, media_type, read_body
from service.routes.problems import MediaTypeRefused
from service.scoring.images import Images
from service.wire.multipart import Upload, boundary_of, files_of
from service.wire.options import read_options

FORM_TYPE = "multipart/form-data"
IMAGE_TYPES = ("image/png", "image/jpeg")
WANTED = (
    f"PNG or JPEG files as {FORM_TYPE} (curl -F image=@part.png), or a single one as the body with "
    f"the header content-type: {IMAGE_TYPES[0]} or {IMAGE_TYPES[1]}"
)


def score_images(images: Images) -> Endpoint:
    """The endpoint."""
    limits, memory = images.settings.limits, images.scorer.memory
    wanted = Wanted(WANTED, limits.upload_bytes, "Send the images in parts.")

    async def score(post: Post) -> Reply:
        options = read_options(QueryParams(post.query).multi_items())
        take_apart = reader_of(post, limits.images)
        with memory.share() as share:
            body = await read_body(post, wanted, limits.body_seconds, share.take)
            return Reply(
                await images.answer(lambda: take_apart(body), options, post.request_id, share)
            )

    return score


def reader_of(post: Post, most: int) -> Callable[[bytes], list[Upload]]:
    """How the body becomes files, by what it is by its own account.

    Raises:
        MediaTypeRefused: neither a form nor an image, or compressed.
        NotMultipart: a form without a boundary.
    """
    name, parameters = media_type(post)
    if name in IMAGE_TYPES:
        return lambda body: [Upload(None, memoryview(body))]
    if name != FORM_TYPE:
        raise MediaTypeRefused(f"this model looks at images. Send {WANTED}.")
    boundary = boundary_of(parameters)
    return lambda body: files_of(body, boundary, most)
