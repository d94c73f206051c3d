"""The faults of PostgreSQL that are its server's: no room, and another server that takes over."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import psycopg

from scripts.devtools.embedded import PostgresServer
from scripts.devtools.privileges import as_postgres_user
from tests.faults.postgresql_faults import NO_ROWS, NOTHING, month
from tests.faults.stage import Stage
from tests.faults.standby import database_of, operator, promote, standing_by, take_over
from tests.faults.table import fault
from tests.harness.waiting import wait_for


@fault("postgresql", "disk full: the month's file cannot grow", NO_ROWS)
@contextmanager
def _full(stage: Stage) -> Iterator[None]:
    # Larger than a file of the log, whose end would end the server.
    with operator(stage) as connection:
        connection.execute(
            "INSERT INTO event_audit_log (event_id, correlation_id, event_timestamp, received_at, message, hostname,"
            " handling, team, environment, forwarded) SELECT gen_random_uuid(), gen_random_uuid(), now(),"
            " now() - interval '60 days', repeat('x', 1800), 'filler', 'Log_only', 'none', 'prod', false"
            " FROM generate_series(1, 9000)"
        )
        size = connection.execute("SELECT pg_relation_size(%s)", (month().as_string().strip('"'),)).fetchone()
    _limit_files(stage, str(size[0] if size else 0))
    yield
    _limit_files(stage, "unlimited")


def _rows(stage: Stage, server: PostgresServer) -> int:
    with psycopg.connect(server.url(database_of(stage))) as connection:
        found = connection.execute("SELECT count(*) FROM event_audit_log").fetchone()
    return int(found[0]) if found else 0


def _is_caught_up(connection: psycopg.Connection[Any]) -> bool:
    query = "SELECT 1 FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()"
    return connection.execute(query).fetchone() is not None


def _limit_files(stage: Stage, most: str) -> None:
    """Let no file of the server grow past so many bytes; as its own user, who alone may do that."""
    assert stage.postgres.process is not None
    server = psutil.Process(stage.postgres.process.pid)
    for process in (server, *server.children(recursive=True)):
        command = as_postgres_user(["prlimit", f"--pid={process.pid}", f"--fsize={most}:"], ())
        subprocess.run(command.arguments, **command.options, capture_output=True, check=process is server, timeout=60)


@fault("postgresql", "failed over: the primary is killed, its synchronous standby promoted", NOTHING, brief=True)
@contextmanager
def _failed_over(stage: Stage) -> Iterator[None]:
    with standing_by(stage) as standby:
        stage.postgres.kill()
        promote(standby)
        stage.postgres_proxy.aim(standby.port)
        yield
        take_over(stage, standby)


@fault("postgresql", "switched over: the primary becomes read-only and keeps its clients", NOTHING, brief=True)
@contextmanager
def _switched_over(stage: Stage) -> Iterator[None]:
    with standing_by(stage) as standby:
        with operator(stage) as connection:
            connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            connection.execute("SELECT pg_reload_conf()")
            wait_for(lambda: _is_caught_up(connection), "a standby that has it all")
        promote(standby)
        before = _rows(stage, standby)
        stage.postgres_proxy.aim(standby.port)
        wait_for(lambda: _rows(stage, standby) > before, "rows in the new primary, while the old one has its clients")
        yield
        stage.postgres.kill()
        take_over(stage, standby)
