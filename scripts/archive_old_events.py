"""Move old months of the event audit and the delivery log into the archive, and search or bring back what is there.

A month is written as Parquet with a manifest, read back and compared with the table, and only then dropped. Run it at
any time: what a killed run left half done goes on. Events stay 90 days in the database and 7 years in the archive; the
same run removes them then. config_audit_log is never touched. The archive is ARCHIVE_LOCATION; the keys of S3 are
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in the environment or in the secrets.

Exit status: 0 done; 1 the database or the archive could not do it now, run it again; 2 a wrong argument or setting;
3 another run is at work; 4 a file of the archive is damaged.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pyarrow as pa
from psycopg import sql

from mutt.archive_settings import ArchiveSettings
from mutt.errors import MuttError, SettingsError
from mutt.locks import MUTT, Lock
from mutt.variables import read
from scripts.archiving import parts
from scripts.archiving.archiver import Archiver
from scripts.archiving.arguments import ARCHIVE_YEARS, make_parser
from scripts.archiving.errors import ArchiveError, BusyError, DamagedError
from scripts.archiving.keeping import adopt, check_mark, check_store, expire, is_due
from scripts.archiving.listening import Done
from scripts.archiving.months import Month, partitions_of
from scripts.archiving.restoring import Restorer
from scripts.archiving.searching import Query, search
from scripts.archiving.store import Store, open_store
from scripts.archiving.telling import LISTED, SEARCHED, Teller, listed, show, summary
from scripts.connections import database_url, script_secrets

NEEDS_SCHEMA = 2
CLOCKS_APART = timedelta(hours=1)
THREADS = 4
FAILED, WRONG, BUSY, DAMAGED = 1, 2, 3, 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = make_parser(str(__doc__))
    options = parser.parse_args(arguments)
    if options.dry_run and (options.restore or options.adopt):
        parser.error("--dry-run goes with the archive's run and with --expire")
    try:
        _run(options, os.environ)
    except SettingsError as error:
        return _failed(error, WRONG)
    except BusyError as error:
        return _failed(error, BUSY)
    except DamagedError as error:
        return _failed(error, DAMAGED)
    except (MuttError, psycopg.Error, OSError) as error:
        return _failed(error, FAILED)
    return 0


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> None:
    # The unit allows a bounded number of threads, however many processors there are.
    pa.set_cpu_count(min(pa.cpu_count(), THREADS))
    pa.set_io_thread_count(THREADS)
    teller = Teller(sys.stderr)
    if options.search:
        store = _store(environ)
        check_mark(store)
        rows = search(store, _query(options), teller)
        show(rows, options.format, SEARCHED)
        return
    with _database(options, environ) as (connection, schema):
        if options.list:
            show(listed(parts.all_parts(connection)), options.format, LISTED)
            return
        if options.dry_run:
            _tell_plan(connection, options)
            return
        with _alone(connection):
            _check_clock(connection)
            store = _store(environ)
            check_store(connection, store)
            archiver = Archiver(connection, store, teller, schema=schema)
            _work(archiver, options)
            _tell(archiver.done, as_json=options.json)
            for failure in sorted(archiver.failures, key=lambda error: not isinstance(error, DamagedError)):
                raise failure


def _work(archiver: Archiver, options: argparse.Namespace) -> None:
    today = datetime.now(UTC).date()
    if options.restore:
        Restorer(archiver).restore(Month.of(options.restore), options.days)
    elif options.expire:
        expire(archiver, ARCHIVE_YEARS, today)
    elif options.adopt:
        adopt(archiver)
    else:
        # First, so that what goes into the archive now is seen there before it can be too old for it.
        try:
            expire(archiver, ARCHIVE_YEARS, today)
        except ArchiveError as error:  # a lock on old files in the bucket, say, which holds up no new ones
            archiver.failed(error)
        archiver.run(_before(options))


def _tell_plan(connection: psycopg.Connection[Any], options: argparse.Namespace) -> None:
    today = datetime.now(UTC).date()
    due = [part for part in parts.all_parts(connection) if is_due(part, ARCHIVE_YEARS, today)]
    plan = [f"{part}: would be removed, {part.rows} rows at {part.location}" for part in due]
    if not options.expire:
        unfinished = [part for part in parts.all_parts(connection) if part.state in parts.UNFINISHED]
        plan += [f"{part}: would go on, is {part.state}" for part in unfinished]
        for table, month, partition in partitions_of(connection):
            if month.end <= _before(options):
                until = parts.restored_until(parts.all_parts(connection, table, month.start))
                plan.append(f"{partition}: {_planned(connection, partition, until)}")
    print(*(plan or ["nothing to do"]), sep="\n")


def _planned(connection: psycopg.Connection[Any], partition: str, until: datetime | None) -> str:
    if until is not None:
        return f"restored until {until:%Y-%m-%d %H:%M}Z, would then be dropped again"
    counted = connection.execute(
        sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("public", partition))
    ).fetchone()
    rows = counted[0] if counted else 0
    return f"would be archived, {rows} rows" if rows else "is empty, would be dropped"


def _before(options: argparse.Namespace) -> date:
    return datetime.now(UTC).date() - timedelta(days=options.older_than)


def _store(environ: Mapping[str, str]) -> Store:
    return open_store(read(ArchiveSettings, environ), asyncio.run(script_secrets(environ)))


@contextmanager
def _database(options: argparse.Namespace, environ: Mapping[str, str]) -> Iterator[tuple[psycopg.Connection[Any], int]]:
    url = database_url(options.database_url, environ)
    with psycopg.connect(url, autocommit=True, application_name="mutt-archive") as connection:
        # A month takes as long as it takes; the locks of its end have a limit of their own.
        for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(f"SET {setting} = 0".encode())
        connection.execute("SET timezone = 'UTC'")
        found = connection.execute("SELECT to_regclass('public.archives') IS NOT NULL").fetchone()
        if not found or not found[0]:
            raise ArchiveError(
                f"the schema of database {connection.info.dbname!r} is older than version {NEEDS_SCHEMA}: "
                "run scripts/migrate.py"
            )
        version = connection.execute("SELECT max(version) FROM schema_version").fetchone()
        yield connection, int(version[0]) if version else 0


@contextmanager
def _alone(connection: psycopg.Connection[Any]) -> Iterator[None]:
    # Held by the session: it ends with the connection, however the run ends.
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (MUTT, Lock.ARCHIVES)).fetchone()
    if not row or not row[0]:
        raise BusyError("another run of archive_old_events.py is at work on this database")
    yield


def _check_clock(connection: psycopg.Connection[Any]) -> None:
    """Raise ArchiveError where this machine's clock is wrong: by it things are removed."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    apart = abs(row[0] - datetime.now(UTC)) if row else timedelta()
    if apart > CLOCKS_APART:
        raise ArchiveError(
            f"the clocks of this machine and of the database are {apart} apart: set the wrong one; "
            "by it is told what is old"
        )


def _query(options: argparse.Namespace) -> Query:
    return Query(
        start=options.start,
        end=options.end,
        hostname=options.hostname,
        q=options.q,
        rule_id=options.rule_id,
        handling=options.handling,
        correlation_id=options.correlation_id,
        event_id=options.event_id,
        limit=options.limit,
    )


def _tell(done: Done, *, as_json: bool) -> None:
    found = summary(done)
    if as_json:
        print(msgspec.json.encode(found).decode())
    elif not any(found.values()):
        print("nothing to do: no month is old enough")
    else:
        print(", ".join(f"{name}: {len(each)}" for name, each in found.items() if each))


def _failed(error: BaseException, status: int) -> int:
    print(f"archive_old_events.py: {str(error).strip()}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
