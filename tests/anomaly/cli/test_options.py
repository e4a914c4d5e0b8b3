"""Options become the types that the houses take."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from anomaly.backends.backend import Device, device_named
from anomaly.cli.options import ImageBytes, ImagePixels, read_options
from anomaly.data.options import DEFAULT_LIMITS, ImageLimits
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


def test_the_limits_of_an_image_are_the_usual_ones_unless_said_otherwise() -> None:
    assert read_options(",", "utf-8", False).images == DEFAULT_LIMITS
    limits = read_options(",", "utf-8", False, image_pixels=9, image_bytes=7).images
    assert limits == ImageLimits(bytes=7, pixels=9)


@pytest.mark.parametrize(
    ("option", "usual"), [(ImagePixels, DEFAULT_LIMITS.pixels), (ImageBytes, DEFAULT_LIMITS.bytes)]
)
def test_help_tells_the_usual_limit(option: Any, usual: int) -> None:
    assert f"[default: {usual}]" in get_args(option)[1].help


def test_devices_have_names() -> None:
    assert device_named("cpu") is Device.CPU
    with pytest.raises(ConfigInvalid, match="There are: auto, cpu, cuda"):
        device_named("tpu")
