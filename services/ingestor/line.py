"""One connection to Redis for one caller: scripts with many arguments, and WAIT on the connection that wrote."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, RedisError, ResponseError

from mutt.server_settings import RedisSettings
from services.protocol.script import Script

_pack_fast: Callable[[tuple[Any, ...]], bytes] | None
try:
    from hiredis import pack_command as _pack_fast
except ImportError:
    _pack_fast = None

IDLE_SECONDS = 0.5  # after which the connection is looked at before it is used: Redis may have been restarted
WAIT_SHARE = 0.8  # of the timeout of a reply: what WAIT may use of it


class Line:
    """Taken from the client's pool at the first call, and again after each failure; not for two calls at once."""

    def __init__(self, redis: Redis, settings: RedisSettings, demand: Callable[[], int]) -> None:
        self._pool: Any = redis.connection_pool  # (the client types its pool's methods in part)
        self._settings = settings
        self._demand = demand  # the replicas that a push waits for; raises RedisError where it would not be kept
        self._connection: AbstractConnection | None = None
        self._used = 0.0

    async def call(self, script: Script, names: Sequence[str], arguments: Sequence[Any]) -> list[Any]:
        """Run a script, and wait for the replicas that have to hold what it wrote; returns the script's list.

        Raises RedisError or OSError; unless it is a ResponseError, whether the script ran is unknown.
        """
        try:
            return await self._run("EVALSHA", script.digest, names, arguments)
        except NoScriptError:
            # Refused before it ran, so that running it now is no repetition.
            return await self._run("EVAL", script.source, names, arguments)

    async def drop(self) -> None:
        """Close the connection; the next call takes another."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    async def _run(
        self, command: str, script: str | bytes, names: Sequence[str], arguments: Sequence[Any]
    ) -> list[Any]:
        replicas = self._demand()
        connection = await self._ready()
        packed = [_pack(connection, command, script, len(names), *names, *arguments)]
        if replicas:
            packed.append(_pack(connection, "WAIT", replicas, int(self._settings.timeout * WAIT_SHARE * 1000)))
        try:
            replies = await self._converse(connection, packed)
        except BaseException:
            # What of the command has reached Redis is unknown, and so is which reply would come next.
            await self.drop()
            raise
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        if replicas and replies[1] < replicas:
            raise RedisError(f"{replies[1]} of {replicas} replicas have the push in time")
        return list(replies[0])

    async def _ready(self) -> AbstractConnection:
        now = time.monotonic()
        if self._connection is not None and now - self._used > IDLE_SECONDS:
            # The pool connects anew where the other side has gone.
            connection, self._connection = self._connection, None
            await self._pool.release(connection)
        if self._connection is None:
            self._connection = await self._pool.get_connection()
        self._used = now
        return self._connection

    async def _converse(self, connection: AbstractConnection, packed: list[bytes]) -> list[Any]:
        await connection.send_packed_command(packed)
        replies: list[Any] = []
        for _ in packed:
            try:
                replies.append(await connection.read_response())
            except ResponseError as error:
                replies.append(error)  # an answer like any other: the connection is in step
        return replies


def _pack(connection: AbstractConnection, *arguments: Any) -> bytes:
    # hiredis packs a thousand arguments in the time that the client's own loop takes for a few; it is not there on a
    # processor that its wheel does not know.
    if _pack_fast is None:
        return b"".join(connection.pack_command(*arguments))
    return _pack_fast(arguments)
