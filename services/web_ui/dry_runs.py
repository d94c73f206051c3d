"""Dry runs under way in this process: each reads the audit newest first, on a connection of its own."""

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
ALONE_SECONDS = 60.0  # a run that nobody asks about for so long is stopped: who started it has gone away
CONNECT_SECONDS = 10.0

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
        self._began = self._asked = time.monotonic()
        self._limit: asyncio.Timeout | None = None
        # Both rule books are heavy and go when the run ends; what it found stays.
        self._dry: DryRun | None = DryRun(judge.rules, rule, judge.hosts, default_team)
        self._found: dict[str, Any] = {}
        self.caught = self._dry.caught
        self._oldest: datetime | None = None
        self._cost: dict[str, Any] | None = None
        # Events are added in a thread, and the report is asked for meanwhile.
        self._lock = threading.Lock()

    def start(self, pool: Pool) -> None:
        """Begin to read."""
        self.task = asyncio.create_task(self.go(pool))
        # A task that is cancelled before its first step never gets to say so.
        self.task.add_done_callback(lambda _: self._end("cancelled") if self.under_way else None)

    def stop(self, why: str) -> None:
        """Let it end as soon as it can."""
        if self.task is not None and self.under_way:
            self.why = why
            self.task.cancel()

    @property
    def under_way(self) -> bool:
        """Whether it still reads."""
        return self.state == "running"

    async def go(self, pool: Pool) -> None:
        """Read to the end, to a limit, or until it is cancelled: then the statement is cancelled too."""
        state = "failed"
        try:
            async with asyncio.timeout(None) as self._limit:
                self._ask_again_by()
                async with _own_connection(pool) as connection:
                    await self._read(connection)
            state = "done"
        except asyncio.CancelledError:
            state, self.why = "cancelled", self.why or "stopped by hand"
            raise
        except TimeoutError:
            late = time.monotonic() - self._began >= SECONDS_MAX
            state = "done" if late else "cancelled"
            self.why = f"stopped after {SECONDS_MAX:g} s" if late else "stopped: nobody asked about it any more"
        except (psycopg.Error, OSError) as error:
            self.why = "PostgreSQL did not answer; what was read until then stands"
            log.warning("a dry run failed", error=f"{type(error).__name__}: {str(error).strip()}")
        except Exception:
            self.why = "it could not be judged; the log of the web UI says why"
            log.exception("a dry run failed")
        finally:
            self._limit = None
            await asyncio.shield(asyncio.to_thread(self._end, state))

    async def told(self) -> dict[str, Any]:
        """Return what is known by now, without making others wait for it; whoever asks keeps the run going."""
        self._asked = time.monotonic()
        self._ask_again_by()
        return await asyncio.to_thread(self.report)

    def _ask_again_by(self) -> None:
        if self._limit is not None and not self._limit.expired():
            left = min(self._began + SECONDS_MAX, self._asked + ALONE_SECONDS) - time.monotonic()
            self._limit.reschedule(asyncio.get_running_loop().time() + left)

    def _end(self, state: str) -> None:
        with self._lock:
            if self._dry is not None:
                self._found, self._oldest, self._dry = self._dry.report(), self._dry.oldest, None
            self.state, self.ended = state, time.monotonic()

    def report(self) -> dict[str, Any]:
        """Return what is known by now; waits for the rows that are being judged."""
        with self._lock:
            found = self._found if self._dry is None else self._dry.report()
            reached = (self._oldest if self._dry is None else self._dry.oldest) or self.until
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
            read = 0
            await cursor.execute(_SELECT, (self.since, self.until))
            while rows := await cursor.fetchmany(CHUNK):
                # In a thread: whoever polls, or saves, does not wait for it.
                await asyncio.to_thread(self._judge, rows)
                read += len(rows)
                if read >= ROWS_MAX:
                    self.why = f"stopped after {ROWS_MAX:,} events"
                    return
        await asyncio.to_thread(self._price)

    def _judge(self, rows: list[tuple[Any, ...]]) -> None:
        with self._lock:
            if self._dry is None:
                return
            for row in rows:
                self._dry.add(from_audit(row))
            enough = self._dry.read >= PRICED
        if enough:
            self._price()

    def _price(self) -> None:
        dry = self._dry
        if self._cost is None and dry is not None:
            self._cost = dry.cost()


class DryRuns:
    """The runs of this process by id; the newest push out the oldest."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._runs: dict[str, Run] = {}

    async def start(self, judge: Judge, rule: Rule, hours: int, default_team: str, owner: str) -> Run:
        """Start a run; past UNDER_WAY_MAX at once the oldest is cancelled."""
        # Compiling thousands of rules takes a while, and others are not to wait for it.
        run = await asyncio.to_thread(Run, judge, rule, hours, default_team, owner)
        self._tidy()
        under_way = [each for each in self._runs.values() if each.under_way]
        if len(under_way) >= UNDER_WAY_MAX:
            under_way[0].stop("stopped: too many dry runs were under way at once")
        run.start(self._pool)
        self._runs[run.id] = run
        return run

    def find(self, run_id: str) -> Run | None:
        """Return a run that is kept."""
        return self._runs.get(run_id)

    async def cancel(self, run_id: str) -> Run | None:
        """Stop a run and return it with what it has; None where there is none."""
        run = self._runs.get(run_id)
        if run is not None and run.task is not None:
            run.stop("stopped by hand")
            await asyncio.wait({run.task})
        return run

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
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await pool.connection_class.connect(**options)
    except TimeoutError:
        raise psycopg.OperationalError(f"no connection within {CONNECT_SECONDS:g} s") from None
    try:
        yield connection
    finally:
        await connection.close()
