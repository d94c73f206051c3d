"""Bring a database to the current schema: the base files first, then each step of database/migrations/."""

import argparse
import os
import random
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg.errors import LockNotAvailable

from mutt.errors import MuttError
from mutt.locks import MUTT, Lock
from scripts.connections import DATABASE_HELP, database_url

DATABASE = Path(__file__).resolve().parent.parent / "database"
BASE = ("mutt_schema_v2.1.sql", "config_audit_schema.sql", "partitioned_event_audit_log.sql")
STEP_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
OLDEST_SERVER = 140000
# Later writers queue behind whoever waits for a lock: a step waits briefly, lets them pass, and comes again.
LOCK_WAIT = "2s"
LOCK_TRIES = 30


class MigrationError(MuttError):
    """The database is as the last step that succeeded left it; the message says what stopped the next."""


class Step(NamedTuple):
    """One version of the schema; its files run in order, in one transaction."""

    version: int
    name: str
    files: tuple[Path, ...]

    def __str__(self) -> str:
        return f"{self.version:04d}_{self.name}"


def steps(database: Path = DATABASE) -> list[Step]:
    """List every step in order; raises MigrationError when a file's name or number is out of order."""
    found = [Step(1, "base", tuple(database / name for name in BASE))]
    for path in sorted((database / "migrations").glob("*.sql")):
        match = STEP_NAME.fullmatch(path.name)
        if not match or int(match[1]) != found[-1].version + 1:
            raise MigrationError(f"{path}: the step after {found[-1]} has to be {found[-1].version + 1:04d}_name.sql")
        found.append(Step(int(match[1]), match[2], (path,)))
    return found


def migrate(dsn: str, database: Path = DATABASE) -> list[str]:
    """Apply the steps that the database lacks and return their names; any number may run at once."""
    known = steps(database)
    try:
        connection = psycopg.connect(dsn, autocommit=True, application_name="mutt-migrate")
    except psycopg.Error as error:
        raise MigrationError(f"PostgreSQL cannot be reached: {str(error).strip()}") from error
    try:
        with connection:
            _check_server(connection)
            return [str(step) for step in known if _apply_between_writers(connection, step)]
    except psycopg.Error as error:
        raise MigrationError(f"{type(error).__name__}: {error}".strip()) from error


def _check_server(connection: psycopg.Connection) -> None:
    if connection.info.server_version < OLDEST_SERVER:
        raise MigrationError(
            f"the server is PostgreSQL {connection.info.server_version // 10000}: 14 or newer is needed"
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise MigrationError(
            f"database {connection.info.dbname!r} is encoded in {encoding}, events need UTF8: "
            f"CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


def _apply_between_writers(connection: psycopg.Connection, step: Step) -> bool:
    for _ in range(LOCK_TRIES - 1):
        try:
            return _apply(connection, step)
        except MigrationError as error:
            if not isinstance(error.__cause__, LockNotAvailable):
                raise
            time.sleep(random.uniform(0.1, 0.5))
    return _apply(connection, step)


def _apply(connection: psycopg.Connection, step: Step) -> bool:
    with connection.transaction():
        # Held to the end of this step, and taken before looking: of two runs the second finds the step done.
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (MUTT, Lock.MIGRATIONS))
        if step.version <= _version(connection):
            return False
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'".encode())
        for path in step.files:
            _run_file(connection, step, path)
        connection.execute(
            "INSERT INTO schema_version (version, name) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (step.version, step.name),
        )
    return True


def _version(connection: psycopg.Connection) -> int:
    exists = connection.execute("SELECT to_regclass('public.schema_version') IS NOT NULL").fetchone()
    if not exists or not exists[0]:
        return 0
    row = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
    return int(row[0]) if row else 0


def _run_file(connection: psycopg.Connection, step: Step, path: Path) -> None:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise MigrationError(f"step {step}: {path} cannot be read: {error}") from error
    try:
        connection.execute(text)
    except psycopg.Error as error:
        position = int(error.diag.statement_position or 0)
        line = f", line {text.decode().count(chr(10), 0, position) + 1}" if position else ""
        raise MigrationError(f"step {step} was rolled back: {path.name}{line}: {str(error).strip()}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 is success, 1 a database that could not be brought to the current version."""
    parser = argparse.ArgumentParser(prog="migrate.py", description=__doc__)
    parser.add_argument("--database-url", help=DATABASE_HELP)
    parser.add_argument("--list", action="store_true", help="only list the steps that this release knows")
    options = parser.parse_args(arguments)
    try:
        if options.list:
            print(*steps(), sep="\n")
            return 0
        applied = migrate(database_url(options.database_url, os.environ))
    except MuttError as error:
        print(f"migrate.py: {error}", file=sys.stderr)
        return 1
    print(*([f"applied {name}" for name in applied] or ["nothing to do: the schema is current"]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
