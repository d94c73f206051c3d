"""The pool of connections to Redis: where one is free it is taken and given back without a lock."""

from typing import Any

from redis.asyncio import BlockingConnectionPool


class Pool(BlockingConnectionPool):
    """The client's own pool; its locks and notices are for those who wait, and a third of what a command costs.

    Nothing is awaited between the look for a free connection and its taking, so that nobody comes in between. Only who
    finds none waits in the client's way, and is told in the client's way.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._waiting = 0

    async def get_connection(self, *_command: Any, **_options: Any) -> Any:
        """Return a connection that is ready; raises RedisError."""
        if not self.can_get_connection():
            self._waiting += 1
            try:
                return await super().get_connection()  # type: ignore[no-untyped-call]
            finally:
                self._waiting -= 1
        connection: Any = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: Any) -> None:
        """Take a connection back."""
        if self._waiting or connection.should_reconnect():
            await super().release(connection)
            return
        self._in_use_connections.remove(connection)
        self._available_connections.append(connection)
