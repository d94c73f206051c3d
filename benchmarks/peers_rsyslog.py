"""rsyslog with ompgsql: lines over TCP into a table with the columns that a line fills."""

import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, LiteralString

import psutil
import psycopg

from benchmarks import machine
from benchmarks.machine import Servers
from benchmarks.measuring import Figure, NotHere, Side
from benchmarks.peers_lines import LineSender
from benchmarks.peers_loss import STILL, Loss, wait_still
from scripts.devtools.embedded import free_port
from tests.harness.programs import Program, find, library_folder

TABLE = """
CREATE TABLE lines (
    event_id         uuid        NOT NULL DEFAULT uuidv7(),
    correlation_id   uuid        GENERATED ALWAYS AS (event_id) STORED,
    event_timestamp  timestamptz NOT NULL,
    received_at      timestamptz NOT NULL,
    audited_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    syslog_severity  smallint,
    hostname         text        NOT NULL,
    message          text        NOT NULL,
    source           text,
    program          text
)
"""
INDEXES = """
ALTER TABLE lines ADD PRIMARY KEY (event_id, event_timestamp);
CREATE INDEX ON lines (hostname, event_timestamp);
CREATE INDEX ON lines (event_timestamp, event_id);
CREATE INDEX ON lines (correlation_id);
"""
CONFIGURATION = """
global(workDirectory="{folder}")
module(load="imtcp")
module(load="ompgsql")
main_queue({queue} queue.dequeueBatchSize="1000" queue.workerThreads="1")
template(name="insert" type="string" option.stdsql="on" string="INSERT INTO lines \
(event_timestamp, received_at, syslog_severity, hostname, message, source, program) VALUES \
('%timereported:::date-rfc3339%', '%timegenerated:::date-rfc3339%', %syslogseverity%, '%hostname%', '%msg%', \
'syslog', '%programname%')")
input(type="imtcp" address="127.0.0.1" port="{port}")
action(type="ompgsql" server="127.0.0.1" port="{database_port}" user="postgres" pass="{password}" db="{database}" \
template="insert")
"""
MEMORY = 'queue.type="LinkedList" queue.size="100000"'
DISK = (
    'queue.type="Disk" queue.filename="main" queue.size="100000" queue.maxDiskSpace="1g" '
    'queue.checkpointInterval="1000" queue.saveOnShutdown="on"'
)


@dataclass
class Rsyslog:
    """One way to run it, with a database of its own on the servers."""

    servers: Servers
    name: str
    indexes: bool = True
    queue: str = MEMORY

    def __post_init__(self) -> None:
        self._program = installed()
        self._database = machine.database_url(self.servers.postgres, self.name)
        # One connection for all questions: a connection for each would cost PostgreSQL more than the question.
        self._asking = psycopg.connect(self._database, autocommit=True)
        self._log = Path(tempfile.gettempdir()) / f"mutt-benchmark-{self.name}.log"

    def speed(self, count: int) -> Figure:
        """Send lines until all are committed."""
        self._clear()
        with self._folder() as folder, self._running(folder) as (port, process):
            sender = LineSender(port, count)
            everything = [process, *self.servers.processes()]
            before, begun = machine.cpu_seconds(everything), time.time()
            sender.start()
            machine.wait_until(self._all_there(count), "the last line's row", every=0.05)
            used = machine.cpu_seconds(everything) - before
            (last,) = self._ask("SELECT extract(epoch FROM max(audited_at)) FROM lines")
            sender.stop()
        return Figure(count / (float(last) - begun), used / count * 1e6)

    def loss(self, count: int) -> Loss:
        """Kill it in the middle, start it again, and count what it had read and PostgreSQL never got."""
        self._clear()
        with self._folder() as folder:
            with self._running(folder) as (port, process):
                sender = LineSender(port, count)
                sender.start()
                machine.wait_until(lambda: self._rows() >= count // 4, "a quarter of the rows")
                process.send_signal(signal.SIGSTOP)  # so that nothing moves while what it has read is counted
                unread = sender.wait_still()
                process.kill()
                process.wait()
            taken = sender.taken(unread)
            sender.stop()
            with self._running(folder):  # as whoever supervises it does
                wait_still(self._rows, STILL, "the end of what it had kept")
        rows, there = self._ask("SELECT count(*), count(DISTINCT message) FROM lines")
        return Loss(taken, taken - there, rows - there)

    def _all_there(self, count: int) -> Callable[[], bool]:
        """Return what tells whether all rows are there; rows are counted only when the table grows no more."""
        size = -1

        def there() -> bool:
            nonlocal size
            (now,) = self._ask("SELECT pg_relation_size('lines')")
            grows, size = now != size, now
            return not grows and self._rows() >= count

        return there

    def _rows(self) -> int:
        (rows,) = self._ask("SELECT count(*) FROM lines")
        return int(rows)

    def _ask(self, query: LiteralString) -> tuple[Any, ...]:
        found = self._asking.execute(query).fetchone()
        assert found is not None
        return found

    def _clear(self) -> None:
        self._asking.execute("DROP TABLE IF EXISTS lines")
        self._asking.execute(TABLE)
        if self.indexes:
            self._asking.execute(INDEXES)
        self._asking.execute("CHECKPOINT")

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="mutt-benchmark-", ignore_cleanup_errors=True) as name:
            yield Path(name)

    @contextmanager
    def _running(self, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
        port, server = free_port(), self.servers.postgres
        text = CONFIGURATION.format(
            folder=folder, queue=self.queue, port=port, database_port=server.port, password=server.password,
            database=self._database.rpartition("/")[2],
        )  # fmt: skip
        (folder / "rsyslog.conf").write_text(text, encoding="utf-8")
        command = [str(self._program.path), "-n", "-i", "none", "-f", str(folder / "rsyslog.conf")]
        command += ["-M", str(library_folder(self._program) / "rsyslog")]
        with machine.processes([command], self._program.environment, self._log) as (process,):
            machine.wait_listening(port, f"rsyslog (log: {self._log})", [process])
            yield port, process


def side(servers: Servers, count: int) -> Side:
    """Return it with MUTT's indexes and its queue in memory as a side of another row."""
    made = cache(lambda: Rsyslog(servers, "rsyslog"))
    what = "rsyslog with ompgsql, the same indexes, queue in memory; no rules, no key, no JSON"
    return Side("rsyslog", what, lambda scale: made().speed(max(1000, round(count * scale))))


def installed() -> Program:
    """Return rsyslogd, where it and its output to PostgreSQL are installed; raises NotHere."""
    rsyslogd = find("rsyslogd")
    if rsyslogd is None or not (library_folder(rsyslogd) / "rsyslog" / "ompgsql.so").exists():
        raise NotHere("rsyslog or rsyslog-pgsql is not installed: bash .ci/programs unpacks Debian's into .tools/")
    return rsyslogd
