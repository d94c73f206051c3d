"""A standby of the stage's PostgreSQL, and how it takes over."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg

from scripts.devtools.embedded import HOST, PostgresServer, postgres_binary
from scripts.devtools.privileges import as_postgres_user, postgres_user
from tests.faults.stage import Stage
from tests.harness.waiting import wait_for


def database_of(stage: Stage) -> str:
    """Return the name of MUTT's database."""
    return urlsplit(stage.database_url).path[1:]


@contextmanager
def operator(stage: Stage, database: str | None = None) -> Iterator[psycopg.Connection[Any]]:
    """Connect as the superuser, to MUTT's database unless another is named."""
    url = stage.postgres.url(database or database_of(stage))
    with psycopg.connect(url, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        yield connection


@contextmanager
def standing_by(stage: Stage) -> Iterator[PostgresServer]:
    """Run a standby without which the primary acknowledges no commit."""
    primary = stage.postgres
    standby = PostgresServer(primary.folder.with_name(f"{primary.folder.name}-next"))
    standby.folder.mkdir(mode=0o700)
    if (user := postgres_user()) is not None:
        shutil.chown(standby.folder, *user)
    binary = postgres_binary("pg_basebackup")
    arguments = [str(binary), "-D", str(standby.folder), "-R", "-X", "stream", "-c", "fast", "-d", primary.url()]
    command = as_postgres_user(arguments, (binary, standby.folder))
    subprocess.run(command.arguments, **command.options, env={"HOME": "/"}, cwd="/", check=True, timeout=60)
    standby.start()
    try:
        with operator(stage) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
            in_step = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
            wait_for(lambda: connection.execute(in_step).fetchone() is not None, "a synchronous standby")
        yield standby
    except BaseException:
        standby.kill()
        raise


def promote(standby: PostgresServer) -> None:
    """Make it the primary, alone."""
    with psycopg.connect(standby.url(), autocommit=True) as connection:
        connection.execute("SELECT pg_promote()")
        for name in ("synchronous_standby_names", "default_transaction_read_only"):
            connection.execute(f"ALTER SYSTEM RESET {name}")
        connection.execute("SELECT pg_reload_conf()")


def take_over(stage: Stage, standby: PostgresServer) -> None:
    """Put it in the place of the stage's server, which is dead."""
    old, new = f"{HOST}:{stage.postgres.port}", f"{HOST}:{standby.port}"
    stage.database_url = stage.database_url.replace(old, new)
    stage.postgres.folder, stage.postgres.port = standby.folder, standby.port
    stage.postgres.process = standby.process
