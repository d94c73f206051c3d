"""`muttdev up --vault`: the production path of secrets on a laptop."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hvac
import psutil
import pytest
import requests

from scripts.devtools import vault
from scripts.devtools.instance import NAMES, SERVER_PORTS, VAULT
from scripts.devtools.instance import Instance as Supervised
from scripts.devtools.services import SERVICES
from tests.harness.waiting import wait_for
from tests.service.test_muttdev import Instance, free_offset

pytestmark = pytest.mark.timeout(300)  # a whole instance starts and stops, on a machine that may be busy


@contextmanager
def running(folder: Path) -> Iterator[Instance]:
    made = Instance(folder)
    up = made.run("up", "--detach", "--vault", "--no-samples", "--port-offset", str(free_offset()))
    try:
        assert up.returncode == 0, up.stdout + up.stderr + made.run("logs").stdout[-5000:]
        yield made
    finally:
        made.run("down")


def ingest(values: dict[str, str], key: str) -> int:
    event = {"timestamp": "2026-01-01T00:00:00Z", "hostname": "h", "message": "m"}
    return requests.post(
        f"{values['INGEST_URL']}/api/v2/ingest", json=event, headers={"X-API-KEY": key}, timeout=30
    ).status_code


def held_by(operator: "hvac.Client") -> dict[str, str]:
    found = operator.secrets.kv.v2.read_secret_version(
        vault.NAME, mount_point=vault.MOUNT, raise_on_deleted_version=True
    )
    return dict(found["data"]["data"])


def words_of_vault(instance: Instance) -> set[str]:
    """Return what the services' health documents say of Vault."""
    made = Supervised.find(instance.folder)
    return {requests.get(made.health_url(name), timeout=30).json().get("vault", "nothing") for name in SERVICES}


def programs(instance: Instance) -> dict[str, Any]:
    """Return what the supervisor knows of its programs."""
    return dict(Supervised.find(instance.folder).state()["services"])


def check_whence_the_secrets_come(instance: Instance, values: dict[str, str]) -> None:
    services = instance.status()
    assert set(services) == {*NAMES, VAULT}
    assert {service["state"] for service in services.values()} == {"healthy"}
    assert services[VAULT]["ports"]["cluster"] == services[VAULT]["ports"]["port"] + 1
    assert words_of_vault(instance) == {"connected"}
    assert ingest(values, values["INGEST_API_KEY"]) == 200
    for name in SERVICES:
        held = psutil.Process(services[name]["pid"]).environ()
        assert held["VAULT_ADDR"] == values["VAULT_ADDR"]
        assert not [variable for variable in held if variable.startswith(("INGEST_API_KEY", "REDIS_PASS", "DB_PASS"))]


def check_that_nothing_secret_is_shown(instance: Instance) -> None:
    files = [*(instance.folder / "secrets").iterdir()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert len(files) == 9
    texts = [path.read_bytes() for path in (instance.folder / "logs").iterdir()]
    command_lines = " ".join(" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    for path in files:
        assert not any(path.read_bytes() in text for text in texts), path.name
        assert path.read_text() not in command_lines


def check_a_change_and_a_loss(instance: Instance, values: dict[str, str]) -> None:
    operator = hvac.Client(url=values["VAULT_ADDR"], token=values["VAULT_TOKEN"])
    changed = {**held_by(operator), "INGEST_API_KEY_NEXT": "another key"}
    operator.secrets.kv.v2.create_or_update_secret(vault.NAME, changed, mount_point=vault.MOUNT)
    wait_for(lambda: ingest(values, "another key") == 200, "the key that was put into Vault")
    before = programs(instance)
    os.kill(before[VAULT]["pid"], signal.SIGKILL)

    def forgotten() -> bool:
        with suppress(requests.RequestException, hvac.exceptions.VaultError):
            return "INGEST_API_KEY_NEXT" not in held_by(operator)
        return False

    wait_for(forgotten, "a new Vault that was filled")
    wait_for(lambda: ingest(values, "another key") == 401, "the services to have read the new Vault")
    wait_for(lambda: words_of_vault(instance) == {"connected"}, "every service to have logged in again")
    after = programs(instance)
    assert after[VAULT]["restarts"] == before[VAULT]["restarts"] + 1
    assert {name: after[name]["pid"] for name in SERVICES} == {name: before[name]["pid"] for name in SERVICES}


def test_the_services_of_a_laptop_live_on_a_vault_that_is_changed_killed_and_filled_again(tmp_path: Path) -> None:
    """One test, since each start of an instance takes longer than all that is asked of it."""
    with running(tmp_path / "data") as instance:
        values = instance.environment()
        check_whence_the_secrets_come(instance, values)
        assert VAULT in instance.run("doctor").stdout
        check_a_change_and_a_loss(instance, values)
        check_that_nothing_secret_is_shown(instance)


def test_an_instance_without_vault_knows_nothing_of_it(tmp_path: Path) -> None:
    claimed = Supervised.claim(tmp_path / "data")
    assert claimed is not None
    made, lock = claimed
    lock.close()
    assert (VAULT in made.names, VAULT in SERVER_PORTS) == (False, True)
    assert "VAULT_ADDR" not in made.environment()
    options = json.loads((made.folder / "options.json").read_text())
    (made.folder / "options.json").write_text(json.dumps({name: options[name] for name in options if name != "vault"}))
    assert Supervised.find(made.folder).options.vault is False, "a folder of an earlier release"
