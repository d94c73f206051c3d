"""Commands of docs/operations/kubernetes.md and containers.md: what can run here runs, the rest names what is there."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from mutt.settings import AlerterSettings, load
from tests.deployment.manifests import ROOT, built, of_kind, pods

PAGES = ("kubernetes", "containers")
CLUSTER = {"kubectl", "docker"}  # there is neither a cluster nor a container runtime where the tests run
KINDS = {"deployment": "Deployment", "job": "Job", "cronjob": "CronJob", "service": "Service"}


def commands(page: str) -> list[str]:
    """Return every command of a page's shell blocks."""
    text = (ROOT / "docs" / "operations" / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


LINES = [(page, line) for page in PAGES for line in commands(page)]


def test_every_other_command_is_for_a_cluster_or_a_container_runtime() -> None:
    assert LINES
    others = {line for _, line in LINES if shlex.split(line)[0] not in CLUSTER}
    assert others == {"python3 scripts/make_secrets.py deploy/secrets"}


def test_the_secrets_are_made_as_written(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__", "devtools"))
    subprocess.run(["sh", "-c", "python3 scripts/make_secrets.py deploy/secrets"], cwd=tmp_path, check=True)
    assert (tmp_path / "deploy" / "secrets" / "INGEST_API_KEY").stat().st_size


@pytest.mark.parametrize(("page", "line"), [(page, line) for page, line in LINES if line.startswith("kubectl ")])
def test_a_command_for_a_cluster_names_what_exists(page: str, line: str) -> None:
    words = shlex.split(line)
    namespace = words[words.index("-n") + 1] if "-n" in words else None
    overlay = {None: None, "mutt": "prod", "mutt-dev": "dev"}[namespace]
    for flag in ("-k", "-f"):
        if flag in words:
            assert (ROOT / words[words.index(flag) + 1]).exists()
    for word in words:
        kind, _, name = word.removeprefix("--from=").partition("/")
        if overlay and name and kind in KINDS:
            assert (KINDS[kind], name) in {(each["kind"], each["metadata"]["name"]) for each in built(overlay)}


def test_the_table_of_probes_is_that_of_the_manifests() -> None:
    page = (ROOT / "docs" / "operations" / "kubernetes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w ]+) \| `(/\w+)` (\d+) \| `(/\w+)` (\d+) \|", page, re.MULTILINE)
    names = {"moog forwarder": "moog-forwarder", "web UI": "webui"}
    said = {names.get(name, name): (live, int(port), ready, int(other)) for name, live, port, ready, other in rows}
    found = {}
    for manifest in built("prod"):
        if manifest["kind"] == "Deployment":
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            ports = {each["name"]: each["containerPort"] for each in container["ports"]}
            live, ready = (container[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe"))
            found[manifest["metadata"]["name"]] = (
                live["path"],
                ports[live["port"]],
                ready["path"],
                ports[ready["port"]],
            )
    assert said == found


def test_the_connections_of_all_pods_are_as_many_as_the_page_says() -> None:
    page = (ROOT / "docs" / "operations" / "kubernetes.md").read_text(encoding="utf-8")
    scalers = of_kind("prod", "HorizontalPodAutoscaler")
    most = {name: scalers[name]["spec"]["maxReplicas"] for name in ("alerter", "moog-forwarder")}
    most["webui"] = of_kind("prod", "Deployment")["webui"]["spec"]["replicas"]
    connections = sum(most.values()) * load(AlerterSettings, {}).db.pool_max_conn
    (alerters, forwarders, consoles, said) = re.findall(
        r"(\d+) alerters, (\d+) forwarders and (\d+) web UIs, the most there are, take up to (\d+) connections", page
    )[0]
    assert [int(alerters), int(forwarders), int(consoles)] == list(most.values())
    assert int(said) == connections


def test_the_fields_of_vault_are_those_that_pods_read() -> None:
    page = (ROOT / "docs" / "operations" / "kubernetes.md").read_text(encoding="utf-8")
    block = page[page.index("Each of these fields") : page.index("4. Give the authority")]
    items = (pod.volume("secrets")["secret"]["items"] for pod in pods("prod").values())
    assert set(re.findall(r"`([A-Z_]{6,})`", block)) == {each["key"] for of_pod in items for each in of_pod}


def test_every_page_about_running_mutt_is_in_their_index() -> None:
    folder = ROOT / "docs" / "operations"
    listed = set(
        re.findall(r"^\| .+ \| \[.+\]\((.+)\) \|$", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {path.name for path in folder.glob("*.md")} - {"README.md"} == {each for each in listed if "/" not in each}
    assert all((folder / each).exists() for each in listed)
