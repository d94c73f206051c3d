"""What deploy/ builds, and the pods in it."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scripts.devtools.services import SERVICES
from tests.deployment.kustomize import Manifest, build

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
OVERLAYS = ("dev", "prod")
OURS = (*SERVICES, "setup", "archive")
SECRETS = "/etc/mutt/secrets"


class Pod(NamedTuple):
    """A pod as one of the manifests makes it."""

    name: str
    kind: str
    metadata: Manifest
    spec: Manifest

    def containers(self) -> list[Manifest]:
        """Return its containers in the order in which they run."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    def volume(self, name: str) -> Manifest:
        """Return the volume of that name."""
        found: Manifest = next(each for each in self.spec["volumes"] if each["name"] == name)
        return found


@functools.cache
def built(overlay: str) -> list[Manifest]:
    """Return all manifests of an overlay; whoever wants to change them copies them first."""
    return build(DEPLOY / overlay)


def of_kind(overlay: str, *kinds: str) -> dict[str, Manifest]:
    """Return the manifests of those kinds by their names."""
    return {each["metadata"]["name"]: each for each in built(overlay) if each["kind"] in kinds}


def pods(overlay: str) -> dict[str, Pod]:
    """Return every pod of an overlay by the name of what makes it."""
    return {pod.name: pod for pod in pods_of(built(overlay))}


def pods_of(manifests: list[Manifest]) -> Iterator[Pod]:
    """Yield a pod for each manifest that makes some."""
    for manifest in manifests:
        spec: Any = manifest.get("spec", {})
        if manifest["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if (template := spec.get("template")) is not None:
            yield Pod(manifest["metadata"]["name"], manifest["kind"], template["metadata"], template["spec"])


def configuration(overlay: str, pod: Pod, container: Manifest) -> dict[str, str]:
    """Return the environment of a container as the manifests give it; POD_NAME as a cluster would."""
    maps = of_kind(overlay, "ConfigMap")
    environment: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        environment |= maps[source["configMapRef"]["name"]]["data"]
    for variable in container.get("env", ()):
        given = variable.get("value")
        environment[variable["name"]] = given if given is not None else f"{pod.name}-{_field(variable)}"
    return environment


def _field(variable: Manifest) -> str:
    path = variable["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == "metadata.name", f"{path} is not known to this test"
    return "7c9d5f4b6d-x2x7k"  # as Deployments name their pods
