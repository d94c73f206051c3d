"""Old months in a database, the archive beside it, and what a test sees of both."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
from psycopg import sql

from scripts import archive_old_events
from scripts.archiving.archiver import Archiver
from scripts.archiving.store import FolderStore

TABLES = ("event_audit_log", "delivery_log")
# What a conversion is likely to get wrong.
AWKWARD = (
    *("", " ", ",", '"', '""', "\\N", "\\.", "NULL", "\t", "'", "x" * 40_000),
    'a,b\n"c"\r\nd\re',
    "gr\u00fcn \u6f22\u5b57 \U0001f600",
    "\u202e=1+1",
)
FILL = """
INSERT INTO event_audit_log (event_id, correlation_id, event_timestamp, received_at, audited_at, rule_id, rule_version,
    syslog_severity, forwarded, hostname, message, source, trap_oid, team, handling, environment, raw)
SELECT gen_random_uuid(), gen_random_uuid(), at, at + interval '1.234567 s', at + interval '2 s',
    nullif(mod(n, 3), 0), nullif(mod(n, 3), 0), nullif(mod(n, 9), 8), mod(n, 2) = 0, 'host' || mod(n, 7),
    'message ' || n, NULL, NULL, 'NETO', 'Log_only', 'prod',
    jsonb_build_object('n', n, 'text', 'ä"\n', 'none', NULL, 'real', 1.50)
FROM (SELECT n, %(start)s::timestamptz + n * interval '7.000001 minutes' AS at FROM generate_series(0, %(rows)s - 1) n)
"""


def month_ago(months: int) -> date:
    """Return the first day of a month that many months ago."""
    today = datetime.now(UTC).date()
    number = today.year * 12 + today.month - 1 - months
    return date(number // 12, number % 12 + 1, 1)


@dataclass
class Stage:
    """A database and a folder as its archive."""

    url: str
    folder: Path
    more: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET timezone = 'UTC'")
            yield connection

    def archiver(self, connection: psycopg.Connection[Any], **options: Any) -> Archiver:
        return Archiver(connection, FolderStore(self.folder), **options)

    def sql(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        with self.connected() as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def fill(self, month: date, rows: int = 60, *, awkward: bool = False) -> None:
        """Put events and deliveries into a month."""
        self.sql("SELECT create_monthly_partition(%s)", (month,))
        self.sql(FILL, {"start": month, "rows": rows})
        self.sql(
            "INSERT INTO delivery_log SELECT event_id, event_timestamp, 1, 200, 'delivered' FROM event_audit_log"
            " WHERE event_timestamp >= %s AND event_timestamp < %s LIMIT 5",
            (month, month + timedelta(days=27)),
        )
        if awkward:
            for text in AWKWARD:
                self.late(month, text)

    def late(self, month: date, text: str = "late") -> None:
        """Write one more row as an alerter does: with a partition on demand."""
        self.sql("SELECT create_monthly_partition(%s)", (month,))
        self.sql(
            "INSERT INTO event_audit_log (event_id, correlation_id, event_timestamp, received_at, forwarded, hostname,"
            " message, source, team, handling, environment, raw) VALUES (gen_random_uuid(), gen_random_uuid(), %s,"
            " '2026-01-01', false, %s, %s, %s, 'NETO', 'Log_only', 'prod', %s)",
            (month + timedelta(days=3), text or "none", text, text, json.dumps({"": text})),
        )

    def rows(self, month: date, table: str = "event_audit_log") -> list[str]:
        """Return the month's rows, each with all that it holds."""
        column = "event_timestamp" if table == "event_audit_log" else "at"
        statement = sql.SQL("SELECT to_jsonb(t)::text FROM {} AS t WHERE {} >= %s AND {} < %s ORDER BY 1").format(
            sql.Identifier(table), sql.Identifier(column), sql.Identifier(column)
        )
        with self.connected() as connection:
            end = (month + timedelta(days=32)).replace(day=1)
            return [row[0] for row in connection.execute(statement, (month, end))]

    def all_rows(self, month: date) -> dict[str, list[str]]:
        return {table: self.rows(month, table) for table in TABLES}

    def partitions(self) -> set[str]:
        return {
            row[0]
            for row in self.sql(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '_(log_\\d|archiving|restoring)'"
            )
        }

    def states(self) -> list[tuple[str, int, str]]:
        return [(row[0], row[1], row[2]) for row in self.sql(
            "SELECT table_name, part, state FROM archives ORDER BY table_name, month, part"
        )]  # fmt: skip

    def environment(self) -> dict[str, str]:
        return {"DATABASE_URL": self.url, "ARCHIVE_LOCATION": str(self.folder), **self.more}

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run the command in this process and return its status and what it printed."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict("os.environ", self.environment()),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            try:
                status = archive_old_events.main(arguments)
            except SystemExit as end:
                status = int(str(end.code))
        return status, out.getvalue(), err.getvalue()

    def process(self, *arguments: str, preexec: Callable[[], None] | None = None) -> "subprocess.Popen[str]":
        """Start the command as a process."""
        return subprocess.Popen(
            [sys.executable, archive_old_events.__file__, *arguments],
            env=self.environment(),
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=preexec,  # noqa: PLW1509  # one system call, no lock
        )
