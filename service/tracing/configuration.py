"""Whether traces are wanted, and where they go: the environment variables of OpenTelemetry.

Which exporter there is to be is read here, from the same names as `opentelemetry-instrument` takes;
everything else (service name, sampler, queue, address, headers, certificates) the SDK reads itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from anomaly.errors import ConfigInvalid

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from service.tracing.spans import Tracing

SERVICE_NAME = "anomaly"
"""Where nobody has said another."""

GROUP = "opentelemetry_traces_exporter"
"""The entry points by which packages offer exporters."""

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
"""The exporter of each protocol; the first is the default."""

HINT = (
    "`pip install 'anomaly-vae[otel]'`, or set OTEL_TRACES_EXPORTER=none if there are to be no "
    "traces."
)


def tracing() -> Tracing | None:
    """Where spans go; None if nobody asks for any.

    Raises:
        ConfigInvalid: somebody does, and they could not be sent.
    """
    names = exporters(os.environ)
    if not names:
        return None
    try:
        from service.tracing.spans import Tracing

        return Tracing(_provider([_exporter(name) for name in names]))
    except ImportError as error:
        raise ConfigInvalid(f"traces need what is not installed here ({error}). {HINT}") from error
    except ValueError as error:
        raise ConfigInvalid(f"an OTEL_* variable cannot be used: {error}.") from error


def exporters(environment: Mapping[str, str]) -> list[str]:
    """The names of the exporters that are asked for.

    Raises:
        ConfigInvalid: a protocol that there is not.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    default = "otlp" if _first(environment, ENDPOINTS) else "none"
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip() or default
    wanted = [name.strip() for name in named.split(",")]
    return [
        _over(environment) if name == "otlp" else name
        for name in wanted
        if name not in ("", "none")
    ]


def _over(environment: Mapping[str, str]) -> str:
    protocol = _first(environment, PROTOCOLS) or next(iter(OTLP))
    if protocol not in OTLP:
        raise ConfigInvalid(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}, and spans are sent over "
            f"{' or '.join(OTLP)}."
        )
    return OTLP[protocol]


def _first(environment: Mapping[str, str], names: Sequence[str]) -> str:
    """The first that says something."""
    return next(filter(None, (environment.get(name, "").strip() for name in names)), "")


def _exporter(name: str) -> Any:
    for found in entry_points(group=GROUP, name=name):
        return found.load()()
    package = "opentelemetry-exporter-otlp-proto-grpc" if name == OTLP["grpc"] else None
    hint = HINT if package is None else f"`pip install {package}`, or send over http/protobuf."
    raise ConfigInvalid(f"no exporter of traces called {name!r} is installed here. {hint}")


def _provider(exporters: Sequence[Any]) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": SERVICE_NAME}))
    # Its own end is `Tracing.close`, which waits for no collector that does not answer.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
