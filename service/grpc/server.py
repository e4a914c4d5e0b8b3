"""A server of gRPC, in the event loop of the HTTP server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import grpc

from anomaly.errors import ConfigInvalid
from service.access.gate import Gate
from service.grpc.calls import Calls
from service.logs import LOGGER
from service.scoring.images import Images
from service.scoring.scorer import Common
from service.scoring.tables import Tables

log = logging.getLogger(LOGGER)

SECONDS_BETWEEN_LOOKS = 0.1
"""At whether it still listens, and whether there is still time to finish what was begun."""

SECONDS_OF_FAREWELL = 0.2
"""So long it still listens to say that it is about to close."""


class GrpcServer:
    """Listens from `start` to `stop`, both called in the loop in which everything is scored.

    A call to a path that is not UTF-8 ends the main loop of grpc.aio (1.85), whoever made it: the
    port closes, and calls that have begun go on. Another server then takes the port.

    Args:
        address: With its port, which nothing else listens on.
        models, gate: See `Calls`.
    """

    def __init__(
        self,
        address: str,
        common: Common,
        models: Callable[[str], Tables | Images],
        gate: Gate | None,
    ) -> None:
        self.address = address
        self._calls = Calls(common, models, gate)
        self._settings = common.settings
        self._server: Any = None
        self._keeping: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigInvalid: the address was taken meanwhile.
        """
        await self._listen()
        self._keeping = asyncio.create_task(self._keep_listening())

    async def stop(self, is_forced: Callable[[], bool]) -> None:
        """Take no more calls, and finish what was begun, unless that is given up."""
        self._calls.closing = True
        await asyncio.sleep(SECONDS_OF_FAREWELL)
        if self._keeping is not None:
            self._keeping.cancel()
        self._end(self._server)
        while self._ending and not is_forced():
            await asyncio.wait(self._ending, timeout=SECONDS_BETWEEN_LOOKS)
        await self._server.stop(None)

    def _end(self, server: Any) -> None:
        """Have its calls finished meanwhile."""
        ending = asyncio.create_task(server.stop(self._settings.grace_seconds))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _listen(self) -> None:
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._settings.limits.body_bytes),
                ("grpc.so_reuseport", 0),
                # Nothing but the identity: what is compressed may be a thousand times as large.
                ("grpc.compression_enabled_algorithms_bitset", 1),
            ]
        )
        server.add_generic_rpc_handlers((self._calls,))
        try:
            server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise ConfigInvalid(
                f"cannot listen on {self.address}. Choose another with --host or --grpc-port."
            ) from error
        await server.start()
        self._server = server

    async def _keep_listening(self) -> None:
        while True:
            try:
                # Raises what has ended it, as soon as it has.
                await self._server.wait_for_termination(SECONDS_BETWEEN_LOOKS)
            except Exception as error:
                log.error("gRPC begins again: a call has ended it (%s)", type(error).__name__)
                self._end(self._server)
                await self._listen_again()

    async def _listen_again(self) -> None:
        while True:
            try:
                await self._listen()
                return
            except ConfigInvalid as error:
                log.error("%s", error)
                await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
