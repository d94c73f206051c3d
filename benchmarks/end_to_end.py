"""From the sender to the committed audit row, and COPY alone: what the rows end_to_end_single and _batches measure."""

import time
from collections.abc import Sequence

import psutil
import psycopg

from benchmarks import machine, pieces
from benchmarks.generator import Load
from benchmarks.measuring import Figure
from benchmarks.stacks import HEADERS, Stack
from benchmarks.workload import RULES, bodies
from mutt.audit_row import COLUMNS, HEADER, TRAILER

CONNECTIONS = 64
CLAIMED = 1000  # rows of a commit: what an alerter claims at once
WARM_UP = 0.3  # seconds
STAYS = 0.3  # seconds
LEAST = 0.3  # seconds of load
BODIES = 20_000  # events that are sent in turn
CONDITIONS = (
    f"{RULES} rules, all Log_only, of which each event matches one; fsync and synchronous_commit on; primary key and "
    "indexes on hostname, time and correlation id; load generator and servers on the same cores"
)
COPY = f"COPY event_audit_log ({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary)"


def sent_and_audited(stack: Stack, batch: int, seconds: float) -> Figure:
    """Send for so long, wait until the last row is committed, and count what the audit holds."""
    stack.clear()
    with (
        stack.running(audited=True) as (url, started),
        Load(url, bodies(BODIES, batch), HEADERS, connections=CONNECTIONS) as load,
    ):
        everything = [*started, *stack.servers.processes()]
        port = int(url.split(":")[2].split("/")[0])
        load.run(WARM_UP)
        drained(stack, everything, port)
        before, cpu = stack.audited(), cpu_each(everything)
        report = load.run(max(LEAST, seconds))
        ended, used = drained(stack, everything, port)
        audited = stack.audited() - before
    acknowledged = report.taken * batch
    # Each connection may have had one request under way when the load ended: taken, and its reply not waited for.
    if not acknowledged <= audited <= acknowledged + CONNECTIONS * batch:
        raise SystemExit(f"{audited} rows audited of {acknowledged} acknowledged events: a figure would mean nothing")
    each = [(after - first) / audited * 1e6 for after, first in zip(used, cpu, strict=True)]
    names = ("ingestor", "alerter", "redis", "postgres")  # of the plain stack's two processes too
    notes = {f"{name}_us": one for name, one in zip(names, each, strict=True)}
    return Figure(audited / (ended - report.begun), sum(each), {"p99_ms": report.p99_ms, **notes})


def cpu_each(processes: Sequence[psutil.Process]) -> list[float]:
    """Return the CPU seconds of each process and its children."""
    return [machine.cpu_seconds([process]) for process in processes]


def drained(stack: Stack, processes: Sequence[psutil.Process], port: int) -> tuple[float, list[float]]:
    """Wait until no event is under way; return when that was, and each process's CPU seconds until then.

    When the load has ended its last requests may still be read: no connection to the port may be left, and it has to
    stay so for a while.
    """
    noted: list[tuple[float, list[float]]] = []

    def stays() -> bool:
        if not stack.drained() or machine.is_connected(port):
            noted.clear()
            return False
        noted.append((time.perf_counter(), cpu_each(processes)))
        return noted[-1][0] - noted[0][0] > STAYS

    machine.wait_until(stays, "the audit of all events", every=0.005)
    return noted[0]


def copied(stack: Stack, rows: Sequence[bytes]) -> Figure:
    """Write packed rows into the same table over one connection, with a commit for as many as an alerter claims."""
    stack.clear()
    batches = [b"".join((HEADER, *rows[first : first + CLAIMED], TRAILER)) for first in range(0, len(rows), CLAIMED)]
    with psycopg.connect(stack.database) as connection, connection.cursor() as cursor:
        processes = [psutil.Process(), *stack.servers.processes()]
        cpu, begun = machine.cpu_seconds(processes), time.perf_counter()
        for data in batches:
            with cursor.copy(COPY.encode()) as stream:
                stream.write(data)
            connection.commit()
        seconds, cpu = time.perf_counter() - begun, machine.cpu_seconds(processes) - cpu
    assert stack.audited() == len(rows)
    return Figure(len(rows) / seconds, cpu / len(rows) * 1e6)


def packed(scale: float) -> list[bytes]:
    """Return the rows that COPY alone writes."""
    return pieces.rows(max(CLAIMED, round(150_000 * scale) // CLAIMED * CLAIMED))
