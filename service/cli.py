"""`anomaly serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service import keys_commands

if TYPE_CHECKING:
    from service.detectors import Served

app = typer.Typer(add_completion=False)
app.add_typer(keys_commands.app, name="keys")


@app.command()
def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Directories, or URIs such as models:/pumps@champion.", show_default=False
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Of the API [8080]; 0 is any.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Of /metrics [8081]; 0 is any.")] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="Of gRPC, which is off without it; 0 is any.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda [auto].")] = None,
    keys: Annotated[
        str | None, typer.Option(help="File of keys; see `anomaly keys`.", show_default=False)
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Serve everyone who reaches the address.")
    ] = False,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Show the challenger what the champion answers.")
    ] = False,
    no_docs: Annotated[
        bool, typer.Option("--no-docs", help="Without /docs, /redoc and /openapi.json.")
    ] = False,
) -> None:
    """Score rows or images over HTTP, with metrics for Prometheus.

    Everything else is set by environment variables, such as ANOMALY_SERVICE__LIMITS__ROWS=500.
    """
    from service import logs
    from service.app.server import Server
    from service.origin import open_model
    from service.settings import read_settings
    from service.tracing.configuration import tracing

    settings = read_settings(
        models=models or None,
        host=host,
        port=port,
        metrics_port=metrics_port,
        grpc_port=grpc_port,
        device=device,
        keys=keys,
        # Only what was said on the command line overrides the environment.
        no_auth=no_auth or None,
        shadow=shadow or None,
        docs=False if no_docs else None,
    )
    logs.configure(settings.log_format)
    traces = tracing()
    opened = [open_model(model, settings.device, settings.cache) for model in settings.models]
    server = Server(settings, opened, traces)
    for model in opened:
        typer.echo(described(model.served))
    typer.echo(f"API      {server.url}/v1/score")
    if settings.docs:
        typer.echo(f"docs     {server.url}/docs")
    if server.grpc_address is not None:
        typer.echo(f"gRPC     {server.grpc_address}")
    typer.echo(f"metrics  {server.metrics_url}")
    for model in opened:
        model.served.tell()
    server.run()


def described(served: Served) -> str:
    """A model, in a line."""
    calibration = served.detector.calibration
    version = f"version {served.version}, " if served.alias or served.run_id else ""
    return (
        f"{served.name}: {version}alpha {calibration.alpha:g} from {calibration.n} calibration "
        f"{calibration.unit}s, on {served.device} ({served.detector.backend.name})"
    )
