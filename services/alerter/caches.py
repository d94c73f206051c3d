"""What the alerter knows of rules, development hosts and teams, read from PostgreSQL and kept when that fails."""

import asyncio
import time
import weakref
from contextlib import suppress
from sys import intern
from typing import Any

from psycopg import AsyncConnection

from mutt.errors import MisconfiguredError
from mutt.handling import Hosts
from mutt.matching import RuleBook
from mutt.rules import Rule
from services.logging_utils import get_logger
from services.postgres_connector import Pool, transaction
from services.runtime.garbage import apart_from_garbage, free_in_pieces
from services.runtime.health import Health
from services.runtime.instruments import AlerterInstruments
from services.runtime.loop import DEPENDENCY_ERRORS
from services.schema import ahead, check_schema

RETRY_SECONDS = 1.0
PIECE, SMALL_PIECE = 500, 5_000  # rows that are read at once: other work goes on between two pieces

_Row = tuple[Any, ...]

_RULES = """
SELECT id, match_string, trap_oid, syslog_severity, match_type, priority, prod_handling, dev_handling, team_assignment,
       is_active, name, description, version
FROM alert_rules WHERE is_active ORDER BY priority DESC, id
"""
ALIKE = (4, 6, 7, 8)  # columns of those: texts that many rules have alike
_HOSTS = "SELECT hostname FROM development_hosts"
_TEAMS = "SELECT hostname, team_assignment FROM device_teams"

log = get_logger(__name__)


class Caches:
    """The rule book and the hosts, replaced together; `loaded` is set by the first successful load."""

    def __init__(self, pool: Pool, instruments: AlerterInstruments, health: Health, *, match_short: bool) -> None:
        self.book = RuleBook(())
        self.hosts = Hosts()
        self.loaded = asyncio.Event()
        self._pool = pool
        self._instruments = instruments
        self._health = health
        self._match_short = match_short
        self._rules: list[Rule] = []
        self._wanted = asyncio.Event()
        health.problems["cache"] = "rules, hosts and teams are not loaded yet: nothing is claimed"

    def want_reload(self) -> None:
        """Ask for a reload as soon as possible."""
        self._wanted.set()

    async def keep_fresh(self, interval: float) -> bool:
        """Wait for a wish or for `interval` seconds to pass, then reload; returns whether that succeeded."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wanted.wait(), interval if self.loaded.is_set() else 0)
        self._wanted.clear()
        if await self.reload():
            return True
        await asyncio.sleep(RETRY_SECONDS)
        self._wanted.set()
        return False

    async def reload(self) -> bool:
        """Read everything again; a failure keeps what is held, counts, and shows in health."""
        started = time.monotonic()
        try:
            rows, dev, teams = await self._read()
            # Compiling thousands of rules takes a while: in a thread, and the old book serves until the new one stands.
            known, book = await asyncio.to_thread(self._compiled, rows)
            hosts = await asyncio.to_thread(Hosts.of, dev, teams, match_short=self._match_short)
        except (*DEPENDENCY_ERRORS, MisconfiguredError) as error:
            self._instruments.reload_failures.inc()
            problem = f"rules, hosts and teams were not reloaded: {type(error).__name__}: {str(error).strip()}"
            if self._health.problems.get("cache") != problem:
                log.warning("the caches were not reloaded, keeping what is held", error=problem)
            self._health.problems["cache"] = problem
            return False
        parts: list[Any] = [] if book is self.book else self.book.parts()
        gone = weakref.ref(self.book)
        self._rules, self.book, self.hosts = known, book, hosts
        self._health.problems.pop("cache", None)
        self._show_refused(book)
        self._instruments.rules.set(len(book))
        self._instruments.dev_hosts.set(len(hosts.dev))
        self._instruments.teams.set(len(hosts.teams))
        if not self.loaded.is_set():
            log.info("rules are loaded", rules=len(book), seconds=round(time.monotonic() - started, 3))
        self.loaded.set()
        await free_in_pieces(parts, gone)
        return True

    async def _read(self) -> tuple[list[_Row], list[str], dict[str, str]]:
        async with transaction(self._pool) as connection:
            # One snapshot: a rule and the host that it was made for are seen together or not at all.
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self._show_schema(ahead(await check_schema(connection)))
            rules = await _in_pieces(connection, _RULES, PIECE)
            dev = [host for (host,) in await _in_pieces(connection, _HOSTS, SMALL_PIECE)]
            teams: dict[str, str] = dict(await _in_pieces(connection, _TEAMS, SMALL_PIECE))
        return rules, dev, teams

    def _compiled(self, rows: list[_Row]) -> tuple[list[Rule], RuleBook]:
        """Return the rules of these rows, which it takes away, and their book: the present ones if none changed."""
        known = {rule.id: rule for rule in self._rules}
        rules = []
        rows.reverse()
        while rows:
            rule = _rule(rows.pop())
            present = known.get(rule.id)
            rules.append(present if present is not None and rule == present else rule)
        if rules == self._rules:
            return self._rules, self.book
        with apart_from_garbage():
            return rules, RuleBook(rules, self.book)

    def _show_schema(self, words: str | None) -> None:
        if words is None:
            self._health.notes.pop("schema", None)
        elif self._health.notes.get("schema") != words:
            log.warning(words)
            self._health.notes["schema"] = words

    def _show_refused(self, book: RuleBook) -> None:
        for verdict in book.refused:
            log.error("a rule cannot be used and is left out", rule_id=verdict.rule.id, problem=verdict.reason)
        if book.refused:
            self._health.notes["rules_refused"] = ", ".join(str(verdict.rule.id) for verdict in book.refused)
        else:
            self._health.notes.pop("rules_refused", None)


async def _in_pieces(connection: AsyncConnection[Any], query: str, size: int) -> list[_Row]:
    rows: list[_Row] = []
    async with connection.cursor("caches") as cursor:
        await cursor.execute(query.encode())
        while piece := await cursor.fetchmany(size):
            rows += piece
    return rows


def _rule(row: _Row) -> Rule:
    """Return a row's rule; what many rules have alike is held once."""
    values = list(row)
    for column in ALIKE:
        values[column] = intern(values[column])
    return Rule(*values)
