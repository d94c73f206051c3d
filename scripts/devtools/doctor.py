"""Looks for what may be wrong, on this machine and in an instance, and says what to do about it."""

import asyncio
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import psycopg
import redis
from redis.exceptions import RedisError
from rich.markup import escape
from rich.table import Table

from scripts.devtools import bootstrap, report, running
from scripts.devtools.embedded import postgres_binary
from scripts.devtools.instance import Instance, UserError
from scripts.devtools.privileges import EmbeddedServerError, as_postgres_user
from scripts.devtools.services import TREE
from scripts.migrate import steps

LOW_MEMORY, LOW_DISK = 1 << 30, 1 << 30  # bytes
CLOCK_TOLERANCE = 5.0  # seconds; at 60 the ingestor reports itself unhealthy


class Finding(NamedTuple):
    """One thing that was looked at; `problem` is "" when it is well, else what to do."""

    what: str
    seen: str
    problem: str = ""


def examine(folder: Path) -> list[Finding]:
    """Return all findings: of the machine, and of the instance in `folder` if there is one."""
    findings = [*_machine(folder)]
    try:
        instance = Instance.find(folder)
    except UserError as error:
        return [*findings, Finding("instance", str(error))]
    if not instance.running:
        return [*findings, *_ports(instance), Finding("instance", "does not run; start it with: muttdev.py up")]
    return [
        *findings,
        *_services(instance),
        *_guarded("redis", _redis, instance),
        *_guarded("schema", _schema, instance),
    ]


def table(findings: list[Finding]) -> Table:
    """Return the findings as a table."""
    shown = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        mark = "[red]✗ wrong[/]" if finding.problem else "[green]● well[/]"
        text = f"{escape(finding.seen)}" + (f"\n[red]{escape(finding.problem)}[/]" if finding.problem else "")
        shown.add_row(mark, finding.what, text)
    return shown


def _machine(folder: Path) -> Iterator[Finding]:
    version = f"{platform.python_version()} in {sys.prefix}, {platform.machine()}, {platform.system()}"
    yield Finding("python", version)
    is_stamped = bootstrap.is_stamped(TREE)
    yield Finding("packages", "as locked" if is_stamped else "not as locked", "" if is_stamped else "run muttdev.py up")
    memory = psutil.virtual_memory().available
    yield Finding(
        "memory",
        f"{memory >> 20:,} MB available",
        "close other programs: all of MUTT takes about 1 GB" if memory < LOW_MEMORY else "",
    )
    place = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    yield Finding(
        "disk",
        f"{free >> 20:,} MB free in {place}",
        "free some space, or use --data-dir on another disk" if free < LOW_DISK else "",
    )
    writable = os.access(place, os.W_OK)
    yield Finding(
        "data folder", str(folder.resolve()), "" if writable else f"{place} cannot be written: use --data-dir elsewhere"
    )
    try:
        as_postgres_user([], (postgres_binary("postgres"), folder))
        yield Finding("postgresql", str(postgres_binary("postgres").parent))
    except EmbeddedServerError as error:
        yield Finding("postgresql", "cannot be started", str(error))


def _ports(instance: Instance) -> Iterator[Finding]:
    taken = [
        f"{port} ({name}{running.owner_of(port)})"
        for name in instance.names
        for port in instance.ports(name).values()
        if not running.is_free(port)
    ]
    yield Finding("ports", f"in use: {', '.join(taken)}" if taken else "free", "use --port-offset N" if taken else "")


def _services(instance: Instance) -> Iterator[Finding]:
    document = asyncio.run(report.status_document(instance))
    for name, service in document["services"].items():
        seen = f"{service['state']}, {service['restarts']} restarts"
        problem = "" if service["state"] == "healthy" else f"{service['detail']}; see muttdev.py logs {name}"
        yield Finding(name, seen, problem)


def _guarded(what: str, look: Callable[[Instance], Iterator[Finding]], instance: Instance) -> list[Finding]:
    try:
        return [*look(instance)]
    except (RedisError, psycopg.Error, OSError) as error:
        return [Finding(what, " ".join(str(error).split()), "see muttdev.py status")]


def _redis(instance: Instance) -> Iterator[Finding]:
    with redis.Redis.from_url(instance.redis_url, socket_timeout=3) as client:
        settings = {**client.config_get("maxmemory-policy"), **client.config_get("append*")}
        seconds, microseconds = client.time()
    policy = settings.get("maxmemory-policy")
    yield Finding(
        "eviction",
        f"maxmemory-policy {policy}",
        "" if policy == "noeviction" else "CONFIG SET maxmemory-policy noeviction",
    )
    kept = settings.get("appendonly") == "yes" and settings.get("appendfsync") == "always"
    yield Finding(
        "durability",
        f"appendonly {settings.get('appendonly')}, appendfsync {settings.get('appendfsync')}",
        "" if kept else "a crash of Redis may lose events: appendonly yes, appendfsync always close that",
    )
    drift = abs(seconds + microseconds / 1e6 - time.time())
    yield Finding("clock", f"{drift:.3f} s off Redis", "set the clock (NTP)" if drift > CLOCK_TOLERANCE else "")


def _schema(instance: Instance) -> Iterator[Finding]:
    newest = steps()[-1].version
    with psycopg.connect(instance.database_url, connect_timeout=3) as connection:
        row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
        rules = connection.execute("SELECT count(*) FROM alert_rules WHERE is_active").fetchone()
        month = connection.execute(
            "SELECT to_regclass('event_audit_log_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')) IS NOT NULL"
        ).fetchone()
    version = row[0] if row else None
    yield Finding("schema", f"version {version} of {newest}", "" if version == newest else "muttdev.py migrate")
    yield Finding("rules", f"{rules[0] if rules else 0} active")
    known = bool(month and month[0])
    yield Finding("partition", "of this month", "" if known else "python scripts/create_monthly_partitions.py")
