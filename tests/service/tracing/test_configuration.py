"""Who asks for traces, and what is said where they could not be sent."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.resources import Resource

from anomaly.errors import ConfigInvalid
from service.tracing.configuration import exporters, tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.fixture(autouse=True)
def nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, []),
        ({"OTEL_SERVICE_NAME": "pumps", "OTEL_TRACES_SAMPLER": "always_on"}, []),
        (ENDPOINT, ["otlp_proto_http"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1/t"}, ["otlp_proto_http"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, []),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ["otlp_proto_http"]),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ["otlp_proto_grpc"]),
        (
            {
                **ENDPOINT,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            ["otlp_proto_http"],
        ),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ["console", "otlp_proto_http"]),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, []),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, []),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, ["otlp_proto_http"]),
    ],
)
def test_an_address_or_an_exporter_asks_for_traces(
    environment: dict[str, str], expected: list[str]
) -> None:
    assert exporters(environment) == expected


def test_nobody_asking_there_are_none() -> None:
    assert tracing() is None


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", **ENDPOINT}, "http/protobuf or grpc"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "called 'zipkin'"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "otlp-proto-grpc"),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "OTEL_"),
    ],
)
def test_what_cannot_be_done_is_refused_at_the_start(
    environment: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigInvalid, match=told):
        tracing()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "anomaly"),
        ({"OTEL_SERVICE_NAME": "pumps"}, "pumps"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=fans,team=east"}, "fans"),
    ],
)
def test_the_service_has_the_name_that_it_is_given(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"OTEL_TRACES_EXPORTER": "console", **environment}.items():
        monkeypatch.setenv(name, value)

    found = tracing()
    assert found is not None
    resource: Resource = found._provider.resource
    found.close()

    assert resource.attributes["service.name"] == expected
