"""Services that take their secrets from Vault, while it is away, comes, goes and is wrong."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from mutt.server_settings import VaultSettings
from scripts.devtools.services import redis_environment
from scripts.devtools.vault import VaultServer
from services.runtime.app import EXIT_MISCONFIGURED, EXIT_UNAVAILABLE
from tests.harness.processes import ServiceProcess, StartService
from tests.harness.vault import ROLE_ID, SECRET_ID, fill
from tests.harness.waiting import wait_for

INGEST_KEY = "ingest-key-of-this-test"
EVENT = {"timestamp": "2026-01-01T00:00:00Z", "hostname": "h", "message": "m"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VaultServer]:
    """Make a Vault that does not run yet."""
    made = VaultServer(tmp_path / "vault")
    made.folder.mkdir()
    yield made
    made.kill()


@pytest.fixture
def environ(server: VaultServer, tmp_path: Path) -> dict[str, str]:
    secret_id = tmp_path / "secret-id"
    secret_id.write_text(SECRET_ID)
    secret_id.chmod(0o600)
    return {
        "VAULT_ADDR": server.address,
        "VAULT_ROLE_ID": ROLE_ID,
        "VAULT_SECRET_ID_FILE": str(secret_id),
        "SECRETS_REFRESH_INTERVAL": "0.2",
        "LOG_LEVEL": "DEBUG",
    }


def health(service: ServiceProcess) -> tuple[int, dict[str, Any]]:
    reply = requests.get(service.health_url, timeout=30)
    return reply.status_code, reply.json()


def send(service: ServiceProcess) -> requests.Response:
    return requests.post(f"{service.url}/api/v2/ingest", json=EVENT, headers={"X-API-KEY": INGEST_KEY}, timeout=30)


def test_a_service_waits_for_vault_says_so_and_goes_on_while_it_is_away(
    server: VaultServer, environ: dict[str, str], redis_url: str, start_service: StartService, tmp_path: Path
) -> None:
    ingestor = start_service("ingestor", wait=False, **environ)
    waiting = json.loads(ingestor.wait_health(503))
    assert waiting["problems"]["vault"].startswith("waiting for the secrets since the start: Vault at http://127.0.0.1")
    assert "Connection refused" in waiting["problems"]["vault"]
    refused = send(ingestor)
    assert (refused.status_code, int(refused.headers["Retry-After"]) > 0) == (503, True)
    assert requests.get(ingestor.live_url, timeout=30).status_code == 200
    assert ingestor.metric("mutt_secrets_read_timestamp_seconds") == 0

    server.start()
    values = {"INGEST_API_KEY": INGEST_KEY, "REDIS_PASS_CURRENT": redis_environment(redis_url)["REDIS_PASS_CURRENT"]}
    fill(server, tmp_path, values)
    ingestor.wait_healthy()
    assert (health(ingestor)[1]["vault"], send(ingestor).status_code) == ("connected", 200)
    assert (ingestor.metric("mutt_secrets_read_timestamp_seconds") or 0) > 0

    server.kill()
    wait_for(lambda: health(ingestor)[1]["vault"] == "disconnected", "health to say that Vault is away")
    status, document = health(ingestor)
    assert (status, document["status"]) == (200, "healthy")
    assert "cannot be reached" in document["notes"]["vault"]
    assert ingestor.metric("mutt_dependency_up", dependency="vault") == 0
    assert send(ingestor).status_code == 200

    server.start()
    fill(server, tmp_path, values | {"INGEST_API_KEY_NEXT": "the next key"})
    wait_for(lambda: health(ingestor)[1]["vault"] == "connected", "health to say that Vault is back")
    assert ingestor.terminate() == 0
    told = ingestor.log()
    assert not re.search(r"\b(?:hv)?s\.\w{20}", told), "a token of Vault"
    for secret in (SECRET_ID, "the next key", *values.values()):
        assert secret not in told


def test_a_file_that_vanishes_is_told_by_health_and_the_secret_that_was_in_it_holds(
    redis_url: str, start_service: StartService, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(INGEST_KEY)
    ingestor = start_service(
        "ingestor", INGEST_API_KEY="", INGEST_API_KEY_FILE=str(file), SECRETS_REFRESH_INTERVAL="0.2"
    )
    assert "notes" not in health(ingestor)[1]
    file.rename(tmp_path / "elsewhere")
    wait_for(lambda: "secrets" in health(ingestor)[1].get("notes", {}), "health to say that a file is missing")
    assert "INGEST_API_KEY_FILE" in health(ingestor)[1]["notes"]["secrets"]
    assert send(ingestor).status_code == 200
    (tmp_path / "elsewhere").rename(file)
    wait_for(lambda: "notes" not in health(ingestor)[1], "health to be content")


def test_a_service_that_waits_ends_in_order(environ: dict[str, str], start_service: StartService) -> None:
    worker = start_service("remediation", wait=False, **environ)
    worker.wait_health(503)
    assert requests.get(worker.metrics_url, timeout=30).status_code == 200
    assert worker.terminate() == 0


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        (
            {"VAULT_START_TIMEOUT": "0.5"},
            EXIT_UNAVAILABLE,
            "no secrets within 0.5 s of the start (VAULT_START_TIMEOUT)",
        ),
        (
            {"VAULT_SECRET_ID_FILE": "/nowhere/id"},
            EXIT_MISCONFIGURED,
            "VAULT_SECRET_ID_FILE='/nowhere/id' cannot be read",
        ),
        ({"VAULT_CACERT": "/nowhere/ca"}, EXIT_MISCONFIGURED, "VAULT_CACERT='/nowhere/ca' cannot be read"),
    ],
)
def test_a_service_without_secrets_ends_with_the_reason(
    environ: dict[str, str], start_service: StartService, change: dict[str, str], status: int, said: str
) -> None:
    service = start_service("remediation", wait=False, **environ | change)
    assert service.process.wait(60) == status
    assert said in service.log()


def test_the_wait_at_the_start_is_five_minutes_unless_it_is_set() -> None:
    assert VaultSettings().start_timeout == 300
