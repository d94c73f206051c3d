"""Looks for what may be wrong, on this machine and in an instance, and says what to do about it."""

import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
from rich.markup import escape
from rich.table import Table

from mutt.findings import Finding, State, ok, problem
from mutt.settings import LogSettings
from scripts.devtools import bootstrap, report, running
from scripts.devtools.embedded import postgres_binary
from scripts.devtools.environment import service_environment
from scripts.devtools.instance import Instance, UserError
from scripts.devtools.privileges import EmbeddedServerError, as_postgres_user
from scripts.devtools.services import SERVICES, TREE
from services.doctor import examination
from services.logging_utils import configure

LOW_MEMORY, LOW_DISK = 1 << 30, 1 << 30  # bytes
MARKS = {State.OK: ("green", "●"), State.WARNING: ("yellow", "▲"), State.PROBLEM: ("red", "✗")}
TOLD = ("python", "vault")


def examine(folder: Path) -> list[Finding]:
    """Return all findings: of the machine, and of the instance in `folder` if there is one."""
    findings = [*_machine(folder)]
    try:
        instance = Instance.find(folder)
    except UserError as error:
        return [*findings, ok("instance", str(error))]
    if not instance.running:
        return [*findings, *_ports(instance), ok("instance", "does not run; start it with: muttdev.py up")]
    return [*findings, *_services(instance), *asyncio.run(_surroundings(instance))]


def table(findings: list[Finding]) -> Table:
    """Return the findings as a table."""
    shown = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        color, mark = MARKS[finding.state]
        text = escape(finding.seen) + (f"\n[{color}]{escape(finding.remedy)}[/]" if finding.remedy else "")
        shown.add_row(f"[{color}]{mark} {finding.state}[/]", finding.what, text)
    return shown


def _machine(folder: Path) -> Iterator[Finding]:
    version = f"{platform.python_version()} in {sys.prefix}, {platform.machine()}, {platform.system()}"
    yield ok("python", version)
    if not bootstrap.is_stamped(TREE):
        yield problem("packages", "not as locked", "run muttdev.py up")
    memory = psutil.virtual_memory().available
    remedy = "close other programs: all of MUTT takes about 1 GB" if memory < LOW_MEMORY else ""
    yield _judged("memory", f"{memory >> 20:,} MB available", remedy)
    place = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    remedy = "free some space, or use --data-dir on another disk" if free < LOW_DISK else ""
    yield _judged("disk", f"{free >> 20:,} MB free in {place}", remedy)
    writable = os.access(place, os.W_OK)
    remedy = "" if writable else f"{place} cannot be written: use --data-dir elsewhere"
    yield _judged("data folder", str(folder.resolve()), remedy)
    try:
        as_postgres_user([], (postgres_binary("postgres"), folder))
        yield ok("embedded postgresql", str(postgres_binary("postgres").parent))
    except EmbeddedServerError as error:
        yield problem("embedded postgresql", "cannot be started", str(error))


def _judged(what: str, seen: str, remedy: str) -> Finding:
    return problem(what, seen, remedy) if remedy else ok(what, seen)


def _ports(instance: Instance) -> Iterator[Finding]:
    taken = [
        f"{port} ({name}{running.owner_of(port)})"
        for name in instance.names
        for port in instance.ports(name).values()
        if not running.is_free(port)
    ]
    yield _judged("ports", f"in use: {', '.join(taken)}" if taken else "free", "use --port-offset N" if taken else "")


def _services(instance: Instance) -> Iterator[Finding]:
    document = asyncio.run(report.status_document(instance))
    for name, service in document["services"].items():
        seen = f"{service['state']}, {service['restarts']} restarts"
        if service["state"] == "healthy":
            yield ok(name, seen)
        else:
            yield problem(name, seen, f"{service['detail']}; see muttdev.py logs {name}")


async def _surroundings(instance: Instance) -> list[Finding]:
    """Return what the services' own doctor finds, without what `status` and `up` have told."""
    configure(LogSettings(level="CRITICAL"), "doctor")  # what is wrong is told once, in the table
    environ: dict[str, str] = {}
    for service in SERVICES.values():
        environ |= service_environment(instance, service)
    found = await examination.examine(list(SERVICES), environ, None)
    return [finding for finding in found if finding.what not in TOLD and not finding.what.startswith("service ")]
