"""Whether traces are wanted, and where they go: the environment variables of OpenTelemetry.

Which exporter there is to be is read here, from the same names as `opentelemetry-instrument` takes;
everything else (service name, sampler, queue, address, headers, certificates) the SDK reads itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

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

SAMPLERS = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)

NO_TRACES = "or set OTEL_TRACES_EXPORTER=none if there are to be no traces."
HINT = f"`pip install 'anomaly-vae[otel]'`, {NO_TRACES}"


def tracing() -> Tracing | None:
    """Where spans go; None if nobody asks for any.

    Raises:
        ConfigInvalid: somebody does, and they could not be sent.
    """
    names = exporters(os.environ)
    if not names:
        return None
    if OTLP["http/protobuf"] in names:
        _check_address(os.environ)
    _check_sampler(os.environ)
    found = [_found(name) for name in names]
    try:
        from service.tracing.spans import Tracing

        return Tracing(_provider([exporter.load()() for exporter in found]))
    except ImportError as error:
        raise ConfigInvalid(f"traces need what is not installed here ({error}). {HINT}") from error
    except ValueError as error:
        told = str(error).rstrip(".")
        raise ConfigInvalid(f"an OTEL_* variable cannot be used: {told}.") from error


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


def _check_address(environment: Mapping[str, str]) -> None:
    """The SDK takes any text, and then loses every span. The text may hold a password, so it is not
    repeated."""
    address = _first(environment, ENDPOINTS)
    if address and not _is_url(address):
        name = next(name for name in ENDPOINTS if environment.get(name, "").strip())
        raise ConfigInvalid(
            f"{name} must be a URL with http:// or https:// and a host, such as "
            "http://127.0.0.1:4318."
        )


def _is_url(address: str) -> bool:
    try:
        parts = urlsplit(address)
        # A port that is no number shows when it is asked for.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _check_sampler(environment: Mapping[str, str]) -> None:
    """What the SDK does not understand makes it record every request, the dearest of all."""
    sampler = environment.get("OTEL_TRACES_SAMPLER", "").lower()
    if sampler and sampler not in SAMPLERS:
        raise ConfigInvalid(
            f"OTEL_TRACES_SAMPLER is {sampler!r}, and must be one of {', '.join(SAMPLERS)}."
        )
    share = environment.get("OTEL_TRACES_SAMPLER_ARG", "")
    if share and sampler.endswith("traceidratio") and not _is_share(share):
        raise ConfigInvalid(
            f"OTEL_TRACES_SAMPLER_ARG is {share!r}, and must be the share of requests to record, "
            "from 0 to 1, such as 0.01."
        )


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _found(name: str) -> EntryPoint:
    """The exporter of that name."""
    installed = {found.name: found for found in entry_points(group=GROUP)}
    if name in installed:
        return installed[name]
    if name == OTLP["grpc"]:
        raise ConfigInvalid(
            "spans over grpc need `pip install opentelemetry-exporter-otlp-proto-grpc`; or send "
            "them over http/protobuf."
        )
    if name == OTLP["http/protobuf"] or not installed:
        raise ConfigInvalid(f"traces need what is not installed here. {HINT}")
    # `otlp` is how those are asked for that `OTLP` lists.
    others = sorted({"otlp" if other in OTLP.values() else other for other in installed})
    raise ConfigInvalid(
        f"OTEL_TRACES_EXPORTER names {name!r}, and installed here are {', '.join(others)}. Name "
        f"one of those, install the package that offers it, {NO_TRACES}"
    )


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
