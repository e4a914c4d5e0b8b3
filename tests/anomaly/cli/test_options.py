"""Options become the types that the houses take."""

from __future__ import annotations

import pytest

from anomaly.backends.backend import Device, device_named
from anomaly.cli.options import read_options
from anomaly.errors import ConfigInvalid


def test_a_tab_may_be_written_as_a_shell_allows() -> None:
    assert read_options("\\t", "utf-8", False).delimiter == "\t"
    assert read_options(";", "latin-1", True).delimiter == ";"
    assert read_options(";", "latin-1", True).newlines_in_values


def test_an_impossible_delimiter_or_encoding_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="one ASCII character"):
        read_options(";;", "utf-8", False)
    with pytest.raises(ConfigInvalid, match="try utf-8"):
        read_options(",", "utf-9", False)


def test_devices_have_names() -> None:
    assert device_named("cpu") is Device.CPU
    with pytest.raises(ConfigInvalid, match="There are: auto, cpu, cuda"):
        device_named("tpu")
