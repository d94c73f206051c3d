"""Wraps statements, copies, and the commits of transactions that changed something."""

import re
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

import psycopg
from psycopg import sql

from tests.chaos.killer import Killer, Visit, die
from tests.chaos.points import AFTER, BEFORE, SENT

LOOKS = re.compile(r"(?:SELECT|SHOW|SET|WITH|ANALYZE|EXPLAIN|VALUES|DECLARE|FETCH)\b", re.IGNORECASE)
CHANGING_FUNCTIONS = re.compile(r"\b(create_monthly_partition|mutt_attach_month)\(")
OWN_SESSION = re.compile(r"(?:COPY|DROP TABLE IF EXISTS) pg_temp\.|CREATE TEMPORARY TABLE|COPY \(")
MONTH = re.compile(r"_\d{4}_\d{2}\w*")


class Statements:
    """Sees what a connection changes, and when that is committed."""

    def __init__(self, killer: Killer) -> None:
        self._killer = killer
        self._changed: weakref.WeakSet[Any] = weakref.WeakSet()

    def begins(self, cursor: Any, query: Any, frame: FrameType) -> Visit | None:
        """Note a statement; returns its visit where it changes something."""
        connection = cursor.connection
        effect = _statement(query, connection)
        if effect is None:
            return None
        visit = self._killer.comes_to(effect, frame)
        self._killer.at(visit, BEFORE)
        if not connection.autocommit or connection.info.transaction_status:
            self._changed.add(connection)
        return visit

    def ends(self, transaction: Any, connection: Any, error: object, frame: FrameType) -> Visit | None:
        """Note the end of a transaction; returns its visit where it commits something."""
        if getattr(transaction, "_outer_transaction", True) is False or connection not in self._changed:
            return None
        self._changed.discard(connection)
        if error is not None:
            return None
        visit = self._killer.comes_to("COMMIT", frame)
        self._killer.at(visit, BEFORE)
        if self._killer.is_at(visit, SENT):
            connection.pgconn.send_query(b"COMMIT")
            connection.pgconn.flush()
            die()
        return visit


def wrap_postgresql(killer: Killer) -> None:
    """Wrap both kinds of connections."""
    statements = Statements(killer)
    _wrap_async_cursor(killer, statements)
    _wrap_cursor(killer, statements)
    _wrap_end(killer, statements, psycopg.AsyncTransaction, "__aexit__", lambda each: each.connection)
    _wrap_end(killer, statements, psycopg.AsyncConnection, "commit", lambda each: each)
    _wrap_end(killer, statements, psycopg.Transaction, "__exit__", lambda each: each.connection)
    _wrap_end(killer, statements, psycopg.Connection, "commit", lambda each: each)


def _wrap_async_cursor(killer: Killer, statements: Statements) -> None:
    execute, copy = psycopg.AsyncCursor.execute, psycopg.AsyncCursor.copy

    async def executed(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        visit = statements.begins(self, query, sys._getframe(1))
        try:
            return await execute(self, query, *args, **options)
        finally:
            killer.at(visit, AFTER)

    @asynccontextmanager
    async def copied(self: Any, statement: Any, *args: Any, **options: Any) -> AsyncIterator[Any]:
        visit = statements.begins(self, statement, sys._getframe(1))
        try:
            async with copy(self, statement, *args, **options) as stream:
                yield stream
        finally:
            killer.at(visit, AFTER)

    psycopg.AsyncCursor.execute = executed  # type: ignore[method-assign]
    psycopg.AsyncCursor.copy = copied  # type: ignore[method-assign]


def _wrap_cursor(killer: Killer, statements: Statements) -> None:
    execute, copy = psycopg.Cursor.execute, psycopg.Cursor.copy

    def executed(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        visit = statements.begins(self, query, sys._getframe(1))
        try:
            return execute(self, query, *args, **options)
        finally:
            killer.at(visit, AFTER)

    @contextmanager
    def copied(self: Any, statement: Any, *args: Any, **options: Any) -> Iterator[Any]:
        visit = statements.begins(self, statement, sys._getframe(1))
        try:
            with copy(self, statement, *args, **options) as stream:
                yield stream
        finally:
            killer.at(visit, AFTER)

    psycopg.Cursor.execute = executed  # type: ignore[method-assign]
    psycopg.Cursor.copy = copied  # type: ignore[method-assign]


def _wrap_end(
    killer: Killer, statements: Statements, owner: Any, name: str, connection_of: Callable[[Any], Any]
) -> None:
    end = getattr(owner, name)

    async def ended(self: Any, *args: Any) -> Any:
        visit = statements.ends(self, connection_of(self), args[0] if args else None, sys._getframe(1))
        try:
            return await end(self, *args)
        finally:
            killer.at(visit, AFTER)

    def ended_now(self: Any, *args: Any) -> Any:
        visit = statements.ends(self, connection_of(self), args[0] if args else None, sys._getframe(1))
        try:
            return end(self, *args)
        finally:
            killer.at(visit, AFTER)

    setattr(owner, name, ended if owner.__name__.startswith("Async") else ended_now)


def _statement(query: Any, connection: Any) -> str | None:
    """Return what a statement changes, in two or three words; None where it only looks."""
    text = query.as_string(connection) if isinstance(query, sql.Composable) else query
    text = (text.decode() if isinstance(text, bytes) else str(text)).strip()
    if function := CHANGING_FUNCTIONS.search(text):
        if LOOKS.match(text):
            return f"SELECT {function[1]}"
    elif not text or LOOKS.match(text) or OWN_SESSION.match(text):
        return None
    if text.count(";") > 1:
        return "file of statements"
    words = MONTH.sub("_MONTH", text.replace('"public".', "").replace('"', "")).split()
    verb = words[0].upper()
    if verb == "ALTER":
        return f"ALTER TABLE {words[3].upper()}"
    if verb in {"DROP", "CREATE"}:
        return f"{verb} TABLE"
    target = words[2] if verb in {"INSERT", "DELETE"} else words[1]
    return f"{verb} {target.partition('(')[0]}"
