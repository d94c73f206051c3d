"""One connection to Redis for one caller: scripts with many arguments, and WAIT on the connection that wrote."""

from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError

from mutt.server_settings import RedisSettings
from services.ingestor.wire import Wire
from services.protocol.script import Script

_pack_fast: Callable[[tuple[Any, ...]], bytes] | None
try:
    from hiredis import pack_command as _pack_fast
except ImportError:  # its wheel does not run on every processor
    _pack_fast = None

FEW = 256  # arguments: for few hiredis takes a fifth of the client's time, for thousands it copies too often
WAIT_SHARE = 0.8  # of the timeout of a reply: what WAIT may use of it


class Line:
    """Taken from the client's pool at the first call, and again after each failure; not for two calls at once.

    The pool connects, proves who it is and finds the primary; from then on the connection is spoken to without the
    client, whose streams and tasks cost several times what the rest of a push does.
    """

    def __init__(self, redis: Redis, settings: RedisSettings, demand: Callable[[], int]) -> None:
        self._pool: Any = redis.connection_pool  # (the client types its pool's methods in part)
        self._settings = settings
        self._demand = demand  # the replicas that a push waits for; raises RedisError where it would not be kept
        self._connection: Any = None
        self._wire: Wire | None = None

    async def call(self, script: Script, names: Sequence[str], arguments: Sequence[Any]) -> list[int]:
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
            if self._wire is not None:
                self._wire.end()
            connection, self._connection, self._wire = self._connection, None, None
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    async def _run(
        self, command: str, script: str | bytes, names: Sequence[str], arguments: Sequence[Any]
    ) -> list[int]:
        replicas = self._demand()
        wire = await self._ready()
        data = self._pack(command, script, len(names), *names, *arguments)
        if replicas:
            data += self._pack("WAIT", replicas, int(self._settings.timeout * WAIT_SHARE * 1000))
        try:
            wire.send(data, 2 if replicas else 1)
            replies = await wire.replies(self._settings.timeout)
            self._require_primary()
        except BaseException:
            # What of the command has reached Redis is unknown, and so is which reply would come next.
            await self.drop()
            raise
        errors = [reply for reply in replies if isinstance(reply, RedisError)]
        if errors:
            # The primary has moved, or reads its data, or knows this connection no longer: the next call takes another.
            if any(isinstance(error, ReadOnlyError | RedisConnectionError) for error in errors):
                await self.drop()
            # Not out of this frame's names: the error holds the frame, and with it the push until garbage is collected.
            replies.clear()
            raise errors.pop(0)
        if replicas and replies[1] < replicas:
            raise RedisError(f"{replies[1]} of {replicas} replicas have the push in time")
        return list(replies[0])

    def _require_primary(self) -> None:
        if self._connection.is_left:
            raise RedisConnectionError("this Redis is no longer the primary: its reply does not count")

    async def _ready(self) -> Wire:
        if self._wire is not None and (self._wire.is_lost or self._connection.is_left):
            await self.drop()
        if self._wire is None:
            self._connection = connection = await self._pool.get_connection()
            self._wire = Wire(*connection.take_over())
        return self._wire

    def _pack(self, *arguments: Any) -> bytes:
        if _pack_fast is not None and len(arguments) <= FEW:
            return _pack_fast(arguments)
        return b"".join(self._connection.pack_command(*arguments))
