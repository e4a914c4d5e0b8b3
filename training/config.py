"""`run.yaml` as types. Unknown keys are errors; a preset gives what the file leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from anomaly.assembly import DetectorConfig, as_plain, check_config
from anomaly.backends.backend import Device
from anomaly.data.schema import STRICT, first_reason
from anomaly.data.splits import SplitConfig
from anomaly.errors import ConfigInvalid
from anomaly.fitting import FitConfig
from anomaly.presets import preset_config

DEFAULT_TEST_SHARE = 0.2


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


def load_config(path: Path | None, settings: Iterable[str] = ()) -> RunConfig:
    """The file, with `key=value` settings on top, both on top of the preset.

    Args:
        settings: Such as `seed=1` or `detector.fit.steps=500`; values are YAML.

    Raises:
        ConfigInvalid: not YAML, an unknown key, a value out of range, an unknown preset, or parts
            that do not go together.
    """
    plain = _read(path) if path else {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigInvalid(f"--set takes key=value, such as `seed=1`, got {setting!r}.")
        _place(plain, key.split("."), _value(value, setting), setting)
    preset = str(plain.get("preset", "default"))
    base = {
        "split": {"test_share": DEFAULT_TEST_SHARE},
        "detector": as_plain(preset_config(preset)),
    }
    try:
        config = _ADAPTER.validate_python(_merged(base, plain))
    except ValidationError as error:
        where = f"{path}: " if path else ""
        raise ConfigInvalid(
            f"{where}{first_reason(error)}. `anomaly config schema` prints every key."
        ) from error
    check_config(config.detector)
    if config.detector.fit.patience != FitConfig().patience and not config.split.early_stop_share:
        raise ConfigInvalid(
            "detector.fit.patience counts looks at early-stop rows, and none are held out: set "
            "split.early_stop_share=0.1, or leave patience out."
        )
    return config


def to_plain(config: RunConfig) -> dict[str, Any]:
    """The resolved configuration as dictionaries and lists."""
    plain: dict[str, Any] = _ADAPTER.dump_python(config, mode="json")
    return plain


def to_yaml(config: RunConfig) -> str:
    """The resolved configuration as YAML that `load_config` reads."""
    return yaml.safe_dump(to_plain(config), sort_keys=False)


def json_schema() -> dict[str, Any]:
    """JSON Schema of `run.yaml`, for editors."""
    return _ADAPTER.json_schema()


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
