"""run.yaml: --set over the file over the preset; what is unknown or impossible is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from anomaly.backends.backend import Device
from anomaly.errors import ConfigInvalid
from anomaly.models.posterior import PointPosterior
from anomaly.presets import PRESETS
from anomaly.scores import ReconstructionError, SquaredError
from training.config import RunConfig, json_schema, load_config, to_plain, to_yaml


def config_of(folder: Path, text: str, *settings: str) -> RunConfig:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, settings)


def test_nothing_said_is_the_default_preset_with_a_fifth_for_the_test() -> None:
    config = load_config(None)

    assert config.detector == PRESETS["default"]
    assert config.split.test_share == 0.2
    assert (config.seed, config.device) == (0, Device.AUTO)


def test_a_setting_wins_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    text = "preset: fast\nseed: 3\ndetector: {fit: {steps: 77, batch_rows: 8}}"

    config = config_of(tmp_path, text, "detector.fit.steps=9", "split.test_share=0.5")

    assert config.detector.score == ReconstructionError(draws=0)  # the preset
    assert (config.seed, config.detector.fit.batch_rows) == (3, 8)  # the file
    assert (config.detector.fit.steps, config.split.test_share) == (9, 0.5)  # --set


def test_a_preset_may_be_chosen_by_a_setting_and_changed_in_part(tmp_path: Path) -> None:
    config = config_of(tmp_path, "preset: fast", "preset=autoencoder", "detector.alpha=0.2")

    assert config.detector.model.posterior == PointPosterior()
    assert config.detector.alpha == 0.2


def test_a_part_of_another_kind_replaces_the_whole_part(tmp_path: Path) -> None:
    other = config_of(tmp_path, "detector: {score: {kind: squared_error}}")
    same = config_of(tmp_path, "detector: {score: {draws: 3}}")

    assert other.detector.score == SquaredError()
    assert same.detector.score == ReconstructionError(draws=3)


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_printed_is_what_is_read(tmp_path: Path, preset: str) -> None:
    config = load_config(None, [f"preset={preset}", "seed=5", "detector.alpha=1e-3"])

    assert config_of(tmp_path, to_yaml(config)) == config
    assert yaml.safe_load(to_yaml(config)) == to_plain(config)
    assert config.detector.alpha == 0.001


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sed: 1", "sed"),
        ("detector: {fit: {stepps: 1}}", "stepps"),
        ("detector: {score: {kind: nope}}", "nope"),
        ("detector: {score: {kind: squared_error, draws: 4}}", "draws"),
        ("seed: -1", "seed"),
        ("seed: 1.5", "seed"),
        ("detector: {alpha: 0}", "alpha"),
        ("detector: {alpha: 1}", "alpha"),
        ("detector: {alpha: .nan}", "alpha"),
        ("detector: {fit: {learning_rate: .inf}}", "learning_rate"),
        ("detector: {fit: {steps: 0}}", "steps"),
        ("detector: {block_rows: 17}", "block_rows"),
        ("split: {test_share: 1}", "test_share"),
        ("split: {by: group}", "group_column"),
        ("split: {group_column: x}", "group_column"),
        ("split: {by: colour}", "by"),
        ("detector: null", "detector"),
        ("detector: 5", "detector"),
        ("preset: autoencoder\ndetector: {score: {kind: negative_elbo}}", "squared_error"),
        ("preset: vq\ndetector: {fit: {objective: {beta: 2}}}", "has no KL"),
        ("preset: wae\ndetector: {model: {prior: {kind: vamp}}}", "prior is learned"),
        ("device: gpu", "device"),
        ("preset: deep", "deep"),
        ("1: 2", "1"),
        ("5", "key: value"),
        ("[1]", "key: value"),
        ("a: [", "not YAML"),
        ("a: !!python/object/apply:os.system [ls]", "not YAML"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigInvalid, match=says):
        config_of(tmp_path, text)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigInvalid, match=r"run\.yaml is not YAML"):
        load_config(tmp_path / "run.yaml")


@pytest.mark.parametrize("setting", ["seed", "seed=[", "seed.x=1", "=1", "detector..alpha=1"])
def test_a_setting_that_cannot_be_is_refused(setting: str) -> None:
    with pytest.raises(ConfigInvalid):
        load_config(None, [setting])


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether a value fits a JSON Schema: the words of the standard that ours uses, no others."""
    rules = {k: v for k, v in schema.items() if k not in ("title", "description", "default")}
    if "$ref" in rules:
        *_, name = rules.pop("$ref").split("/")
        return fits(value, root["$defs"][name], root)
    types = {
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
        "string": isinstance(value, str),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "null": value is None,
        "": True,
    }
    if not types[rules.pop("type", "")]:
        return False
    known: dict[str, Callable[[Any], bool]] = {
        "properties": lambda rule: all(
            fits(value[key], inner, root) for key, inner in rule.items() if key in value
        ),
        "additionalProperties": lambda rule: rule or set(value) <= set(rules["properties"]),
        "required": lambda rule: set(rule) <= set(value),
        "enum": lambda rule: value in rule,
        "const": lambda rule: value == rule,
        "anyOf": lambda rule: any(fits(value, inner, root) for inner in rule),
        "oneOf": lambda rule: sum(fits(value, inner, root) for inner in rule) == 1,
        "discriminator": lambda rule: rule["propertyName"] in value,
        "items": lambda rule: all(fits(item, rule, root) for item in value),
        "prefixItems": lambda rule: all(map(lambda v, s: fits(v, s, root), value, rule)),
        "minItems": lambda rule: len(value) >= rule,
        "maxItems": lambda rule: len(value) <= rule,
        "minimum": lambda rule: value >= rule,
        "maximum": lambda rule: value <= rule,
        "exclusiveMinimum": lambda rule: value > rule,
        "exclusiveMaximum": lambda rule: value < rule,
        "multipleOf": lambda rule: value % rule == 0,
        "$defs": lambda rule: True,
    }
    return all(known[word](rule) for word, rule in rules.items())


@pytest.mark.parametrize("preset", PRESETS)
def test_the_json_schema_accepts_every_resolved_configuration(preset: str) -> None:
    schema = json_schema()

    assert json.loads(json.dumps(schema)) == schema
    assert fits(to_plain(load_config(None, [f"preset={preset}"])), schema, schema)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sed": 1},
        {"seed": -1},
        {"seed": "one"},
        {"device": "gpu"},
        {"detector": {"fit": {"stepps": 1}}},
        {"detector": {"alpha": 0}},
        {"detector": {"score": {"kind": "nope"}}},
    ],
)
def test_the_json_schema_refuses_what_loading_refuses(wrong: dict[str, Any]) -> None:
    assert not fits(wrong, json_schema(), json_schema())


def test_the_json_schema_tells_an_editor_of_every_key() -> None:
    definitions = json_schema()["$defs"]

    assert "steps" in definitions["FitConfig"]["properties"]
    assert "alpha" in definitions["DetectorConfig"]["properties"]
    assert definitions["FitConfig"]["additionalProperties"] is False


def test_patience_without_early_stop_rows_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match=r"split\.early_stop_share=0\.1"):
        load_config(None, ["detector.fit.patience=3"])
    config = load_config(None, ["detector.fit.patience=3", "split.early_stop_share=0.1"])
    assert config.detector.fit.patience == 3
