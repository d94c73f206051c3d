"""Dry runs under way in this process: each reads the audit newest first, on a connection of its own."""

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql

from mutt.dry_run import PRICED, DryRun
from mutt.events import iso
from mutt.past_events import COLUMNS, from_audit
from mutt.rules import Rule
from services.logging_utils import get_logger
from services.postgres_connector import Pool
from services.web_ui.rule_queries import Judge

ROWS_MAX = 2_000_000
SECONDS_MAX = 300.0
HOURS_MAX = 24 * 31
CHUNK = 500  # rows judged in one go
UNDER_WAY_MAX = 4
KEPT = 40
KEPT_SECONDS = 1800.0
CONNECT_SECONDS = 5.0

_SELECT = sql.SQL(
    "SELECT {} FROM event_audit_log WHERE event_timestamp >= %s AND event_timestamp < %s"
    " ORDER BY event_timestamp DESC, event_id DESC"
).format(sql.SQL(", ").join(map(sql.SQL, COLUMNS)))

log = get_logger(__name__)


class Run:
    """One dry run; `state` is running, done, cancelled or failed, `why` says why it stopped early."""

    def __init__(self, judge: Judge, rule: Rule, hours: int, default_team: str, owner: str) -> None:
        self.id = secrets.token_urlsafe(12)
        self.owner = owner
        self.rule = rule
        self.hours = hours
        self.until = datetime.now(UTC)
        self.since = self.until - timedelta(hours=hours)
        self.state = "running"
        self.why: str | None = None
        self.task: asyncio.Task[None] | None = None
        self.ended: float | None = None
        self._began = time.monotonic()
        self._dry = DryRun(judge.rules, rule, judge.hosts, default_team)
        self._cost: dict[str, Any] | None = None
        # Events are added in a thread, and the report is asked for meanwhile.
        self._lock = threading.Lock()

    @property
    def under_way(self) -> bool:
        """Whether it still reads."""
        return self.state == "running"

    async def go(self, pool: Pool) -> None:
        """Read to the end, to a limit, or until it is cancelled."""
        try:
            async with _own_connection(pool) as connection:
                await self._read(connection)
            self.state = "done"
        except asyncio.CancelledError:
            self.state = "cancelled"
            self.why = self.why or "stopped by hand"
            raise
        except psycopg.Error as error:
            self.state, self.why = "failed", "PostgreSQL did not answer; what was read until then stands"
            log.warning("a dry run failed", error=f"{type(error).__name__}: {str(error).strip()}")
        finally:
            self.ended = time.monotonic()

    def report(self) -> dict[str, Any]:
        """Return what is known by now."""
        with self._lock:
            found = self._dry.report()
        reached = self._dry.oldest or self.until
        share = (self.until - reached) / (self.until - self.since)
        complete = self.state == "done" and self.why is None
        return {
            "id": self.id,
            "state": self.state,
            "why": self.why,
            "hours": self.hours,
            "since": iso(self.since),
            "until": iso(self.until),
            "seconds": round((self.ended or time.monotonic()) - self._began, 2),
            "progress": 1.0 if complete else round(min(max(share, 0.0), 0.99), 4),
            "rule": {"id": self.rule.id or None, "name": self.rule.name, "priority": self.rule.priority},
            **found,
            "cost": self._cost,
        }

    async def _read(self, connection: AsyncConnection[Any]) -> None:
        async with connection.transaction(), connection.cursor(name="dry_run") as cursor:
            cursor.itersize = CHUNK
            await cursor.execute(_SELECT, (self.since, self.until))
            while rows := await cursor.fetchmany(CHUNK):
                # In a thread: whoever polls, or saves, does not wait for it.
                await asyncio.to_thread(self._judge, rows)
                if self._dry.read >= ROWS_MAX:
                    self.why = f"stopped after {ROWS_MAX:,} events"
                    return
                if time.monotonic() - self._began > SECONDS_MAX:
                    self.why = f"stopped after {SECONDS_MAX:g} s"
                    return
        if self._cost is None:
            self._cost = await asyncio.to_thread(self._dry.cost)

    def _judge(self, rows: list[tuple[Any, ...]]) -> None:
        with self._lock:
            for row in rows:
                self._dry.add(from_audit(row))
        if self._cost is None and self._dry.read >= PRICED:
            self._cost = self._dry.cost()


class DryRuns:
    """The runs of this process by id; the newest push out the oldest."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._runs: dict[str, Run] = {}

    def start(self, judge: Judge, rule: Rule, hours: int, default_team: str, owner: str) -> Run:
        """Start a run; past UNDER_WAY_MAX at once the oldest is cancelled."""
        self._tidy()
        under_way = [run for run in self._runs.values() if run.under_way]
        if len(under_way) >= UNDER_WAY_MAX:
            self._stop(under_way[0], "stopped: too many dry runs were under way at once")
        run = Run(judge, rule, hours, default_team, owner)
        run.task = asyncio.create_task(run.go(self._pool))
        self._runs[run.id] = run
        return run

    def find(self, run_id: str) -> Run | None:
        """Return a run that is kept."""
        return self._runs.get(run_id)

    async def cancel(self, run_id: str) -> Run | None:
        """Stop a run and return it with what it has; None where there is none."""
        run = self._runs.get(run_id)
        if run is not None and run.task is not None:
            self._stop(run, "stopped by hand")
            with suppress(asyncio.CancelledError):
                await asyncio.wait({run.task})
        return run

    async def close(self) -> None:
        """Stop all."""
        for run_id in list(self._runs):
            await self.cancel(run_id)

    def _stop(self, run: Run, why: str) -> None:
        if run.task is not None and run.under_way:
            run.why = why
            run.task.cancel()

    def _tidy(self) -> None:
        now = time.monotonic()
        ended = [run for run in self._runs.values() if not run.under_way]
        surplus = len(self._runs) - KEPT + 1
        for place, run in enumerate(ended):
            if place < surplus or now - (run.ended or now) > KEPT_SECONDS:
                del self._runs[run.id]


@asynccontextmanager
async def _own_connection(pool: Pool) -> AsyncIterator[AsyncConnection[Any]]:
    """Open a connection beside the pool, as the pool would: a long read takes none from those who work."""
    options: dict[str, Any] = dict(pool.kwargs) if isinstance(pool.kwargs, dict) else {}
    async with asyncio.timeout(CONNECT_SECONDS * 2):
        connection = await pool.connection_class.connect(**options)
    try:
        yield connection
    finally:
        # Not awaited politely: a cancelled run leaves a statement behind, and the server ends it with the line.
        await connection.close()
