"""Settings: one home, unknown names refused, nothing open by accident."""

from __future__ import annotations

import pytest

from anomaly.errors import ConfigInvalid
from service.settings import PREFIX, is_loopback, read_settings


def test_the_defaults_listen_on_this_machine_only() -> None:
    assert is_loopback(read_settings(models=("pumps",)).host)


def test_the_environment_sets_nested_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + "LIMITS__ROWS", "7")
    monkeypatch.setenv(PREFIX + "MODELS", "models:/pumps@champion")

    settings = read_settings()

    assert (settings.limits.rows, settings.models) == (7, ("models:/pumps@champion",))


def test_what_is_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + "PORT", "1111")
    monkeypatch.setenv(PREFIX + "METRICS_PORT", "2222")

    settings = read_settings(models=("pumps",), port=3333, metrics_port=None)

    assert (settings.port, settings.metrics_port) == (3333, 2222)


@pytest.mark.parametrize("name", ["PROT", "LIMITS__ROW", "QUEUE__SIZE"])
def test_an_unknown_name_in_the_environment_is_an_error(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + name, "1")

    with pytest.raises(ConfigInvalid, match=name.rpartition("__")[2].lower() + "|" + name):
        read_settings(models=("pumps",))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "pumps.example"])
def test_an_open_address_must_be_said_aloud(host: str) -> None:
    with pytest.raises(ConfigInvalid, match="--no-auth"):
        read_settings(models=("pumps",), host=host)

    assert read_settings(models=("pumps",), host=host, no_auth=True).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_loopback_needs_no_word(host: str) -> None:
    assert read_settings(models=("pumps",), host=host).host == host


@pytest.mark.parametrize(
    "wrong", [{"port": 70_000}, {"limits": {"rows": 0}}, {"device": "tpu"}, {"drain_seconds": -1}]
)
def test_a_value_out_of_range_is_refused_with_its_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigInvalid, match=next(iter(wrong))):
        read_settings(models=("pumps",), **wrong)


@pytest.mark.parametrize(
    "given", ['["./a b", "models:/b@champion"]', ' ["./a b","models:/b@champion"]']
)
def test_several_models_are_a_list_in_the_environment(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + "MODELS", given)

    assert read_settings().models == ("./a b", "models:/b@champion")


@pytest.mark.parametrize("given", ["[]", '["a"', "[1]"])
def test_what_is_no_list_of_models_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + "MODELS", given)

    with pytest.raises(ConfigInvalid, match="models"):
        read_settings()


def test_a_model_must_be_named() -> None:
    with pytest.raises(ConfigInvalid, match="model"):
        read_settings()
