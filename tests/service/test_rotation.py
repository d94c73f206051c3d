"""Every password and key is changed under load, by the commands of docs/operations/rotation.md as they stand there.

The Vault was set up by those of secrets.md, and the operator may do what the policy there allows and no more. Meanwhile
every connection of MUTT is cut again and again, so that new ones have to be made at each moment of each step.
"""

import getpass
import json
import os
import random
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
import redis
import requests

from scripts.devtools.embedded import HOST, PostgresServer, RedisServer, postgres_binary
from scripts.devtools.services import TREE, database_environment, redis_environment
from scripts.devtools.vault import MOUNT, NAME, VaultServer, vault_binary
from tests.chaos.books import faults
from tests.chaos.load import Ledger, load
from tests.chaos.stage import SETTINGS, make_rules, wait_settled
from tests.harness.credentials import INGEST_API_KEY, MOOG_API_KEY, WEBUI_API_KEY
from tests.harness.documents import Shell, blocks, command, headings
from tests.harness.moogsoft import MoogStandIn
from tests.harness.processes import ServiceProcess, StartService
from tests.harness.programs import program
from tests.harness.vault import running_vault
from tests.harness.waiting import wait_for

PAGE, SETUP_PAGE = (TREE / "docs" / "operations" / name for name in ("rotation.md", "secrets.md"))
SETUP = "Setting up Vault"
SENTINELS = "The password of the sentinels"
START, REDIS, POSTGRES = "Where things are", "The password of Redis", "The password of PostgreSQL"
SENDERS, CONSOLE, MOOGSOFT = "The key of the senders", "The keys of the console", "The key for Moogsoft"
SECRET_ID = "The secret id of the AppRole"
ADMIN = "an-admin-that-no-rotation-touches"
SECONDS_BETWEEN_CUTS = 2.0
NEW_MOOG_KEY = "the-new-key-at-moogsoft"


class Cuts(threading.Thread):
    """Cuts every connection of MUTT to Redis and PostgreSQL, until it is enough; counts them."""

    def __init__(self, redis_server: RedisServer, postgres: PostgresServer) -> None:
        super().__init__(daemon=True)
        with redis.Redis.from_url(redis_server.url) as client:
            client.acl_setuser(ADMIN, enabled=True, passwords=[f"+{ADMIN}"], keys="*", commands=["+@all"])
        self.redis = redis.Redis(host=HOST, port=redis_server.port, username=ADMIN, password=ADMIN)
        self._postgres = postgres
        self.counted = {"redis": 0, "postgres": 0}
        self.enough = threading.Event()

    def run(self) -> None:
        while not self.enough.wait(SECONDS_BETWEEN_CUTS):
            for client in self.redis.client_list():
                if client["name"].startswith("mutt-"):
                    self.counted["redis"] += self.redis.client_kill_filter(_id=client["id"])
            with suppress(psycopg.Error), psycopg.connect(self._postgres.url()) as connection:
                ended = connection.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'mutt_user'"
                ).fetchone()
                self.counted["postgres"] += ended[0] if ended else 0


@contextmanager
def cutting(redis_server: RedisServer, postgres: PostgresServer) -> Iterator[Cuts]:
    cuts = Cuts(redis_server, postgres)
    cuts.start()
    try:
        yield cuts
    finally:
        cuts.enough.set()
        cuts.join(30)


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[VaultServer]:
    with running_vault(tmp_path / "vault") as started:
        yield started


@pytest.fixture
def shell(own_redis: RedisServer, own_postgres: PostgresServer, vault: VaultServer, tmp_path: Path) -> Iterator[Shell]:
    """Open the shell of an administrator, with the variables that the pages ask for."""
    programs = tmp_path / "programs"
    cli = program("redis-cli")
    command(programs, "redis-cli", cli.path, LD_LIBRARY_PATH=cli.environment.get("LD_LIBRARY_PATH", ""))
    command(programs, "psql", postgres_binary("psql"))
    command(programs, "vault", vault_binary())
    work = tmp_path / "work"
    work.mkdir()
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(work),
        "VAULT_ADDR": vault.address,
        "VAULT_TOKEN": vault.root_token,
        "VAULT_SECRET_ID_FILE": str(tmp_path / "secret-id"),
        "MUTT_USER": getpass.getuser(),
        "REDIS_HOST": HOST,
        "REDIS_PORT": str(own_redis.port),
        "REDIS_TLS": "",
        "PGHOST": HOST,
        "PGPORT": str(own_postgres.port),
        "PGUSER": "postgres",
        "PGPASSWORD": own_postgres.password,
        "PGDATABASE": "postgres",
        "DB_USER": "mutt_user",
    }
    with Shell(work, environment) as opened:
        yield opened


@pytest.fixture
def held(
    own_redis: RedisServer, own_database_url: str, vault: VaultServer, shell: Shell, tmp_path: Path
) -> dict[str, str]:
    """Set Vault up with all that the five services need, and return the variables that lead them there.

    From then on the shell is that of an operator who may rotate and no more.
    """
    values = {
        "INGEST_API_KEY": INGEST_API_KEY,
        "WEBUI_API_KEY": WEBUI_API_KEY,
        "MOOG_API_KEY": MOOG_API_KEY,
        "REDIS_PASS_CURRENT": redis_environment(own_redis.url)["REDIS_PASS_CURRENT"],
        "DB_PASS_CURRENT": database_environment(own_database_url)["DB_PASS_CURRENT"],
    }
    vault.client.sys.disable_secrets_engine(MOUNT)  # a developer's Vault brings it along
    (tmp_path / "work" / "secrets.json").write_text(json.dumps(values), encoding="utf-8")
    printed = "".join(shell.run(block) for block in blocks(SETUP_PAGE, SETUP))
    role_id = printed.partition("VAULT_ROLE_ID=")[2].split()[0]
    token = vault.client.auth.token.create(policies=["mutt-operator"])["auth"]["client_token"]
    shell.run(f"export VAULT_TOKEN={token}")
    return {
        "VAULT_ADDR": vault.address,
        "VAULT_ROLE_ID": role_id,
        "VAULT_SECRET_ID_FILE": str(tmp_path / "secret-id"),
        "SECRETS_REFRESH_INTERVAL": "0.2",
    }


def secret(vault: VaultServer, name: str) -> str:
    found = vault.client.secrets.kv.v2.read_secret_version(NAME, mount_point=MOUNT, raise_on_deleted_version=True)
    return str(found["data"]["data"][name])


def console_answers(webui: ServiceProcess, key: str) -> int:
    """Return what a key gets; 503 is a connection that was cut just now."""

    def answer() -> int:
        status = requests.get(f"{webui.url}/api/v2/rules", headers={"X-API-KEY": key}, timeout=30).status_code
        return 0 if status == 503 else status

    return wait_for(answer, "an answer of the console")


def run_all(shell: Shell, heading: str) -> None:
    for block in blocks(PAGE, heading):
        shell.run(block)


def run_all_under_load(shell: Shell, heading: str, services: Iterable[ServiceProcess], ledger: Ledger) -> None:
    """Run the blocks; after each one every service is well and events go on being taken, at whatever step one stops.

    Once the server has its new password the shell that knew it is lost: the first step, taken again, finds it in Vault.
    """
    first, change, *rest = blocks(PAGE, heading)
    for block in (first, change, "unset NEW", first, *rest):
        shell.run(block)
        for service in services:
            service.wait_healthy()
        taken = len(ledger.acknowledged)
        wait_for(lambda taken=taken: len(ledger.acknowledged) > taken, "another event to be acknowledged")  # type: ignore[misc]


def rotate_keys(shell: Shell, vault: VaultServer, ledger: Ledger, webui: ServiceProcess, moogsoft: MoogStandIn) -> None:
    both, ended = blocks(PAGE, SENDERS)
    shell.run(both)
    ledger.key = secret(vault, "INGEST_API_KEY_NEXT")
    shell.run(ended)

    both, ended = blocks(PAGE, CONSOLE)
    shell.run(both)
    following = secret(vault, "WEBUI_API_KEY_NEXT")
    assert (console_answers(webui, WEBUI_API_KEY), console_answers(webui, following)) == (200, 200)
    shell.run(ended)
    assert (console_answers(webui, WEBUI_API_KEY), console_answers(webui, following)) == (401, 200)

    moogsoft.kill()
    moogsoft.api_key = NEW_MOOG_KEY
    moogsoft.start()
    shell.run(f"echo {NEW_MOOG_KEY} > new-moog-key")
    delivered = moogsoft.stats()["count"]
    run_all(shell, MOOGSOFT)
    wait_for(lambda: moogsoft.stats()["count"] > delivered, "alerts under the new key")


@pytest.mark.timeout(300)
def test_every_password_and_key_is_rotated_under_load_and_nothing_is_refused_or_lost(  # noqa: PLR0917
    own_redis: RedisServer,
    own_postgres: PostgresServer,
    own_database_url: str,
    vault: VaultServer,
    held: dict[str, str],
    moog_stand_in: MoogStandIn,
    start_service: StartService,
    shell: Shell,
) -> None:
    make_rules(own_database_url)
    redis_password = own_redis.password
    settings = {**SETTINGS, "webui": {}}
    services = {name: start_service(name, wait=False, **settings[name], **held) for name in settings}
    for service in services.values():
        service.wait_healthy()
    shell.run(f"MUTT_METRICS='{' '.join(service.metrics_url for service in services.values())}'")
    run_all(shell, START)

    sending = load(2, random.randrange(10**9), f"{services['ingestor'].url}/api/v2/ingest")
    with sending as ledger, cutting(own_redis, own_postgres) as cuts:
        run_all_under_load(shell, REDIS, services.values(), ledger)
        run_all_under_load(shell, POSTGRES, services.values(), ledger)
        rotate_keys(shell, vault, ledger, services["webui"], moog_stand_in)
        run_all(shell, SECRET_ID)
    assert min(cuts.counted.values()) > 10, cuts.counted  # connections

    own_redis.password = secret(vault, "REDIS_PASS_CURRENT")
    password = secret(vault, "DB_PASS_CURRENT")
    database_url = own_postgres.url(own_database_url.rsplit("/", 1)[1], "mutt_user", password)
    assert own_redis.password != redis_password
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(own_database_url)
    with redis.Redis.from_url(own_redis.url) as client:
        wait_settled(client, services.values())
        assert faults(ledger, client, database_url, moog_stand_in.alerts()) == []
    texts = {name: service.log() for name, service in services.items()}
    for name in ("REDIS_PASS_CURRENT", "DB_PASS_CURRENT", "INGEST_API_KEY", "WEBUI_API_KEY", "MOOG_API_KEY"):
        assert not [service for service, text in texts.items() if secret(vault, name) in text], name
    assert {name: service.terminate() for name, service in services.items()} == dict.fromkeys(services, 0)


def test_no_block_writes_an_empty_password_in_a_shell_that_knows_no_new_one() -> None:
    for heading in headings(PAGE):
        for block in blocks(PAGE, heading):
            if "NEW=" not in block:
                assert not re.findall(r"\$\{?NEW(?!:\?\})", block), block
                assert "printenv NEW" not in block or ': "${NEW:?}" && psql' in block


def test_every_block_of_the_pages_is_run_here() -> None:
    assert headings(SETUP_PAGE) == [SETUP]
    # That of the sentinels by test_sentinel.py.
    assert headings(PAGE) == [START, REDIS, SENTINELS, POSTGRES, SENDERS, CONSOLE, MOOGSOFT, SECRET_ID]
