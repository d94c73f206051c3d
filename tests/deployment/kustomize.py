"""What `kustomize build` makes of an overlay, for the part of kustomize that deploy/ uses; anything else is refused.

    .venv/bin/python -m tests.deployment.kustomize deploy/prod

prints it. There is no package of kustomize itself to test with; docs/decisions/0058 says how the two were compared.
"""

import copy
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
HASH_LETTERS = str.maketrans("013ae", "ghkmt")
KNOWN = {"apiVersion", "kind", "namespace", "resources", "components"}
KNOWN |= {"images", "replicas", "configMapGenerator", "patches"}
CLUSTER_WIDE = {"Namespace"}


def build(folder: Path) -> list[Manifest]:
    """Return the manifests of an overlay."""
    made = _accumulate(folder, [])
    for manifest in made:
        if manifest["metadata"].pop("generated", False):
            name = manifest["metadata"]["name"]
            manifest["metadata"]["name"] = f"{name}-{_content_hash(manifest)}"
            for mapping in _mappings(made):
                for key in ("configMapRef", "configMap", "configMapKeyRef"):
                    if isinstance(reference := mapping.get(key), dict) and reference.get("name") == name:
                        reference["name"] = manifest["metadata"]["name"]
    return made


def _accumulate(folder: Path, made: list[Manifest]) -> list[Manifest]:
    """Add what the kustomization of `folder` holds to `made`, and change all of it as that says."""
    (path,) = folder.glob("kustomization.yaml")
    said = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    assert set(said) <= KNOWN, f"{path}: {sorted(set(said) - KNOWN)} is nothing that this builder knows"
    for entry in said.get("resources", ()):
        made += _resource(folder, entry)
    for entry in said.get("components", ()):
        _accumulate(folder / entry, made)
    for generator in said.get("configMapGenerator", ()):
        _generate(generator, made)
    for patch in said.get("patches", ()):
        _patch(patch, made)
    if "namespace" in said:
        for manifest in made:
            if manifest["kind"] not in CLUSTER_WIDE:
                manifest["metadata"]["namespace"] = said["namespace"]
    for image in said.get("images", ()):
        _rename_image(image, made)
    for replicas in said.get("replicas", ()):
        _count(replicas, made)
    return made


def _resource(folder: Path, entry: str) -> list[Manifest]:
    there = folder / entry
    if there.is_dir():
        return _accumulate(there, [])
    assert folder.resolve() in there.resolve().parents, f"{folder}: kustomize reads no file outside: {entry}"
    # Dumped and read again, so that no two manifests share what an anchor named.
    text = there.read_text(encoding="utf-8")
    return [json.loads(json.dumps(each)) for each in yaml.load_all(text, yaml.CSafeLoader)]


def _generate(generator: Manifest, made: list[Manifest]) -> None:
    data = dict(literal.split("=", 1) for literal in generator["literals"])
    there = [each for each in made if each["kind"] == "ConfigMap" and _name(each) == generator["name"]]
    if generator.get("behavior") == "merge":
        there[0]["data"] |= data
        return
    assert not there, f"{generator['name']} is there already"
    metadata = {"name": generator["name"], "generated": True}
    made.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def _patch(patch: Manifest, made: list[Manifest]) -> None:
    meant = _meant(patch["target"])
    targets = [each for each in made if meant(each)]
    assert targets, f"a patch finds nothing: {patch['target']}"
    change = yaml.safe_load(patch["patch"])
    if isinstance(change, dict):
        assert change.get("$patch") == "delete", "of merging patches this builder knows only $patch: delete"
        made[:] = [each for each in made if each not in targets]
        return
    for target in targets:
        for operation in change:
            _operate(target, operation)


def _meant(target: Manifest) -> Callable[[Manifest], bool]:
    label, _, value = target.get("labelSelector", "").partition("=")

    def meant(manifest: Manifest) -> bool:
        return (
            manifest["kind"] == target["kind"]
            and target.get("name") in {None, _name(manifest)}
            and (not label or manifest["metadata"].get("labels", {}).get(label) == value)
        )

    return meant


def _operate(target: Manifest, operation: Manifest) -> None:
    *steps, last = operation["path"].lstrip("/").split("/")
    place: Any = target
    for step in steps:
        place = place[int(step)] if isinstance(place, list) else place[step]
    value = copy.deepcopy(operation["value"])
    if (operation["op"], last) == ("add", "-"):
        place.append(value)
        return
    key = int(last) if isinstance(place, list) else last
    assert operation["op"] in {"add", "replace"}, f"this builder does not know {operation['op']}"
    assert operation["op"] == "add" or place[key], f"{operation['path']} is not there"
    place[key] = value


def _rename_image(image: Manifest, made: list[Manifest]) -> None:
    for mapping in _mappings(made):
        if isinstance(name := mapping.get("image"), str) and name.partition(":")[0] == image["name"]:
            tag = image.get("newTag", name.partition(":")[2])
            mapping["image"] = f"{image.get('newName', image['name'])}:{tag}"


def _count(replicas: Manifest, made: list[Manifest]) -> None:
    (deployment,) = (each for each in made if each["kind"] == "Deployment" and _name(each) == replicas["name"])
    deployment["spec"]["replicas"] = replicas["count"]


def _mappings(value: Any) -> Iterator[Manifest]:
    """Yield every mapping inside a value."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _mappings(inner)


def _content_hash(manifest: Manifest) -> str:
    content = {"kind": "ConfigMap", "name": "", "data": manifest["data"]}  # as kustomize has it: without the name
    encoded = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&":
        encoded = encoded.replace(letter, f"\\u{ord(letter):04x}")
    return hashlib.sha256(encoded.encode()).hexdigest()[:10].translate(HASH_LETTERS)


def _name(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


if __name__ == "__main__":
    print(yaml.safe_dump_all(build(Path(sys.argv[1])), sort_keys=False), end="")  # noqa: T201
