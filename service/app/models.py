"""The models of one process. Each has a switch, a queue and a documentation of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from anomaly.errors import ConfigInvalid, ModelNotFound
from service.app.lane import Lane
from service.app.switch import Switch
from service.routes import SCORE_TEMPLATE
from service.scoring.images import Images
from service.scoring.tables import Tables

PREFIXES = ("/v1/models/", "/v2/models/")
"""What follows is the name of a model."""


class Models:
    """The outermost application: hands every request to the model that its path names, or to the
    first one where it names none that is here.

    Raises:
        ConfigInvalid: two models have the same name.
    """

    def __init__(self, switches: Sequence[Switch]) -> None:
        self._default = switches[0]
        self._by_name = {switch.served.name: switch for switch in switches}
        self._by_url = {
            quote(SCORE_TEMPLATE.format(name=name)).encode("ascii"): switch
            for name, switch in self._by_name.items()
        }
        if len(self._by_name) < len(switches):
            names = [switch.served.name for switch in switches]
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigInvalid(
                f"two of the models are called {twice!r}, and paths and metrics tell models apart "
                "by their names. Serve them in two processes, or under other names; a folder has "
                "the name of its last part."
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self.of(scope["path"])(scope, receive, send)

    def of(self, path: str) -> Switch:
        """The model that answers at a path."""
        if not path.startswith(PREFIXES):
            return self._default
        return self._by_name.get(path.split("/", 4)[3], self._default)

    def requests(self, name: str) -> Tables | Images:
        """What answers for the model of that name now.

        Raises:
            ModelNotFound: there is none; the name is not repeated.
        """
        if (switch := self._by_name.get(name)) is None:
            raise ModelNotFound("no model of that name is served here.")
        return switch.current.requests

    def lane(self, url: bytes) -> Lane | None:
        """What answers usual score requests of that path; see `service.app.express`."""
        return self._by_url.get(url, self._default).lane(url)

    async def _live(self, receive: Receive, send: Send) -> None:
        """By the time that the server says stop, every request has its answer."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.gather(*(switch.close() for switch in self._by_name.values()))
        await send({"type": "lifespan.shutdown.complete"})
