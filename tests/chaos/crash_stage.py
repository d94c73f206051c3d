"""What every crash point is tried on: a Redis, a PostgreSQL and a Moogsoft that live on, and services that die."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg import sql

from scripts.devtools.embedded import PostgresServer, RedisServer
from scripts.devtools.services import HOST, TREE, database_environment, redis_environment
from tests.chaos import crashing
from tests.chaos.points import UNREGISTERED
from tests.harness.credentials import INGEST_API_KEY, MOOG_API_KEY, WEBUI_API_KEY
from tests.harness.moogsoft import MoogStandIn
from tests.harness.nursery import Nursery
from tests.harness.processes import ServiceProcess, fetch, find_service
from tests.harness.servers import Databases

# In one script: between two commands an entry may pass from a list not yet looked at to one that was.
LENGTHS = """
local found = {}
for _, key in ipairs(redis.call('KEYS', 'mutt:*')) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'list' then
    found[#found + 1] = {key, redis.call('LLEN', key)}
  elseif kind == 'zset' then
    found[#found + 1] = {key, redis.call('ZCARD', key)}
  end
end
return found
"""
PATIENCE = 30.0  # seconds in which a point is over, on a busy machine
LOOK = 0.02
KILLED = -9
# None of these is awaited: each run's heartbeat is made by it, and taken over by the next.
QUICK = {
    "BRPOPLPUSH_TIMEOUT": "1",
    "ALERTER_HEARTBEAT_INTERVAL": "1",
    "ALERTER_JANITOR_TIMEOUT": "3",
    "MOOG_HEARTBEAT_INTERVAL": "1",
    "MOOG_JANITOR_TIMEOUT": "3",
    "MOOG_RATE_LIMIT": "1000",
    "MOOG_RETRY_BASE_DELAY": "0.05",
    "MOOG_RETRY_MAX_DELAY": "0.1",
    "MUTT_SHUTDOWN_GRACE": "1",
    "WEBUI_INSECURE_COOKIES": "true",
    "DB_POOL_MIN_CONN": "1",
}


class NotReachedError(Exception):
    """The workload was over, and nothing had come to the point."""


class Victim(ServiceProcess):
    """A service or a script of MUTT's, as a child of the crashing nursery."""

    def start(self, *, wait: bool = True) -> None:
        """Start it; it is not started again: the next run is another victim."""
        assert self._nursery is not None
        self._process = self._nursery.start(self.environment, self.log_file)
        if wait:
            self.wait_healthy()

    def ends(self) -> bool:
        """Wait for its end; False when it was killed at its point."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {PATIENCE:g} s") from None
        check_end(self)
        return self.process.returncode == 0


class Stage:
    """The servers, and what MUTT is started with on them."""

    def __init__(self, folder: Path, redis_server: RedisServer, databases: Databases, nursery: Nursery) -> None:
        self.folder = folder
        self.redis = redis.Redis.from_url(redis_server.url)
        self.databases = databases
        self.database = databases.create()
        self.moogsoft = MoogStandIn(folder, MOOG_API_KEY)
        self.moogsoft.start()
        self.archive = folder / "archive"
        self.trace = folder / "trace"
        self.bug = ""
        self._nursery = nursery
        self._redis_url = redis_server.url
        self._connection = psycopg.connect(databases.server.url(self.database.rsplit("/", 1)[1]), autocommit=True)
        self._connection.execute("SET session_replication_role = replica")  # the records' trigger refuses TRUNCATE
        self._victims: list[Victim] = []
        tables = self.sql(
            "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname = 'public' AND relkind IN ('r', 'p') AND NOT relispartition"
            " AND relname <> 'schema_version'"
        )
        self.log = folder / "log"
        self.log.touch()
        self._tables = [name for (name,) in tables]
        self._partitions = self.partitions()

    def sql(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Run a statement as the superuser; returns its rows."""
        cursor = self._connection.execute(statement.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def partitions(self) -> set[str]:
        """Return the tables that hold months, attached or not."""
        found = self.sql("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '_log_\\d{4}_\\d{2}'")
        return {name for (name,) in found}

    def take_database_away(self) -> None:
        """Let PostgreSQL refuse connections to the database, and end those that there are."""
        self._allow(allowed=False)
        self._connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'mutt_user'")

    def bring_database_back(self) -> None:
        """Let it take connections again."""
        self._allow(allowed=True)

    def _allow(self, *, allowed: bool) -> None:
        name = sql.Identifier(self.database.rsplit("/", 1)[1])
        self._connection.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(name, -1 if allowed else 0))

    def drop_last_partitions(self) -> None:
        """Drop the partitions of the last month that there are some for."""
        last = max(name[-7:] for name in self.partitions())
        for name in self.partitions():
            if name.endswith(last):
                self.sql(f"DROP TABLE {name}")

    def missing_partitions(self) -> set[str]:
        """Return the months' tables that are kept at all times and are not attached."""
        found = self.sql("SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid")
        return self._partitions - {name for (name,) in found}

    def at_command(self, tag: str, words: str, statement: str) -> None:
        """Let a statement be run once by whoever next runs a command of this kind with these words in it."""
        self.sql(
            "CREATE FUNCTION crash_late() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF current_query() LIKE '%{words}%' AND current_query() LIKE '{tag}%'"
            " AND current_setting('crash.late', true) IS DISTINCT FROM 'done' THEN"
            f" PERFORM set_config('crash.late', 'done', false); {statement}; END IF; END $$"
        )
        self.sql(
            f"CREATE EVENT TRIGGER crash_late ON ddl_command_end WHEN TAG IN ('{tag}') EXECUTE FUNCTION crash_late()"
        )

    def half_made(self) -> list[str]:
        """Tell of months' tables that are attached to nothing."""
        found = self.sql("SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid")
        return [f"table {name} is attached to nothing" for name in self.partitions() - {name for (name,) in found}]

    def reset(self) -> None:
        """Empty all that a point may have filled, and make again what it may have taken away."""
        self.redis.flushall()
        self.moogsoft.behave()
        self.moogsoft.forget()
        self.trace.unlink(missing_ok=True)
        self.log.write_text("", encoding="utf-8")
        self.bring_database_back()
        self.sql("DROP EVENT TRIGGER IF EXISTS crash_late")
        self.sql("DROP FUNCTION IF EXISTS crash_late")
        for month in {name[-7:].replace("_", "-") + "-01" for name in self._partitions - self.partitions()}:
            self.sql("SELECT create_monthly_partition(%s)", (month,))
        for name in self.partitions() - self._partitions:
            self.sql(f'DROP TABLE "{name}"')
        for (name,) in self.sql("SELECT conname FROM pg_constraint WHERE conname LIKE 'crash\\_%' AND coninhcount = 0"):
            self.sql(f'ALTER TABLE event_audit_log DROP CONSTRAINT "{name}"')
        self.sql(f"TRUNCATE {', '.join(self._tables)} RESTART IDENTITY CASCADE")
        empty(self.archive)
        self.archive.mkdir(exist_ok=True)

    def start(self, name: str, point: str = "", *arguments: str, **environment: str) -> Victim:
        """Start a service or a script, to die at a point where one is given."""
        is_script = not any(
            name == service for service in ("ingestor", "alerter", "moog-forwarder", "remediation", "webui")
        )
        service = find_service("ingestor" if is_script else name)
        folder = "scripts" if is_script else "services"
        victim = Victim(
            service,
            {
                **redis_environment(self._redis_url),
                **database_environment(self.database),
                "DATABASE_URL": self.database,
                "INGEST_API_KEY": INGEST_API_KEY,
                "WEBUI_API_KEY": WEBUI_API_KEY,
                "MOOG_API_KEY": MOOG_API_KEY,
                "MOOG_WEBHOOK_URL": self.moogsoft.events_url,
                "MUTT_BIND_HOST": HOST,
                "ARCHIVE_LOCATION": str(self.archive),
                "POD_NAME": name,
                **QUICK,
                **environment,
                "MUTT_CRASH_NAME": name,
                "MUTT_CRASH_ENTRY": str(TREE / folder / (f"{name}.py" if is_script else service.entry)),
                "MUTT_CRASH_ARGUMENTS": json.dumps(arguments),
                "MUTT_CRASH_POINT": point,
                "MUTT_CRASH_TRACE": str(self.trace),
                "MUTT_CRASH_BUG": self.bug,
            },
            self.log,
            self._nursery,
        )
        victim.start(wait=False)
        self._victims.append(victim)
        return victim

    def clear(self) -> None:
        """End what still runs."""
        for victim in self._victims:
            victim.close()
        self._victims.clear()

    def wait(self, look: Callable[[], Any], victim: Victim | None = None) -> bool:
        """Wait until `look` returns something true; False when the victim ended first, killed at its point."""
        deadline = time.monotonic() + PATIENCE
        while True:
            if victim is not None and not victim.running:
                check_end(victim)
                return False
            if look():
                return True
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {PATIENCE:g} s; {self.left_over()}")
            time.sleep(LOOK)

    def wait_healthy(self, victim: Victim) -> bool:
        """Wait until it is healthy; False when it died before."""
        return self.wait(lambda: fetch(victim.health_url)[0] == 200, victim)

    def wait_ready(self, victim: Victim) -> bool:
        """Wait until it says that it is, which is after it took its name; False when it died before."""
        return self.wait(lambda: " ready " in victim.log(), victim)

    def left_over(self) -> dict[str, int]:
        """Return the length of each list that something waits or is held in, all at one moment."""
        found: Any = self.redis.eval(LENGTHS, 0)
        return {key.decode(): length for key, length in sorted(found)}

    def close(self) -> None:
        """End all that is this stage's own."""
        self.clear()
        self.moogsoft.kill()
        self._connection.close()
        self.redis.close()
        self.databases.drop(self.database)


def check_end(victim: Victim) -> None:
    """Fail unless a process was killed, and at no unregistered effect."""
    code = victim.process.returncode
    if code == UNREGISTERED:
        lines = [line for line in victim.log().splitlines() if line.startswith("UNREGISTERED")]
        raise AssertionError(f"an effect is not registered in tests/chaos/points.py: {lines[-1]}")
    if code not in {0, KILLED}:
        raise AssertionError(f"{victim.environment['MUTT_CRASH_NAME']} ended with {code}:\n{victim.log()[-3000:]}")


def empty(folder: Path) -> None:
    """Remove what is below a folder."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


@contextmanager
def stage(folder: Path, redis_server: RedisServer, databases: Databases) -> Iterator[Stage]:
    """Build a stage, with the process that services are forked from."""
    nursery = Nursery(Path(TREE), Path(crashing.__file__))
    try:
        made = Stage(folder, redis_server, databases, nursery)
        try:
            yield made
        finally:
            made.close()
    finally:
        nursery.close()


@contextmanager
def servers(folder: Path) -> Iterator[Stage]:
    """Run servers of its own, for the command."""
    redis_server, postgres = RedisServer(folder / "redis"), PostgresServer(folder / "postgres")
    redis_server.start()
    try:
        postgres.start()
        with stage(folder, redis_server, Databases(postgres)) as made:
            yield made
    finally:
        postgres.stop()
        redis_server.stop()
