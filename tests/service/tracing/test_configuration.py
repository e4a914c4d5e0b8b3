"""Who asks for traces, and what is said where they could not be sent."""

from __future__ import annotations

import os

import pytest
from opentelemetry.sdk.resources import Resource

from anomaly.errors import ConfigInvalid
from service.tracing.configuration import SAMPLERS, exporters, tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
ENDPOINT_OF_TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@pytest.fixture(autouse=True)
def nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


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
        ({"OTEL_TRACES_EXPORTER": "otpl"}, "'otpl', and installed here are console, otlp"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "over grpc need `pip install"),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "OTEL_"),
        ({**ENDPOINT, "OTEL_TRACES_SAMPLER": "parent_ratio"}, "'parent_ratio', and must be one of"),
    ],
)
def test_what_cannot_be_done_is_refused_at_the_start(
    environment: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigInvalid, match=told) as refused:
        tracing()

    assert str(refused.value).endswith(".")
    assert not str(refused.value).endswith("..")
    assert "otlp_proto" not in str(refused.value), "nobody typed that"


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", ENDPOINT_OF_TRACES])
@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:4318", "collector", "grpc://collector:4317", "http://", "http:/c", "http://c:x"],
)
def test_an_address_at_which_every_span_would_be_lost_is_refused(
    name: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, address)

    with pytest.raises(ConfigInvalid, match=f"{name} must be a URL with http:// or https://"):
        tracing()


def test_an_address_that_is_refused_is_not_repeated_because_it_may_hold_a_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "me:secret@collector:4318")

    with pytest.raises(ConfigInvalid) as refused:
        tracing()

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
@pytest.mark.parametrize("share", ["abc", "10", "-0.1", "nan", "1%"])
def test_a_share_that_would_record_every_request_instead_is_refused(
    sampler: str, share: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        **ENDPOINT,
        "OTEL_TRACES_SAMPLER": sampler,
        "OTEL_TRACES_SAMPLER_ARG": share,
    }.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigInvalid, match="share of requests to record"):
        tracing()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "ParentBased{root:AlwaysOnSampler,"),
        ({"OTEL_TRACES_SAMPLER": "", "OTEL_TRACES_SAMPLER_ARG": ""}, "ParentBased{root:AlwaysOn"),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, "AlwaysOffSampler"),
        ({"OTEL_TRACES_SAMPLER": "always_off", "OTEL_TRACES_SAMPLER_ARG": "no"}, "AlwaysOff"),
        (
            {"OTEL_TRACES_SAMPLER": "TraceIdRatio", "OTEL_TRACES_SAMPLER_ARG": "0.01"},
            "TraceIdRatioBased{0.01}",
        ),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, "TraceIdRatioBased{1.0}"),
    ],
)
def test_what_the_sdk_understands_is_taken(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**ENDPOINT, **environment}.items():
        monkeypatch.setenv(name, value)

    found = tracing()
    assert found is not None
    sampler = found._provider.sampler
    found.close()

    assert sampler.get_description().startswith(expected)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_that_is_taken_is_one_that_the_sdk_understands(
    sampler: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in {
        **ENDPOINT,
        "OTEL_TRACES_SAMPLER": sampler,
        "OTEL_TRACES_SAMPLER_ARG": "0.5",
    }.items():
        monkeypatch.setenv(name, value)

    found = tracing()
    assert found is not None
    found.close()

    assert caplog.messages == []


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
