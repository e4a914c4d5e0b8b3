"""`run.yaml` as types. Unknown keys are errors; a preset gives what the file leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from anomaly.assembly import DetectorConfig, as_plain, check_config
from anomaly.backends.backend import Device
from anomaly.data.schema import STRICT, first_reason
from anomaly.data.splits import SplitConfig
from anomaly.errors import ConfigInvalid
from anomaly.fitting import FitConfig
from anomaly.image_config import (
    IMAGE_PRESETS,
    ImageDetectorConfig,
    check_image_config,
    image_config_as_plain,
)
from anomaly.presets import preset_config

DEFAULT_TEST_SHARE = 0.2

DEFAULT_EARLY_STOP_SHARE = 0.15
"""Of images."""

Config = TypeVar("Config")


@dataclass(frozen=True, config=STRICT)
class RunConfig:
    """One training run, besides its data, name and schema.

    Attributes:
        preset: Where `detector` starts from; see `anomaly.presets`.
        split: Shares and order of the split; 20 % of the normal rows measure the finished
            detector by default.
        detector: Everything that shapes the detector.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    preset: str = "default"
    device: Device = Device.AUTO
    split: SplitConfig = SplitConfig(test_share=DEFAULT_TEST_SHARE)
    detector: DetectorConfig = DetectorConfig()


@dataclass(frozen=True, config=STRICT)
class ImageRunConfig:
    """One training run on images, besides the images and the name.

    Attributes:
        preset: Where `detector` starts from; see `anomaly.image_assembly`.
        split: Shares of the split. Early-stop images also tell which errors are usual where, so
            there must be some.
        detector: Everything that shapes the detector.
    """

    preset: str
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    device: Device = Device.AUTO
    split: SplitConfig = SplitConfig(
        test_share=DEFAULT_TEST_SHARE, early_stop_share=DEFAULT_EARLY_STOP_SHARE
    )
    detector: ImageDetectorConfig = ImageDetectorConfig()


def load_config(path: Path | None, settings: Iterable[str] = ()) -> RunConfig:
    """The file, with `key=value` settings on top, both on top of the preset.

    Args:
        settings: Such as `seed=1` or `detector.fit.steps=500`; values are YAML.

    Raises:
        ConfigInvalid: not YAML, an unknown key, a value out of range, an unknown preset, or parts
            that do not go together.
    """
    plain = _given(path, settings)
    base = {
        "split": {"test_share": DEFAULT_TEST_SHARE},
        "detector": as_plain(preset_config(str(plain.get("preset", "default")))),
    }
    config = _validated(_ADAPTER, _merged(base, plain), path)
    check_config(config.detector)
    if config.detector.fit.patience != FitConfig().patience and not config.split.early_stop_share:
        raise ConfigInvalid(
            "detector.fit.patience counts looks at early-stop rows, and none are held out: set "
            "split.early_stop_share=0.1, or leave patience out."
        )
    return config


def load_image_config(
    path: Path | None, settings: Iterable[str], usual: Iterable[str] = ("preset=tiles",)
) -> ImageRunConfig:
    """As `load_config`, for images.

    Args:
        usual: Settings that suit the images; the file and the settings win. They name the preset,
            and what else they say belongs to it.

    Raises:
        ConfigInvalid: as `load_config`, or no image is held out to tell which errors are usual.
    """
    plain, suiting = _given(path, settings), _given(None, usual)
    preset = str(plain.setdefault("preset", suiting["preset"]))
    if preset not in IMAGE_PRESETS:
        raise ConfigInvalid(
            f"no preset for images is named {preset!r}. There are: {', '.join(IMAGE_PRESETS)}."
        )
    if preset.split("_")[0] == suiting["preset"]:
        plain = _merged(suiting, plain)
    base = {
        "split": {
            "test_share": DEFAULT_TEST_SHARE,
            "early_stop_share": DEFAULT_EARLY_STOP_SHARE,
        },
        "detector": image_config_as_plain(IMAGE_PRESETS[preset]),
    }
    config = _validated(_IMAGE_ADAPTER, _merged(base, plain), path)
    check_image_config(config.detector)
    if not config.split.early_stop_share:
        raise ConfigInvalid(
            "early-stop images tell which errors are usual where, so split.early_stop_share cannot "
            f"be 0. Leave it at {DEFAULT_EARLY_STOP_SHARE}."
        )
    if config.split.by == "time":
        raise ConfigInvalid("images have no time column: split them by `row` or by `group`.")
    return config


def to_plain(config: RunConfig | ImageRunConfig) -> dict[str, Any]:
    """The resolved configuration as dictionaries and lists."""
    plain: dict[str, Any] = (
        _ADAPTER.dump_python(config, mode="json")
        if isinstance(config, RunConfig)
        else _IMAGE_ADAPTER.dump_python(config, mode="json")
    )
    return plain


def to_yaml(config: RunConfig | ImageRunConfig) -> str:
    """The resolved configuration as YAML that `load_config` reads."""
    return yaml.safe_dump(to_plain(config), sort_keys=False)


def json_schema(*, images: bool = False) -> dict[str, Any]:
    """JSON Schema of `run.yaml` of a run on a table, or on images, for editors."""
    return _IMAGE_ADAPTER.json_schema() if images else _ADAPTER.json_schema()


def _given(path: Path | None, settings: Iterable[str]) -> dict[str, Any]:
    """The file with the settings on top."""
    plain = _read(path) if path else {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigInvalid(f"--set takes key=value, such as `seed=1`, got {setting!r}.")
        _place(plain, key.split("."), _value(value, setting), setting)
    return plain


def _validated(adapter: TypeAdapter[Config], plain: dict[str, Any], path: Path | None) -> Config:
    try:
        return adapter.validate_python(plain)
    except ValidationError as error:
        where = f"{path}: " if path else ""
        raise ConfigInvalid(
            f"{where}{first_reason(error)}. `anomaly config schema` prints every key, with "
            "--images those of a run on images."
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path} is not YAML: {error}") from error
    if plain is None:
        return {}
    if not isinstance(plain, dict):
        raise ConfigInvalid(f"{path} must hold `key: value` lines, found {type(plain).__name__}.")
    return plain


def _value(text: str, setting: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigInvalid(
            f"--set {setting}: the value is not YAML. Quote it, such as key='\"[\"'."
        ) from error


def _place(plain: dict[str, Any], keys: list[str], value: Any, setting: str) -> None:
    for key in keys[:-1]:
        inner = plain.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigInvalid(f"--set {setting}: {key!r} holds a value, not further keys.")
        plain = inner
    plain[keys[-1]] = value


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`, key by key; a part of another kind replaces the whole part."""
    merged = dict(base)
    for key, value in over.items():
        old: Any = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(old, value) if both and _same_kind(old, value) else value
    return merged


def _same_kind(old: Any, new: Any) -> bool:
    return bool(new.get("kind", old.get("kind")) == old.get("kind"))


_ADAPTER = TypeAdapter(RunConfig)
_IMAGE_ADAPTER = TypeAdapter(ImageRunConfig)
