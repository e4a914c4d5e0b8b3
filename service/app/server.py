"""A process that serves: sockets and signals."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from prometheus_client import start_http_server

from anomaly.errors import ConfigInvalid
from service.access.gate import Gate
from service.access.keys import KeyFile
from service.app.allocator import keep_freed_memory
from service.app.connection import guarded_by
from service.app.following import follow
from service.app.models import Models
from service.app.switch import Switch
from service.metrics import Metrics
from service.origin import Opened
from service.scoring.scorer import Common
from service.settings import Settings

if TYPE_CHECKING:
    from service.grpc.server import GrpcServer
    from service.tracing.spans import Tracing

BACKLOG = 2048


class DrainingServer(uvicorn.Server):
    """Says no at `/readyz` first, serves on while the others learn of it, and exits with 0."""

    def __init__(
        self, config: uvicorn.Config, common: Common, grpc: GrpcServer | None = None
    ) -> None:
        super().__init__(config)
        self.common = common
        self.grpc = grpc

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first SIGTERM drains, the first Ctrl-C stops at once but finishes what it began,
        and the second of either ends all that."""
        if self.should_exit:
            self.force_exit = True
        elif self.common.draining or sig == signal.SIGINT or not self.started:
            self.should_exit = True
        else:
            seconds = self.common.settings.drain_seconds
            self._loop.call_soon_threadsafe(self._loop.call_later, seconds, self._stop)
        self.common.draining = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        if self.grpc is not None:
            await self.grpc.start()
        await super().startup(sockets)
        # What is here now stays: the collector need not look at it again and again. Rarer
        # collections took the 99th percentile of a request from 70 ms to 7 ms.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 50, 100)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Its calls first: at the end of the other nothing is scored any more.
        if self.grpc is not None:
            await self.grpc.stop(lambda: self.force_exit)
        await super().shutdown(sockets)

    def _stop(self) -> None:
        self.should_exit = True


class Server:
    """The service and its metrics, listening; nothing is answered before `run`.

    Args:
        tracing: Where the spans of requests go.

    Raises:
        ConfigInvalid: an address that cannot be listened on, or two models of the same name.
    """

    def __init__(
        self, settings: Settings, opened: Sequence[Opened], tracing: Tracing | None = None
    ) -> None:
        common = Common(settings, tracing)
        self._tracing = tracing
        gate = None if settings.keys is None else Gate(KeyFile(settings.keys))
        switches = [Switch(model.served, common, gate) for model in opened]
        self.models = Models(switches)
        self._followed = [follow(*pair) for pair in zip(switches, opened, strict=True)]
        self._socket = listen(settings.host, settings.port)
        self._metrics = _serve_metrics(settings, common.metrics)
        config = uvicorn.Config(
            self.models,
            http=guarded_by(settings.limits),
            ws="none",
            access_log=False,
            # What it logs goes the way of everything else; see `service.logs`.
            log_config=None,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=settings.grace_seconds,
        )
        grpc = _grpc(common, self.models, gate)
        self.grpc_address = None if grpc is None else grpc.address
        self._server = DrainingServer(config, common, grpc)
        host = _in_url(settings.host)
        self.url = f"http://{host}:{self._socket.getsockname()[1]}"
        self.metrics_url = f"http://{host}:{self._metrics.server_port}/metrics"

    def run(self) -> None:
        """Serve until a signal says stop, then finish what was begun."""
        keep_freed_memory()
        for following in self._followed:
            following.start()
        try:
            self._server.run(sockets=[self._socket])
        finally:
            for following in self._followed:
                following.stop()
            self._metrics.shutdown()
            self._metrics.server_close()
            if self._tracing is not None:
                self._tracing.close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 lets the system choose.

    Raises:
        ConfigInvalid: the address is taken, not of this machine, or not allowed.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error


def _serve_metrics(settings: Settings, metrics: Metrics) -> Any:
    try:
        server, _ = start_http_server(settings.metrics_port, settings.host, metrics.registry)
    except OSError as error:
        raise _cannot_listen(settings.host, settings.metrics_port, error) from error
    return server


def _grpc(common: Common, models: Models, gate: Gate | None) -> GrpcServer | None:
    settings = common.settings
    if settings.grpc_port is None:
        return None
    # Its own lines about what callers do wrong are for those who write gRPC.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from service.grpc.server import GrpcServer
    except ImportError as error:
        raise ConfigInvalid(
            f"gRPC needs what is not installed here ({error}). `pip install 'anomaly-vae[grpc]'`, "
            "or leave --grpc-port out."
        ) from error
    # Which port it will be is known only to someone who has listened on it.
    with listen(settings.host, settings.grpc_port) as found:
        address = f"{_in_url(settings.host)}:{found.getsockname()[1]}"
    return GrpcServer(address, common, models.requests, gate)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _cannot_listen(host: str, port: int, error: OSError) -> ConfigInvalid:
    return ConfigInvalid(
        f"cannot listen on {host} port {port}: {error.strerror}. Choose another with --host, "
        "--port, --metrics-port or --grpc-port; port 0 takes any free one."
    )
