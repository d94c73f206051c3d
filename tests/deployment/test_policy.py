"""What a cluster's policy asks of a workload, each rule for every pod and container of both overlays.

The first part is the level "restricted" of Kubernetes' own pod security standards, which the namespaces enforce. These
tests stand in for a policy checker that is too large for the lock (docs/decisions/0058 has what one found).
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deployment.kustomize import Manifest
from tests.deployment.manifests import OVERLAYS, Pod, built, of_kind, pods

PODS = [pytest.param(pod, id=f"{overlay}-{pod.name}") for overlay in OVERLAYS for pod in pods(overlay).values()]
CONTAINERS = [
    pytest.param(pod, container, id=f"{overlay}-{pod.name}-{container['name']}")
    for overlay in OVERLAYS
    for pod in pods(overlay).values()
    for container in pod.containers()
]
every_pod = pytest.mark.parametrize("pod", PODS)
every_container = pytest.mark.parametrize(("pod", "container"), CONTAINERS)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_enforces_the_restricted_standard(overlay: str) -> None:
    (namespace,) = of_kind(overlay, "Namespace").values()
    labels = namespace["metadata"]["labels"]
    for mode in ("enforce", "warn", "audit"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"


@every_pod
def test_a_pod_shares_nothing_with_its_node(pod: Pod) -> None:
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers", "shareProcessNamespace"} & set(pod.spec)
    for volume in pod.spec.get("volumes", ()):
        (kind,) = set(volume) - {"name"}
        assert kind in {"configMap", "emptyDir", "secret"}, "restricted allows a few more; these are all that is needed"
    for container in pod.containers():
        assert not any("hostPort" in port for port in container.get("ports", ()))


@every_pod
def test_a_pod_runs_as_a_user_without_rights_under_the_runtimes_filter(pod: Pod) -> None:
    context = pod.spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] >= 10_000 or pod.name == "postgres", "a user that no node has"
    assert context["runAsUser"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "sysctls" not in context


@every_container
def test_a_container_gains_nothing_and_writes_nowhere(pod: Pod, container: Manifest) -> None:
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert not {"privileged", "procMount", "runAsUser", "runAsNonRoot"} & set(context)


@every_pod
def test_a_pod_has_no_token_of_kubernetes_and_no_variables_of_its_services(pod: Pod) -> None:
    assert pod.spec["automountServiceAccountToken"] is False
    # A Service named redis would set REDIS_PORT=tcp://10.0.0.1:6379.
    assert pod.spec["enableServiceLinks"] is False


@every_pod
def test_what_a_pod_may_write_is_bounded(pod: Pod) -> None:
    for volume in pod.spec.get("volumes", ()):
        assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"]


@every_container
def test_a_container_has_requests_and_limits(pod: Pod, container: Manifest) -> None:
    for bound in ("requests", "limits"):
        assert set(container["resources"][bound]) == {"cpu", "memory"}


@every_container
def test_an_image_has_a_version_and_comes_without_its_registry_being_asked_again(pod: Pod, container: Manifest) -> None:
    assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*(@sha256:[0-9a-f]{64})?", container["image"])
    assert container["imagePullPolicy"] == "IfNotPresent"


@every_container
def test_no_secret_is_in_a_manifest(pod: Pod, container: Manifest) -> None:
    for variable in container.get("env", ()):
        if re.search(r"PASS|KEY|TOKEN|SECRET", variable["name"]):
            assert variable["name"].endswith("_FILE")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_is_in_an_overlay(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")
    for config in of_kind(overlay, "ConfigMap").values():
        assert not [name for name in config["data"] if re.search(r"PASS|KEY|TOKEN", name)]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_runs_on_has_probes_and_its_own_account(overlay: str) -> None:
    for pod in pods(overlay).values():
        if pod.kind in {"Deployment", "StatefulSet"}:
            for container in pod.containers():
                assert {"livenessProbe", "readinessProbe"} <= set(container)
        if pod.metadata["labels"]["app.kubernetes.io/part-of"] == "mutt":
            assert pod.spec["serviceAccountName"] == pod.name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_manifest_grants_a_right_of_kubernetes(overlay: str) -> None:
    assert not [each for each in built(overlay) if each["apiVersion"].startswith("rbac.")]


# Who may talk to whom. A peer is a pod of the namespace, or a namespace, or "anywhere".
WANTED = [
    ("anywhere", "ingestor", 8080),
    ("ingress-nginx", "webui", 8090),
    *(("monitoring", pod, port) for pod, port in (("ingestor", 8080), ("alerter", 8081), ("moog-forwarder", 8083))),
    *(("monitoring", pod, port) for pod, port in (("webui", 8090), ("remediation", 8086))),
    *(("webui", pod, port) for pod, port in (("ingestor", 8080), ("alerter", 8082), ("moog-forwarder", 8084))),
    ("webui", "remediation", 8087),
    ("webui", "monitoring", 9090),
    *((pod, "anywhere", 6379) for pod in ("ingestor", "alerter", "moog-forwarder", "webui", "remediation", "setup")),
    *((pod, "anywhere", 26379) for pod in ("ingestor", "alerter", "moog-forwarder", "webui", "remediation")),
    *((pod, "anywhere", 5432) for pod in ("alerter", "moog-forwarder", "webui", "setup", "archive")),
    ("moog-forwarder", "anywhere", 443),
    ("archive", "anywhere", 443),
    *((pod, "monitoring", 4317) for pod in ("ingestor", "alerter", "moog-forwarder", "webui", "remediation")),
    *((pod, "kube-system", 53) for pod in ("ingestor", "archive", "setup")),
]
FORBIDDEN = [
    ("ingestor", "anywhere", 5432),
    ("remediation", "anywhere", 5432),
    *((pod, "anywhere", 443) for pod in ("ingestor", "alerter", "webui", "remediation", "setup")),
    ("anywhere", "webui", 8090),
    *(("anywhere", pod, port) for pod, port in (("alerter", 8081), ("alerter", 8082), ("moog-forwarder", 8084))),
    ("ingestor", "alerter", 8082),
    ("ingestor", "anywhere", 80),
    ("alerter", "anywhere", 22),
]


@pytest.mark.parametrize(("source", "target", "port"), WANTED)
def test_what_has_to_pass_passes(source: str, target: str, port: int) -> None:
    assert passes(source, target, port)


@pytest.mark.parametrize(("source", "target", "port"), FORBIDDEN)
def test_what_nobody_needs_does_not_pass(source: str, target: str, port: int) -> None:
    assert not passes(source, target, port)


@pytest.mark.parametrize("server", [("redis", 6379), ("postgres", 5432), ("moogsoft", 8088)])
def test_the_servers_of_the_development_overlay_are_reached_by_mutt_alone(server: tuple[str, int]) -> None:
    name, port = server
    assert passes("moog-forwarder", name, port, "dev")
    assert not passes("anywhere", name, port, "dev")
    assert not passes("monitoring", name, port, "dev")


def passes(source: str, target: str, port: int, overlay: str = "prod") -> bool:
    """Tell whether the policies of both ends let a connection pass, where that end is one of the overlay's pods."""
    ours = pods(overlay)
    out = source not in ours or _allowed(overlay, ours[source], "Egress", target, port)
    return out and (target not in ours or _allowed(overlay, ours[target], "Ingress", source, port))


def _allowed(overlay: str, pod: Pod, direction: str, peer: str, port: int) -> bool:
    policies = [each["spec"] for each in of_kind(overlay, "NetworkPolicy").values()]
    holding = [each for each in policies if direction in each["policyTypes"] and _holds(each["podSelector"], pod)]
    assert holding, "nothing denies what is not named"
    key, side = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    rules = [rule for each in holding for rule in each.get(key, ())]
    numbers = {each["name"]: each["containerPort"] for c in pod.containers() for each in c.get("ports", ())}
    return any(
        port in {numbers.get(each["port"], each["port"]) for each in rule["ports"]}
        and (side not in rule or any(_is_peer(overlay, each, peer) for each in rule[side]))
        for rule in rules
    )


def _is_peer(overlay: str, selector: Any, peer: str) -> bool:
    if "namespaceSelector" in selector:
        return bool(selector["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == peer)
    return peer in pods(overlay) and _holds(selector["podSelector"], pods(overlay)[peer])


def _holds(selector: Manifest, pod: Pod) -> bool:
    labels = pod.metadata["labels"]
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in _expressions(selector)
    )


def _expressions(selector: Manifest) -> Iterator[Manifest]:
    for each in selector.get("matchExpressions", ()):
        assert each["operator"] == "In"
        yield each
