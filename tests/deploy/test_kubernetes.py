"""The manifests as kustomize renders them: valid, restricted, and true to the service."""

from __future__ import annotations

import functools
import runpy
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.app.edge import Edge
from service.settings import PREFIX, Settings, read_settings
from service.tracing.spans import SECONDS_OF_FAREWELL
from tests.deploy.monitoring import metrics_in
from tests.service.pumps import Caller

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
DOCS = Path(__file__).parents[2] / "docs"
RENDERED = ("overlays/cpu", "overlays/gpu", "overlays/kserve", "monitoring")
WITHOUT_SCHEMA = {"InferenceService", "PrometheusRule", "ScaledObject", "ServiceMonitor"}
"""Kinds of other projects, whose schemas are not at hand: read as YAML, and not validated."""

VERSIONS = ("1.30.0", "1.37.0")
"""Of Kubernetes: the oldest with `preStop.sleep` switched on, and the newest known here."""

each_overlay = pytest.mark.parametrize("overlay", RENDERED)
each_that_serves = pytest.mark.parametrize("overlay", RENDERED[:3])

Object = dict[str, Any]


@functools.cache
def rendered(overlay: str) -> tuple[Object, ...]:
    """The objects of an overlay."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(
        [program, "kustomize", FOLDER / overlay], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, kind: str) -> list[Object]:
    return [found for found in rendered(overlay) if found["kind"] == kind]


def pod(overlay: str) -> Object:
    """The specification of the pods that serve."""
    for found in rendered(overlay):
        if found["kind"] == "Deployment":
            spec: Object = found["spec"]["template"]["spec"]
            return spec
        if found["kind"] == "InferenceService":
            predictor: Object = found["spec"]["predictor"]
            return predictor
    raise AssertionError(f"nothing serves in {overlay}")


def container(overlay: str) -> Object:
    (found,) = pod(overlay)["containers"]
    only: Object = found
    return only


def settings(overlay: str) -> dict[str, str]:
    """The environment of the container."""
    own = {each["name"]: each["value"] for each in container(overlay).get("env", [])}
    maps = {found["metadata"]["name"]: found["data"] for found in of_kind(overlay, "ConfigMap")}
    for source in container(overlay).get("envFrom", []):
        own |= maps[source["configMapRef"]["name"]]
    return own


def values(found: Any, name: str) -> Iterator[Any]:
    """Whatever stands under that name, anywhere."""
    if isinstance(found, dict):
        for key, value in found.items():
            if key == name:
                yield value
            yield from values(value, name)
    elif isinstance(found, list):
        for value in found:
            yield from values(value, name)


@pytest.mark.parametrize("version", VERSIONS)
@each_overlay
def test_every_object_of_kubernetes_is_valid(overlay: str, version: str) -> None:
    for found in rendered(overlay):
        if found["kind"] not in WITHOUT_SCHEMA:
            kubernetes_validate.validate(found, version, strict=True)
        assert found["metadata"]["name"]


def test_the_check_itself_finds_a_wrong_name() -> None:
    (found,) = of_kind("overlays/cpu", "Service")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**found, "spce": {}}, VERSIONS[-1], strict=True)


@each_overlay
def test_images_are_pinned_by_their_full_version(overlay: str) -> None:
    for image in values(list(rendered(overlay)), "image"):
        assert image.partition(":")[2].startswith("0.1.0-"), image


@each_that_serves
def test_pods_keep_to_the_restricted_standard(overlay: str) -> None:
    shared, own = pod(overlay)["securityContext"], container(overlay)["securityContext"]

    assert shared["runAsNonRoot"] is True
    assert (shared["runAsUser"], shared["runAsGroup"]) == (65532, 65532)
    assert shared["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert own["readOnlyRootFilesystem"] is True
    assert pod(overlay)["automountServiceAccountToken"] is False
    kinds = {kind for volume in pod(overlay)["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"emptyDir", "secret"}
    assert all("sizeLimit" in found for found in values(pod(overlay)["volumes"], "emptyDir"))


@each_that_serves
def test_settings_are_settings_of_the_service(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = settings(overlay)
    # The image says this one.
    monkeypatch.setenv(f"{PREFIX}HOST", "0.0.0.0")
    for name, value in found.items():
        monkeypatch.setenv(name, value)

    read = read_settings()

    assert read.models == ("models:/pumps@champion",)
    mounts = {Path(mount["mountPath"]) for mount in container(overlay)["volumeMounts"]}
    assert read.keys is not None
    assert read.keys.parent in mounts
    assert "MLFLOW_TRACKING_URI" in found


@each_that_serves
def test_probes_ask_for_what_the_service_answers(
    overlay: str, make_app: Callable[..., Edge]
) -> None:
    ports = {port["name"]: port["containerPort"] for port in container(overlay)["ports"]}
    caller = Caller(make_app())

    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container(overlay)[name]["httpGet"]
        port = ports.get(asked["port"], asked["port"])
        assert port == Settings.model_fields["port"].default
        assert caller("GET", asked["path"]).status_code == 200
    # Whatever the registry or the queue are, it lives.
    assert container(overlay)["livenessProbe"]["httpGet"]["path"] in ("/livez", "/v2/health/live")


@each_that_serves
def test_a_pod_has_time_to_finish_what_it_began(overlay: str) -> None:
    defaults = {name: Settings.model_fields[name].default for name in Settings.model_fields}
    sleeping = container(overlay)["lifecycle"]["preStop"]["sleep"]["seconds"]
    finishing = defaults["drain_seconds"] + defaults["grace_seconds"] + SECONDS_OF_FAREWELL
    given = pod(overlay)["terminationGracePeriodSeconds"]

    assert given > sleeping + finishing
    assert f"`terminationGracePeriodSeconds: {given}`" in (DOCS / "deployment.md").read_text()


@each_that_serves
def test_there_is_memory_for_all_that_the_queue_may_hold(overlay: str) -> None:
    limit = container(overlay)["resources"]["limits"]["memory"]

    assert int(limit.removesuffix("Gi")) * 2**30 >= 2 * Settings(models=("m",)).queue.max_bytes


@pytest.mark.parametrize("overlay", ["overlays/cpu", "overlays/gpu"])
def test_nothing_is_reached_that_is_not_listed(overlay: str) -> None:
    policies = {f["metadata"]["name"]: f["spec"] for f in of_kind(overlay, "NetworkPolicy")}

    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    ports = [rule["ports"][0]["port"] for rule in policies["anomaly"]["ingress"]]
    assert ports == [Settings.model_fields[name].default for name in ("port", "metrics_port")]
    assert all("from" in rule for rule in policies["anomaly"]["ingress"])
    assert all("to" in rule for rule in policies["anomaly"]["egress"])


@pytest.mark.parametrize("overlay", ["overlays/cpu", "overlays/gpu"])
def test_what_selects_pods_selects_these(overlay: str) -> None:
    (deployment,) = of_kind(overlay, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]

    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert of_kind(overlay, "Service")[0]["spec"]["selector"] == labels
    assert of_kind(overlay, "PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"] == labels
    (monitor,) = of_kind("monitoring", "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"] == labels
    assert of_kind(overlay, "Service")[0]["metadata"]["labels"].items() >= labels.items()
    ports = {port["name"] for port in of_kind(overlay, "Service")[0]["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_each_overlay_scales_by_what_it_says(caller: Caller) -> None:
    (by_cpu,) = of_kind("overlays/cpu", "HorizontalPodAutoscaler")
    (by_rows,) = of_kind("overlays/gpu", "ScaledObject")
    (deployment,) = of_kind("overlays/gpu", "Deployment")

    assert by_cpu["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert by_rows["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    (trigger,) = by_rows["spec"]["triggers"]
    (metric,) = metrics_in(trigger["metadata"]["query"])
    assert metric in {name for name, _ in caller.samples()}
    assert 'namespace="anomaly"' in trigger["metadata"]["query"]
    assert "replicas" not in deployment["spec"], "it would undo what was scaled"


def test_a_gpu_is_asked_for_where_the_image_needs_one() -> None:
    assert container("overlays/gpu")["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container("overlays/gpu")["image"].endswith("-cuda")


def test_rules_and_dashboards_are_those_of_deploy() -> None:
    made = runpy.run_path(str(FOLDER / "generate.py"))["generated"]()

    for path, text in made.items():
        assert path.read_text() == text, f"run {FOLDER / 'generate.py'}: {path.name} is not as made"
    (found,) = of_kind("monitoring", "ConfigMap")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
