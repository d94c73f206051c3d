"""Everything in the overlays is what Kubernetes knows, fits together, and says to MUTT what MUTT understands."""

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import kubernetes_validate.utils
import pytest
import yaml

from mutt.archive_settings import ArchiveSettings
from mutt.settings import SERVICES as SETTINGS
from mutt.settings import load
from mutt.variables import variables
from scripts.devtools.services import SERVICES
from tests.deployment.kustomize import Manifest, build
from tests.deployment.manifests import (
    DEPLOY,
    OURS,
    OVERLAYS,
    ROOT,
    SECRETS,
    Pod,
    built,
    configuration,
    of_kind,
    pods,
    pods_of,
)

OLDEST, NEWEST = "1.30", "1.37"
# Kinds of an operator, whose schemas Kubernetes does not have: checked below by hand, and why is in record 58.
FOREIGN = {("external-secrets.io/v1", "SecretStore"), ("external-secrets.io/v1", "ExternalSecret")}


read_schema = functools.cache(kubernetes_validate.utils.schema_contents)  # 1 MB of definitions, once and not each time


@pytest.fixture
def _schemas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", read_schema)


@pytest.mark.usefixtures("_schemas")
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_in_kubernetes_own_schemas(overlay: str, version: str) -> None:
    foreign = set()
    for manifest in built(overlay):
        kind = (manifest["apiVersion"], manifest["kind"])
        if kind in FOREIGN:
            foreign.add(kind)
            continue
        kubernetes_validate.validate(manifest, version, strict=True)  # an unknown kind raises too
    assert foreign == (FOREIGN if overlay == "prod" else set())


def test_the_manifest_of_prometheus_is_in_them_too() -> None:
    path = ROOT / "monitoring" / "k8s" / "prometheus.yaml"
    for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)


def test_an_unknown_kind_and_an_unknown_field_are_failures() -> None:
    known = next(each for each in built("prod") if each["kind"] == "Deployment")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**known, "spec": {**known["spec"], "replica": 2}}, NEWEST, strict=True)
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        kubernetes_validate.validate({**known, "kind": "Deploymant"}, NEWEST, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_is_there_twice_and_all_is_in_the_overlays_namespace(overlay: str) -> None:
    (namespace,) = of_kind(overlay, "Namespace")
    names = [(each["kind"], each["metadata"]["name"]) for each in built(overlay)]
    assert len(set(names)) == len(names)
    assert {each["metadata"].get("namespace") for each in built(overlay)} == {None, namespace}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_referred_to_is_there(overlay: str) -> None:
    all_pods = pods(overlay)
    labels = [pod.metadata["labels"] for pod in all_pods.values()]
    accounts, maps = of_kind(overlay, "ServiceAccount"), of_kind(overlay, "ConfigMap")
    for pod in all_pods.values():
        assert pod.spec.get("serviceAccountName", "default") in {*accounts, "default"}
        for container in pod.containers():
            assert {each["configMapRef"]["name"] for each in container.get("envFrom", ())} <= set(maps)
            mounted = {each["name"] for each in container.get("volumeMounts", ())}
            assert mounted <= {each["name"] for each in pod.spec.get("volumes", ())} | _claims(overlay, pod)
    for manifest in of_kind(overlay, "Service", "PodDisruptionBudget", "NetworkPolicy").values():
        for selector in _selectors(manifest):
            assert any(_selects(selector, each) for each in labels), f"{manifest['metadata']['name']} selects nothing"
    for service in of_kind(overlay, "Service").values():
        pod = next(each for each in all_pods.values() if _selects(service["spec"]["selector"], each.metadata["labels"]))
        ports = {port["name"] for each in pod.containers() for port in each.get("ports", ())}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for scaler in of_kind(overlay, "HorizontalPodAutoscaler").values():
        target = of_kind(overlay, scaler["spec"]["scaleTargetRef"]["kind"])[scaler["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in target["spec"], "an apply would undo what the autoscaler did"


def _claims(overlay: str, pod: Pod) -> set[str]:
    spec = of_kind(overlay, pod.kind)[pod.name]["spec"]
    return {each["metadata"]["name"] for each in spec.get("volumeClaimTemplates", ())}


def _selectors(manifest: Manifest) -> Iterator[Manifest]:
    if manifest["kind"] == "Service":
        yield manifest["spec"]["selector"]
        return
    if manifest["kind"] == "PodDisruptionBudget":
        yield manifest["spec"]["selector"]
        return
    yield manifest["spec"]["podSelector"]
    for rule in (*manifest["spec"].get("ingress", ()), *manifest["spec"].get("egress", ())):
        for peer in (*rule.get("from", ()), *rule.get("to", ())):
            if "namespaceSelector" not in peer:
                yield peer["podSelector"]


def _selects(selector: Manifest, labels: dict[str, str]) -> bool:
    if not {"matchLabels", "matchExpressions"} & set(selector):
        return selector.items() <= labels.items()
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        each["operator"] == "In" and labels.get(each["key"]) in each["values"]
        for each in selector.get("matchExpressions", ())
    )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_service_is_deployed_by_its_entry_file_on_its_own_ports(overlay: str) -> None:
    for service in SERVICES.values():
        pod = pods(overlay)[service.name]
        (container,) = pod.containers()
        assert container["command"] == ["/opt/mutt/venv/bin/python", f"/opt/mutt/services/{service.entry}"]
        found = {each["name"]: each["containerPort"] for each in container["ports"]}
        assert found == {use: port for use, (_, port) in service.ports.items()}
        assert pod.metadata["annotations"]["prometheus.io/port"] == str(found.get("metrics") or found["http"])


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", list(SERVICES))
def test_every_service_accepts_its_environment_and_each_variable_exists(overlay: str, name: str) -> None:
    pod = pods(overlay)[name]
    (container,) = pod.containers()
    environment = configuration(overlay, pod, container)
    settings = load(SETTINGS[name], environment)
    assert settings.dynamic_config_enabled
    assert getattr(settings, "pod_name", None) in {None, environment.get("POD_NAME")}
    known = {variable.name for each in (*SETTINGS.values(), ArchiveSettings) for variable, _ in variables(each)}
    files = {each.removesuffix("_FILE") for each in environment if environment[each].startswith(f"{SECRETS}/")}
    unknown = set(environment) - known - {f"{each}_FILE" for each in files}
    assert not unknown, "nothing reads these"


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", OURS)
def test_a_pod_gets_the_secrets_that_its_variables_name_and_no_other(overlay: str, name: str) -> None:
    pod = pods(overlay)[name]
    named = {
        value.removeprefix(f"{SECRETS}/")
        for container in pod.containers()
        for value in configuration(overlay, pod, container).values()
        if value.startswith(f"{SECRETS}/")
    }
    volume = pod.volume("secrets")["secret"]
    assert {each["path"] for each in volume["items"]} == named
    assert volume["secretName"] == "mutt-secrets"
    assert volume["defaultMode"] == 0o440


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", list(SERVICES))
def test_a_pod_has_time_to_end(overlay: str, name: str) -> None:
    pod = pods(overlay)[name]
    (container,) = pod.containers()
    grace = load(SETTINGS[name], configuration(overlay, pod, container)).shutdown_grace
    drain = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert bool(drain) == ("http" in SERVICES[name].ports), "who is called waits until nobody is led to it any more"
    assert pod.spec["terminationGracePeriodSeconds"] >= drain + grace + 10


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", list(SERVICES))
def test_a_restart_and_the_start_ask_only_whether_it_lives(overlay: str, name: str) -> None:
    (container,) = pods(overlay)[name].containers()
    port = "http" if "http" in SERVICES[name].ports else "health"
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/live", "port": port}
    ready = "/live" if name in {"moog-forwarder", "webui"} else "/health"  # why: in the manifests and record 57
    assert container["readinessProbe"]["httpGet"] == {"path": ready, "port": port}
    # A service that waits for its servers at the start is not restarted while it does.
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 300


def test_scaling_goes_by_what_the_specification_says() -> None:
    scalers = of_kind("prod", "HorizontalPodAutoscaler")
    assert set(scalers) == {"ingestor", "alerter", "moog-forwarder"}
    (depth,) = scalers["alerter"]["spec"]["metrics"]
    assert (depth["external"]["metric"]["name"], depth["external"]["target"]["value"]) == (
        "mutt_ingest_queue_depth",
        "5000",
    )
    first, *_ = scalers["moog-forwarder"]["spec"]["metrics"]
    assert first["external"]["metric"]["name"] == "mutt_moog_rate_limit_hits_per_second"
    remediation = of_kind("prod", "Deployment")["remediation"]["spec"]
    assert (remediation["replicas"], remediation["strategy"]) == (1, {"type": "Recreate"})


def test_the_adapter_serves_each_external_metric_from_one_that_exists() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus-adapter.yaml").read_text(encoding="utf-8"))["rules"]["external"]
    served: dict[str, str] = {}
    for rule in rules:
        series = re.fullmatch(r'\{__name__="(\w+)"\}', rule["seriesQuery"])
        assert series
        served[rule.get("name", {}).get("as", series[1])] = series[1]
    asked = {
        metric["external"]["metric"]["name"]
        for scaler in of_kind("prod", "HorizontalPodAutoscaler").values()
        for metric in scaler["spec"]["metrics"]
        if metric["type"] == "External"
    }
    assert set(served) == asked
    known = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert all(f"`{series}`" in known for series in served.values())


def test_the_operators_own_kinds_name_the_secret_that_pods_read() -> None:
    store = of_kind("prod", "SecretStore")["vault"]
    assert set(store["spec"]["provider"]) == {"vault"}
    vault: Any = store["spec"]["provider"]["vault"]
    assert vault["server"].startswith("https://")
    assert vault["auth"]["kubernetes"]["serviceAccountRef"]["name"] in of_kind("prod", "ServiceAccount")
    secret = of_kind("prod", "ExternalSecret")["mutt-secrets"]["spec"]
    assert secret["secretStoreRef"] == {"kind": "SecretStore", "name": store["metadata"]["name"]}
    # Together, the default of VAULT_SECRETS_PATH: one place in Vault, however MUTT is run.
    assert (
        f"{vault['path']}/{secret['dataFrom'][0]['extract']['key']}"
        == load(SETTINGS["ingestor"], {}).vault.secrets_path
    )
    assert secret["target"]["name"] == "mutt-secrets"
    assert secret["target"]["deletionPolicy"] == "Retain", "a Vault that is away must not take the secrets along"


def with_component(folder: Path, *names: str) -> list[Manifest]:
    """Build an overlay of the base and some of the components."""
    up = os.path.relpath(ROOT, folder)
    overlay = {"resources": [f"{up}/k8s"], "components": [f"{up}/deploy/components/{name}" for name in names]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    return build(folder)


@pytest.mark.usefixtures("_schemas")
@pytest.mark.parametrize("name", ["vault", "sentinel"])
def test_what_a_component_makes_is_in_kubernetes_own_schemas(tmp_path: Path, name: str) -> None:
    for manifest in with_component(tmp_path, name):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)


@pytest.mark.parametrize("names", [["vault"], ["sentinel", "vault"]])
def test_with_the_component_of_vault_each_pod_holds_its_secret_id_alone(tmp_path: Path, names: list[str]) -> None:
    manifests = with_component(tmp_path, *names)
    (config,) = (each["data"] for each in manifests if each["kind"] == "ConfigMap")
    vault = load(SETTINGS["ingestor"], config).vault
    assert vault.addr
    assert vault.addr.startswith("https://")
    assert vault.cacert == load(SETTINGS["ingestor"], config).redis.ca_cert_path, "one authority, as the document says"
    ours = list(pods_of(manifests))
    assert {pod.name for pod in ours} == set(OURS)
    for pod in ours:
        secret = pod.volume("secrets")["secret"]
        assert secret["secretName"] == "mutt-vault"
        (item,) = secret["items"]
        assert f"{SECRETS}/{item['path']}" == vault.secret_id_file


def test_with_the_component_of_sentinel_each_pod_that_asks_redis_knows_the_sentinels_and_their_password(
    tmp_path: Path,
) -> None:
    manifests = with_component(tmp_path, "sentinel")
    (config,) = (each["data"] for each in manifests if each["kind"] == "ConfigMap")
    assert len(load(SETTINGS["ingestor"], config).redis.sentinels) == len(config["REDIS_SENTINELS"].split(","))
    for pod in pods_of(manifests):
        names = {each["name"] for each in pod.spec["containers"][0]["env"]}
        keys = {each["key"] for each in pod.volume("secrets")["secret"]["items"]}
        asks = "REDIS_PASS_CURRENT" in keys
        assert asks == ("REDIS_SENTINEL_PASS" in keys) == ("REDIS_SENTINEL_PASS_FILE" in names)
        assert asks or pod.name == "archive"
