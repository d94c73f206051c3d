"""The dynamic configuration between Redis, which holds it, and PostgreSQL, which remembers who changed it."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError, WatchError

from mutt import keys
from mutt.dynamic_keys import ALL, DynamicKey, Value
from mutt.fallbacks import fallback
from mutt.locks import MUTT, Lock
from services.logging_utils import get_logger
from services.web_ui.context import Context
from services.web_ui.queries import Change, Queries
from services.web_ui.rows import digest

TABLE = "dynamic_config"
EXTERNAL = "external"
STATUS_LOOKS, STATUS_PAUSE, STATUS_PATIENCE = 20, 0.1, 2.0  # how long to ask what became of a commit, in seconds
READS_OFF = "DYNAMIC_CONFIG_ENABLED is false here: services that run so do not read this value"

# One change at a time, whatever instance makes it: old values are read and restored under this lock.
_LOCK = sql.SQL("SELECT pg_advisory_xact_lock({}, {})").format(MUTT, Lock.CONFIGURATION)
_STATUS = sql.SQL("SELECT pg_xact_status(%s::xid8) AS status")
_LAST_RECORDED = sql.SQL(
    "SELECT DISTINCT ON (record_id) record_id, new_values->>'value' AS value FROM config_audit_log"
    " WHERE table_name = %s ORDER BY record_id, id DESC"
)

log = get_logger(__name__)


class StoredConfig:
    """Reads and changes the dynamic keys."""

    def __init__(self, parts: Context) -> None:
        self._parts = parts
        self._redis = parts.redis

    async def show(self, *wanted: DynamicKey) -> list[dict[str, Any]]:
        """Return keys with what is stored, what takes effect, and what is possible."""
        stored = await self._read([key.name for key in wanted])
        return [self._shown(key, stored[key.name]) for key in wanted]

    async def replace(
        self, key: DynamicKey, text: str | None, change: Change, check: Callable[[dict[str, Any]], None] | None = None
    ) -> bool:
        """Set a key, or delete it where `text` is None; returns False when that changes nothing.

        `check` is given the key as show() tells it, while nobody else changes it, and raises where it is not as wanted.
        The record is written first and committed last; when the commit fails the old value is put back. Of a commit
        whose reply was lost, PostgreSQL is asked whether it took place.
        """
        touched: tuple[str | None, str] | None = None
        try:
            async with self._parts.database() as queries:
                await queries.connection.execute(_LOCK)
                old = (await self._read([key.name]))[key.name]
                if check is not None:
                    check(self._shown(key, old))
                if old == text:
                    return False
                operation = "DELETE" if text is None else "CREATE" if old is None else "UPDATE"
                await queries.record(TABLE, operation, key.name, change, old=_values(old), new=_values(text))
                touched = (old, await queries.transaction_id())
                async with self._redis.pipeline() as commands:
                    _write(commands, key.name, text)
                    await commands.execute()
        except BaseException as error:
            if touched is None:
                raise
            if isinstance(error, psycopg.OperationalError) and await self._is_committed(touched[1]):
                return True
            await self._restore(key.name, touched[0], text)
            raise
        return True

    async def record_external(self, correlation_id: str) -> None:
        """Record what somebody changed in Redis directly since the last record; without PostgreSQL, later."""
        change = Change(EXTERNAL, "found in Redis, not set by way of MUTT, or its commit failed", correlation_id)
        try:
            async with self._parts.database() as queries:
                if not await self._differences(queries):
                    return
                await queries.connection.execute(_LOCK)
                for name, (old, new) in (await self._differences(queries)).items():
                    operation = "DELETE" if new is None else "CREATE" if old is None else "UPDATE"
                    await queries.record(TABLE, operation, name, change, old=_values(old), new=_values(new))
        except psycopg.Error as error:
            log.warning("changes made directly in Redis could not be recorded yet", error=str(error).strip())

    async def _differences(self, queries: Queries) -> dict[str, tuple[str | None, str | None]]:
        recorded = {row["record_id"]: row["value"] for row in await queries.fetch("select", _LAST_RECORDED, (TABLE,))}
        stored = await self._read(list(ALL))
        return {name: (recorded.get(name), value) for name, value in stored.items() if value != recorded.get(name)}

    async def _read(self, names: list[str]) -> dict[str, str | None]:
        raw: list[Any] = await self._redis.mget([keys.config(name) for name in names])
        return {name: None if value is None else _text(value) for name, value in zip(names, raw, strict=True)}

    async def _is_committed(self, transaction: str) -> bool:
        """Ask PostgreSQL what became of a transaction; False where it cannot tell."""
        status = None
        try:
            for _ in range(STATUS_LOOKS):
                async with self._parts.database(STATUS_PATIENCE) as queries:
                    status = (await queries.fetch("select", _STATUS, (transaction,)))[0]["status"]
                if status != "in progress":  # as it is while the process of the lost connection has not ended
                    break
                await asyncio.sleep(STATUS_PAUSE)
        except psycopg.Error as error:
            log.warning("whether a change was committed is not known, its old value is put back", error=str(error))
        return bool(status == "committed")

    async def _restore(self, name: str, old: str | None, new: str | None) -> None:
        """Put the old value back, unless another one has been set since: the lock went with the connection."""
        try:
            async with self._redis.pipeline() as commands:
                await commands.watch(keys.config(name))
                if await commands.get(keys.config(name)) == (None if new is None else new.encode()):
                    commands.multi()  # type: ignore[no-untyped-call]
                    _write(commands, name, old)
                    await commands.execute()
        except WatchError:
            log.warning("a change was not committed, and another value has been set since", key=name)
        except (RedisError, OSError) as error:
            log.critical(
                "a change was not committed and its old value could not be put back",
                key=name,
                old=old,
                error=str(error),
            )

    def _shown(self, key: DynamicKey, text: str | None) -> dict[str, Any]:
        enabled = self._parts.settings.dynamic_config_enabled
        value: Value | None = None
        warning = None if enabled else READS_OFF
        effective, source = fallback(key, self._parts.environ)
        if text is not None:
            try:
                value = key.parse(text)
            except ValueError as error:
                value = text
                warning = f"services refuse the stored value and keep the last good one that they saw: {error}"
            else:
                effective, source = (value, "redis") if enabled else (effective, source)
        return {
            "key": key.name,
            "type": key.kind.__name__,
            "value": value,
            "effective": effective,
            "source": source,
            "default": key.default,
            "low": key.low,
            "high": key.high,
            "choices": list(key.choices),
            "purpose": key.purpose,
            "variable": key.variable,
            "warning": warning,
            "version": digest(text),
        }


def _write(commands: Pipeline, name: str, text: str | None) -> None:
    if text is None:
        commands.delete(keys.config(name))
    else:
        commands.set(keys.config(name), text)
    commands.publish(keys.CONFIG_UPDATES, name)


def _values(text: str | None) -> dict[str, Any] | None:
    return None if text is None else {"value": text}


def _text(value: bytes) -> str:
    # PostgreSQL stores no NUL, and whoever uses redis-cli may write anything.
    return value.decode("utf-8", "replace").replace("\0", "\ufffd")
