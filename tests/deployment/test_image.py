"""The image and the compose file: linted, and saying the same as the manifests."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from mutt.settings import SERVICES as SETTINGS
from mutt.settings import load
from mutt.variables import variables
from scripts import make_secrets
from scripts.devtools.services import SERVICES
from tests.deployment.manifests import OVERLAYS, ROOT, pods

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
RUN_SECRETS = "/run/secrets"


def tool(name: str) -> str:
    """Return a program that a wheel brought."""
    return str(Path(sys.executable).with_name(name))


def copied() -> list[str]:
    """Return what the Dockerfile copies out of the tree."""
    return [source for source, _ in re.findall(r"^COPY (?!--)(\S+) (\S+)$", DOCKERFILE, re.MULTILINE)]


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([tool("hadolint"), "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_is_built_in_two_stages_from_one_base_and_runs_as_the_manifests_user() -> None:
    assert DOCKERFILE.count("FROM ${PYTHON_IMAGE}") == 2
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", base)
    (user,) = re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)
    for overlay in OVERLAYS:
        for name in SERVICES:
            context = pods(overlay)[name].spec["securityContext"]
            assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert "--require-hashes" in DOCKERFILE
    assert set(map(int, re.findall(r"\d+", re.findall(r"^EXPOSE (.+)$", DOCKERFILE, re.MULTILINE)[0]))) == {
        port for service in SERVICES.values() for _, port in service.ports.values()
    }


def test_the_versions_agree() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert f"ARG VERSION={version}\n" in DOCKERFILE
    images = {each["image"] for each in COMPOSE["services"].values() if "build" in each}
    images |= {c["image"] for overlay in OVERLAYS for name in SERVICES for c in pods(overlay)[name].containers()}
    assert images == {f"mutt:{version}", f"registry.example.com/mutt:{version}"}


def test_only_what_the_image_takes_reaches_its_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(copied())
    assert all((ROOT / source).exists() for source in copied())


def test_the_image_holds_every_package_of_the_tree_that_its_code_imports() -> None:
    """Of scripts/devtools, which nothing in production starts but the stand-in, only that is asked."""
    ours = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    stand_in = ROOT / "scripts" / "devtools" / "moogsoft_stand_in.py"
    files = [path for folder in ("mutt", "services") for path in (ROOT / folder).rglob("*.py")]
    files += [path for path in (ROOT / "scripts").glob("*.py") if path.stem in {"migrate", "init_dynamic_config"}]
    needed = {name for path in (*files, stand_in) for name in _imports(path)} & ours
    assert needed
    assert needed <= set(copied())


def _imports(path: Path) -> set[str]:
    return set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))


def problem_of(compose: dict[str, Any]) -> str:
    """Return what the Compose specification has against a file, or nothing."""
    try:
        file = PyCompose.from_yaml(yaml.safe_dump(compose))
        file.validate()
        file.to_spec()
    except ValueError as error:
        return str(error)
    return ""


def test_the_compose_file_follows_the_specification() -> None:
    assert problem_of(COMPOSE) == ""


@pytest.mark.parametrize(
    "change", [{"read_onlyy": True}, {"networks": ["other"]}, {"secrets": ["OTHER"]}, {"stop_grace_period": "long"}]
)
def test_a_fault_in_the_compose_file_would_be_seen(change: dict[str, Any]) -> None:
    services = COMPOSE["services"]
    assert problem_of({**COMPOSE, "services": {**services, "alerter": {**services["alerter"], **change}}})


def test_compose_lint_asks_only_for_digests() -> None:
    """They cannot be written here: a digest is known where the image is pulled (docs/operations/containers.md)."""
    command = [tool("compose-lint"), "--format", "json", "compose.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert {each["rule_id"] for each in json.loads(done.stdout)["findings"]} == {"CL-0019"}


@pytest.mark.parametrize("name", list(SERVICES))
def test_compose_starts_a_service_as_the_manifests_do(name: str) -> None:
    service, pod = COMPOSE["services"][name], pods("dev")[name]
    (container,) = pod.containers()
    assert service["command"] == container["command"]
    context = pod.spec["securityContext"]
    assert service["user"] == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert "no-new-privileges:true" in service["security_opt"]
    probe = container["livenessProbe"]["httpGet"]
    port = next(each["containerPort"] for each in container["ports"] if each["name"] == probe["port"])
    *_, code = service["healthcheck"]["test"]
    assert f"http://127.0.0.1:{port}{probe['path']}'" in code
    compile(code, "healthcheck", "exec")


@pytest.mark.parametrize("name", list(SERVICES))
def test_a_service_of_compose_accepts_its_environment_and_gets_its_secrets_alone(name: str) -> None:
    service = COMPOSE["services"][name]
    environment = service["environment"]
    settings = load(SETTINGS[name], environment)
    files = {each for each in environment if each.endswith("_FILE")}
    assert set(environment) - files <= {variable.name for variable, _ in variables(SETTINGS[name])} | {"POD_NAME"}
    assert {environment[each] for each in files} == {f"{RUN_SECRETS}/{secret}" for secret in service["secrets"]}
    assert all(each == f"{environment[each].removeprefix(f'{RUN_SECRETS}/')}_FILE" for each in files)
    volume = pods("dev")[name].volume("secrets")["secret"]
    assert {each["key"] for each in volume["items"]} == set(service["secrets"])
    assert int(service["stop_grace_period"].removesuffix("s")) > settings.shutdown_grace


@pytest.mark.parametrize("name", ["schema", "dynamic-keys"])
def test_compose_sets_up_as_the_job_does(name: str) -> None:
    container = next(each for each in pods("dev")["setup"].containers() if each["name"] == name)
    assert COMPOSE["services"][name]["command"] == container["command"]
    volumes = {
        each.removesuffix("_FILE") for each in COMPOSE["services"][name]["environment"] if each.endswith("_FILE")
    }
    assert volumes == {each["name"].removesuffix("_FILE") for each in container["env"]}


def test_what_ends_by_itself_is_waited_for_by_what_runs_on() -> None:
    """Else `docker compose up --wait` takes its end for a failure."""
    services = COMPOSE["services"]
    once = {name for name, service in services.items() if service["restart"] == "no"}
    waited = {
        name
        for service in services.values()
        if service["restart"] != "no"
        for name, wanted in service.get("depends_on", {}).items()
        if wanted["condition"] == "service_completed_successfully"
    }
    assert once == waited == {"schema", "dynamic-keys"}


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_a_server_of_compose_runs_as_the_user_of_its_image_to_whom_its_volume_belongs(name: str) -> None:
    assert COMPOSE["services"][name]["user"] == "999:999"  # in both images


def test_redis_is_started_by_compose_as_by_the_overlay() -> None:
    (container,) = pods("dev")["redis"].containers()
    *_, ours = container["command"]
    *_, theirs = COMPOSE["services"]["redis"]["command"]
    theirs = theirs.replace("$$", "$").replace(RUN_SECRETS, "/etc/mutt/secrets")
    assert re.sub(r"maxmemory \d+mb", "", theirs) == re.sub(r"maxmemory \d+mb", "", ours)


def test_redis_has_twice_its_maxmemory_as_sizing_asks() -> None:
    service = COMPOSE["services"]["redis"]
    (most,) = re.findall(r"maxmemory (\d+)mb", service["command"][-1])
    assert 2 * int(most) <= int(service["mem_limit"].removesuffix("m"))


def test_the_secrets_that_are_made_are_those_of_compose_and_of_the_pods(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)
    assert make_secrets.main([str(folder)]) == 0
    made = {path.name for path in folder.iterdir()}
    assert {Path(each["file"]).name for each in COMPOSE["secrets"].values()} <= made
    assert {item["key"] for pod in pods("prod").values() for item in pod.volume("secrets")["secret"]["items"]} == made
    assert folder.stat().st_mode & 0o777 == 0o700
    # The containers read them, and their owner changes them in place.
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    before = {path.name: path.read_text(encoding="ascii") for path in folder.iterdir()}
    assert {name for name, value in before.items() if not value} == set(make_secrets.EMPTY)
    filled = [value for value in before.values() if value]
    assert len(set(filled)) == len(filled) == len(make_secrets.MADE)
    assert min(map(len, filled)) >= 43
    (folder / "DB_PASS_CURRENT").unlink()
    assert make_secrets.main([str(folder)]) == 0
    after = {path.name: path.read_text(encoding="ascii") for path in folder.iterdir()}
    assert {name for name in made if before[name] != after[name]} == {"DB_PASS_CURRENT"}


def test_secrets_that_cannot_be_written_are_told_and_not_traced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert make_secrets.main([str(tmp_path / "file" / "secrets")]) == 1
    assert capsys.readouterr().err.startswith("make_secrets.py: ")
