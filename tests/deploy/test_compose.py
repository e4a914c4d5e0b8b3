"""deploy/compose.yaml: by the schema of Compose, locked down, and true to the files it mounts."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from service.settings import PREFIX, Settings
from service.tracing.spans import SECONDS_OF_FAREWELL
from tests.deploy.dockerfile import instructions

FOLDER = Path(__file__).parents[2] / "deploy"
FOUND = yaml.safe_load((FOLDER / "compose.yaml").read_text())
COMPOSE: dict[str, Any] = {name: part for name, part in FOUND.items() if name[:2] != "x-"}
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MADE_BY_HAND = {"./secrets/postgres_password", "./secrets/grafana_password"}

each_service = pytest.mark.parametrize("name", SERVICES)


def parsed(compose: dict[str, Any]) -> Any:
    """Read by the rules of the Compose specification; what it does not know is an error."""
    return compose_spec.PyCompose.from_yaml(yaml.safe_dump(compose))


def test_it_is_valid_by_the_schema_of_compose() -> None:
    assert set(parsed(COMPOSE).service_names()) == set(SERVICES)

    with pytest.raises(ValueError, match="read_onyl"):
        parsed({"services": {"nginx": {**SERVICES["nginx"], "read_onyl": True}}})


def test_every_network_volume_and_secret_that_is_named_is_there() -> None:
    made = parsed(COMPOSE)

    made.validate_networks()
    made.validate_volumes()
    made.validate_secrets()


@each_service
def test_images_are_pinned_by_their_full_version(name: str) -> None:
    tag = SERVICES[name]["image"].partition(":")[2]

    assert re.match(r"v?\d+\.\d+", tag), f"{name} is {tag or 'not pinned'}"


@each_service
def test_every_container_is_locked_down(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "cap_add" not in service


@pytest.mark.parametrize("name", [name for name, s in SERVICES.items() if "profiles" not in s])
def test_what_stays_up_tells_its_health(name: str) -> None:
    service = SERVICES[name]
    dockerfile = service.get("build", {}).get("dockerfile")

    assert "healthcheck" in service or any(
        i.name == "HEALTHCHECK" for i in instructions(FOLDER.parent / dockerfile)
    )


@each_service
def test_ports_are_published_on_loopback_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_only_mlflow_reaches_the_database() -> None:
    assert [n for n, s in SERVICES.items() if "data" in s["networks"]] == ["mlflow", "postgres"]
    assert COMPOSE["networks"]["data"]["internal"] is True


@each_service
def test_passwords_come_as_files(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if "PASSWORD" in variable:
            assert value.startswith("/run/secrets/"), variable
            assert value.removeprefix("/run/secrets/") in SERVICES[name]["secrets"]


@each_service
def test_files_that_are_mounted_exist(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (FOLDER / source).exists(), source
            assert volume.endswith(":ro"), volume


def test_secrets_are_not_kept_in_the_repository() -> None:
    assert {secret["file"] for secret in COMPOSE["secrets"].values()} == MADE_BY_HAND
    assert "deploy/secrets/" in (FOLDER.parent / ".gitignore").read_text().splitlines()
    readme = (FOLDER / "README.md").read_text()
    assert all(Path(secret).name in readme for secret in MADE_BY_HAND)


@each_service
def test_settings_of_the_service_are_settings(name: str) -> None:
    for variable in SERVICES[name].get("environment", {}):
        if variable.startswith(PREFIX):
            group = variable.removeprefix(PREFIX).lower().split("__")[0]
            assert group in Settings.model_fields, variable


def test_the_service_has_time_to_finish_what_it_began() -> None:
    defaults = {name: Settings.model_fields[name].default for name in Settings.model_fields}
    finishing = defaults["drain_seconds"] + defaults["grace_seconds"] + SECONDS_OF_FAREWELL
    given = SERVICES["anomaly"]["stop_grace_period"]

    assert float(given.removesuffix("s")) > finishing
    assert f"`stop_grace_period: {given}`" in (FOLDER.parent / "docs" / "deployment.md").read_text()


def test_prometheus_reads_the_rules_that_are_mounted_and_scrapes_the_service() -> None:
    found = yaml.safe_load((FOLDER / "compose" / "prometheus.yml").read_text())
    mounts = {v.split(":")[1]: v.split(":")[0] for v in SERVICES["prometheus"]["volumes"]}

    for path in map(Path, found["rule_files"]):
        assert (FOLDER / mounts[str(path.parent)] / path.name).exists()
    targets = [
        t for s in found["scrape_configs"] for c in s["static_configs"] for t in c["targets"]
    ]
    assert f"anomaly:{Settings.model_fields['metrics_port'].default}" in targets


def test_grafana_finds_its_source_and_its_dashboards() -> None:
    provisioning = FOLDER / "grafana" / "provisioning"
    mounts = {v.split(":")[1]: FOLDER / v.split(":")[0] for v in SERVICES["grafana"]["volumes"]}
    (source,) = yaml.safe_load((FOLDER / "compose" / "datasource.yml").read_text())["datasources"]
    known = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "anomaly.yaml").read_text())[
        "providers"
    ]

    assert source == {**known["datasources"][0], "url": "http://prometheus:9090"}
    assert list(mounts[provider["options"]["path"]].glob("*.json"))


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin")
    if program is None:
        pytest.skip("nginx is not installed; see .ci/packages")
    text = (FOLDER / "nginx" / "nginx.conf").read_text()
    assert f"server anomaly:{Settings.model_fields['port'].default};" in text
    # The name is only known within the network of Compose.
    copy = tmp_path / "nginx.conf"
    copy.write_text(
        text.replace("server anomaly:", "server 127.0.0.1:").replace("/tmp", str(tmp_path))
    )

    done = subprocess.run(
        [program, "-t", "-c", copy, "-p", tmp_path, "-e", "/dev/stderr"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
