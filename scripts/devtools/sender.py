"""Posts events as a retrying sender does, and follows them to the audit and to the Moogsoft stand-in."""

import asyncio
import itertools
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from scripts.devtools import traffic
from scripts.devtools.instance import Instance

CONNECTIONS = 32  # requests under way at once
RETRY_PATIENCE = 60.0  # seconds that a request refused with 503, or not answered, is tried again
STALL_PATIENCE = 15.0  # seconds without any progress until the audit or the forwarder is no longer waited for
PAUSE = 0.25  # seconds between two looks


@dataclass(frozen=True)
class Order:
    """What to send."""

    count: int
    rate: float
    batch: int
    mix: dict[str, int]
    host: str | None


@dataclass
class Outcome:
    """What came of it; `problems` counts requests by what was wrong with their last answer."""

    count: int
    correlation_id: str
    accepted: int = 0
    rejected: int = 0
    retried: int = 0
    seconds: float = 0.0
    problems: Counter[str] = field(default_factory=Counter)
    by_handling: dict[str, int] = field(default_factory=dict)
    owed: int = 0
    forwarded: int = 0

    @property
    def audited(self) -> int:
        """Events with a row in the audit log."""
        return sum(self.by_handling.values())

    @property
    def complete(self) -> bool:
        """Whether every event was accepted and audited, and every alert owed was forwarded."""
        return self.accepted == self.audited == self.count and self.forwarded == self.owed


async def run(instance: Instance, order: Order, console: Console) -> Outcome:
    """Send, then wait for the audit and the alerts as long as they make progress."""
    outcome = Outcome(order.count, str(uuid.uuid4()))
    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        await _send_all(instance, order, outcome, progress)
        await _follow_audit(instance, outcome, progress)
        await _follow_alerts(instance, outcome, progress)
    return outcome


# ---------------------------------------------------------------- sending


async def _send_all(instance: Instance, order: Order, outcome: Outcome, progress: Progress) -> None:
    task = progress.add_task("accepted", total=order.count)
    url = f"{instance.http_url('ingestor')}/api/v2/ingest"
    headers = {"X-API-KEY": instance.secret("INGEST_API_KEY"), "Content-Type": "application/json"}
    endless = traffic.events(order.mix, order.host, outcome.correlation_id)
    requests = _requests(itertools.islice(endless, order.count), order.batch)
    started = time.monotonic()
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def work() -> None:
            for number, events in requests:
                if order.rate:
                    await asyncio.sleep(started + number * order.batch / order.rate - time.monotonic())
                await _post(session, url, events, outcome)
                progress.update(task, completed=outcome.accepted)

        await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    outcome.seconds = time.monotonic() - started


def _requests(events: Iterator[dict[str, Any]], size: int) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    return enumerate(iter(lambda: list(itertools.islice(events, size)), []))


async def _post(session: aiohttp.ClientSession, url: str, events: list[dict[str, Any]], outcome: Outcome) -> None:
    """Post one request until it is answered with something else than "not now"."""
    body = json.dumps(events if len(events) > 1 else events[0])
    deadline = time.monotonic() + RETRY_PATIENCE
    while True:
        try:
            async with session.post(url, data=body) as reply:
                if reply.status == 200:  # noqa: PLR2004
                    answer = await reply.json(content_type=None)
                    outcome.accepted += answer.get("accepted", 1)
                    outcome.rejected += answer.get("rejected", 0)
                    return
                problem = f"{reply.status} {' '.join((await reply.text()).split())[:120]}"
                wait = float(reply.headers.get("Retry-After", "1")) if reply.status == 503 else None  # noqa: PLR2004
        except (aiohttp.ClientError, OSError) as error:
            problem, wait = f"no answer: {type(error).__name__}", 0.5
        if wait is None or time.monotonic() + wait > deadline:
            outcome.problems[problem] += 1
            return
        outcome.retried += 1
        await asyncio.sleep(wait)


# ---------------------------------------------------------------- following


async def _follow_audit(instance: Instance, outcome: Outcome, progress: Progress) -> None:
    task = progress.add_task("audited", total=outcome.accepted)
    async with await psycopg.AsyncConnection.connect(instance.database_url, autocommit=True) as connection:

        async def look() -> int:
            cursor = await connection.execute(
                "SELECT handling, count(*) FROM event_audit_log WHERE correlation_id = %s GROUP BY 1 ORDER BY 2 DESC",
                (outcome.correlation_id,),
            )
            outcome.by_handling = dict(await cursor.fetchall())
            return outcome.audited

        await _until(look, outcome.accepted, progress, task)


async def _follow_alerts(instance: Instance, outcome: Outcome, progress: Progress) -> None:
    async with await psycopg.AsyncConnection.connect(instance.database_url) as connection:
        cursor = await connection.execute(
            "SELECT event_id::text FROM event_audit_log WHERE correlation_id = %s AND forwarded",
            (outcome.correlation_id,),
        )
        owed = {row[0] for row in await cursor.fetchall()}
    outcome.owed = len(owed)
    if not owed:
        return
    task = progress.add_task("forwarded", total=len(owed))
    url = instance.environment()["MOOG_URL"]
    async with aiohttp.ClientSession() as session:

        async def look() -> int:
            async with session.get(f"{url}/ids") as reply:
                outcome.forwarded = len(owed & (await reply.json()).keys())
            return outcome.forwarded

        await _until(look, len(owed), progress, task)


async def _until(look: Any, wanted: int, progress: Progress, task: TaskID) -> None:
    last, moved_at = -1, time.monotonic()
    while True:
        now = await look()
        progress.update(task, completed=now)
        if now != last:
            last, moved_at = now, time.monotonic()
        if now >= wanted or time.monotonic() - moved_at > STALL_PATIENCE:
            return
        await asyncio.sleep(PAUSE)


# ---------------------------------------------------------------- the end


def outcome_table(outcome: Outcome) -> Table:
    """Return what came of it, with what to look at where something is missing."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    speed = outcome.accepted / outcome.seconds if outcome.seconds else 0
    table.add_row("accepted", str(outcome.accepted), f"of {outcome.count}, {speed:,.0f}/s, {outcome.retried} retries")
    if outcome.rejected:
        table.add_row("rejected", str(outcome.rejected), "see mutt:quarantine:ingest (muttdev.py redis)")
    for problem, times in outcome.problems.most_common(5):
        table.add_row("refused", str(times), problem)
    missing = outcome.accepted - outcome.audited
    table.add_row(
        "audited",
        str(outcome.audited),
        f"{missing} missing: shed or failed? muttdev.py redis LLEN mutt:dlq:alerter" if missing else "",
    )
    for handling, count in outcome.by_handling.items():
        table.add_row(f"  {handling}", str(count), "")
    late = outcome.owed - outcome.forwarded
    note = f", {late} not there yet: muttdev.py logs moog-forwarder" if late else ""
    table.add_row("forwarded", str(outcome.forwarded), f"of {outcome.owed}{note}")
    table.add_row("correlation", "", outcome.correlation_id)
    return table
