"""Every number and choice of the service, and the environment variables that set them.

`ANOMALY_SERVICE__PORT=9000`, `ANOMALY_SERVICE__LIMITS__ROWS=500`, and so on: the names are the
attributes below. A name that is not known is an error, so that a typing mistake is not a default.
"""

from __future__ import annotations

import json
import os
import re
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from anomaly.backends.backend import Device
from anomaly.data.images import DEFAULT_LIMITS, ImageLimits
from anomaly.data.schema import first_reason
from anomaly.errors import ConfigInvalid
from service.logs import LogFormat

PREFIX = "ANOMALY_SERVICE__"

ALIAS = "models:/.+@.+"
"""Of a model that moves."""

Count = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Seconds = Annotated[float, Field(gt=0)]


class UnseenCategory(StrEnum):
    """What a category that the training rows did not have leads to.

    Attributes:
        WARN: It is scored as unknown, and the answer says so.
        ERROR: Its row is refused.
        IGNORE: It is scored as unknown, and only the metrics say so.
    """

    WARN = "warn"
    ERROR = "error"
    IGNORE = "ignore"


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Group):
    """What one request may cost.

    Attributes:
        body_bytes: Of JSON text.
        body_seconds: From the first to the last byte of a body.
        head_bytes: Of the request line and headers.
        head_seconds: From the first to the last byte of the headers.
        missing_fraction: A row of which a larger share of the needed columns is missing is refused.
        images: Of one request.
        upload_bytes: Of a body with images, all of them together.
        upload_pixels: Of all images of a request together, once they are decoded.
        image_bytes, image_pixels: Of one image file.
        image_tiles: That the model cuts one image into. An image of the usual size makes about 12
            with the preset `tiles`; one that is far larger than the training images, many more.
    """

    body_bytes: Count = 10 * 2**20
    body_seconds: Seconds = 30.0
    head_bytes: Count = 64 * 2**10
    head_seconds: Seconds = 10.0
    rows: Count = 10_000
    columns: Count = 2_000
    missing_fraction: Annotated[float, Field(ge=0, le=1)] = 0.5
    images: Count = 64
    upload_bytes: Count = 100 * 2**20
    upload_pixels: Count = 64 * 2**20
    image_bytes: Count = DEFAULT_LIMITS.bytes
    image_pixels: Count = DEFAULT_LIMITS.pixels
    image_tiles: Count = 256

    @property
    def of_an_image(self) -> ImageLimits:
        """What is checked while a file is decoded."""
        return ImageLimits(self.image_bytes, self.image_pixels)


class Queue(_Group):
    """How requests wait for the model.

    Attributes:
        max_rows: A request that would make more rows wait is answered with 503. A single request
            is accepted whenever nothing waits.
        max_batch_rows: Rows that are scored together; a request is never split.
        max_images, max_batch_images: The same of images, each of which takes far longer than a row.
        max_seconds: What has waited longer is answered with 503 instead of being scored.
        max_bytes: A request that would make all requests together hold more of what was sent is
            answered with 503. A single request is held whenever nothing else is.
    """

    max_rows: Count = 4096
    max_batch_rows: Count = 4096
    max_images: Count = 256
    max_batch_images: Count = 16
    max_seconds: Seconds = 20.0
    max_bytes: Count = 2**30


class Reload(_Group):
    """How a service that was given an alias follows it.

    Attributes:
        seconds: Between two looks; 0 looks only when told to.
    """

    seconds: Annotated[float, Field(ge=0)] = 30.0


def default_cache() -> Path:
    """Where programs of this user keep what they could fetch again."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "anomaly"


def _listed(given: object) -> object:
    """A text is one model, or a list of them in JSON."""
    if not isinstance(given, str):
        return given
    return json.loads(given) if given.lstrip().startswith("[") else (given,)


class DriftSettings(_Group):
    """What the stream of rows is compared by, with what the model was fitted on.

    Attributes:
        window_rows, window_seconds: At most so many of the last drawn rows, none much older.
        min_rows: Fewer in the window are not compared: what would show is noise.
        alarm_threshold: Capital at which the stream counts as changed; while it is exchangeable,
            the probability of ever alarming is at most 1 / threshold.
        seed: Of what breaks ties between scores; None draws one, which an alarm logs.
    """

    window_rows: Count = 10_000
    window_seconds: Seconds = 86_400.0
    min_rows: Count = 500
    alarm_threshold: Annotated[float, Field(gt=1)] = 1000.0
    seed: Annotated[int, Field(ge=0)] | None = None


class Settings(BaseSettings):
    """The whole configuration of one service.

    Attributes:
        models: Each a directory, or a URI such as `models:/pumps@champion`. The first one is the
            default: it answers where a path names none.
        host: The address that is listened on. Anything but loopback needs `keys` or `no_auth`.
        metrics_port: `/metrics` has its own; port 0 lets the system choose, here and above.
        grpc_port: Of the Open Inference Protocol over gRPC; None for none.
        shadow: Whether challengers are shown what champions answer.
        cache: The folder of the last good copies of registered models.
        docs: Whether `/docs`, `/redoc` and `/openapi.json` are there.
        keys: The file of API keys; see `service.access.keys`. Without it, there are none.
        no_auth: Says aloud that whoever reaches the address may use the service.
        log_format: See `service.logs`.
        access_log: Whether each request is logged.
        drain_seconds: How long requests are still taken after SIGTERM, while `/readyz` says no.
        grace_seconds: How long started requests may still take after that.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    models: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed), Field(min_length=1)]
    host: str = "127.0.0.1"
    port: Port = 8080
    metrics_port: Port = 8081
    grpc_port: Port | None = None
    device: Device = Device.AUTO
    docs: bool = True
    keys: Path | None = None
    no_auth: bool = False
    shadow: bool = False
    unseen_category: UnseenCategory = UnseenCategory.WARN
    log_format: LogFormat = LogFormat.AUTO
    access_log: bool = False
    drain_seconds: Annotated[float, Field(ge=0)] = 5.0
    grace_seconds: Count = 30
    cache: Path = Field(default_factory=default_cache)
    limits: Limits = Limits()
    queue: Queue = Queue()
    reload: Reload = Reload()
    drift: DriftSettings = DriftSettings()

    @model_validator(mode="after")
    def _shadow_only_by_alias(self) -> Settings:
        if self.shadow and not any(re.fullmatch(ALIAS, model) for model in self.models):
            raise ValueError(
                "shadow follows the alias `challenger` of models that are given by an alias, such "
                "as `models:/pumps@champion`, and none is"
            )
        return self

    @model_validator(mode="after")
    def _open_only_when_said(self) -> Settings:
        if self.no_auth and self.keys is not None:
            raise ValueError("a file of keys and `no_auth` were both given. Leave one of them out")
        if self.keys is None and not self.no_auth and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} can be reached from other machines, and there are no keys. "
                "Make some with `anomaly keys create` and give their file with --keys, or say "
                "`--no-auth` if everyone who reaches it may use the service"
            )
        return self


def read_settings(**given: Any) -> Settings:
    """The settings from the environment; what is given wins, what is None is left out.

    Raises:
        ConfigInvalid: an unknown name, a value out of range, or an open address without `no_auth`.
    """
    unknown = [
        name
        for name in os.environ
        if name.upper().startswith(PREFIX)
        and name.upper().removeprefix(PREFIX).split("__")[0].lower() not in Settings.model_fields
    ]
    if unknown:
        raise ConfigInvalid(
            f"no setting is called {', '.join(sorted(unknown))}. There are: "
            f"{', '.join(PREFIX + name.upper() for name in Settings.model_fields)}."
        )
    said = {name: value for name, value in given.items() if value is not None}
    if "models" not in said and not any(name.upper() == f"{PREFIX}MODELS" for name in os.environ):
        raise ConfigInvalid(
            "there is no model to serve: say `anomaly serve models:/NAME@champion`, or set "
            f"{PREFIX}MODELS."
        )
    try:
        return Settings(**said)
    except ValidationError as error:
        raise ConfigInvalid(f"the service cannot start: {first_reason(error)}.") from error
    except SettingsError as error:
        raise ConfigInvalid(
            f"the service cannot start: {error}. A group is set by its parts, such as "
            f"{PREFIX}LIMITS__ROWS=500."
        ) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
