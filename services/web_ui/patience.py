"""PostgreSQL within a bounded time, also when it hangs instead of refusing: then no query ends by itself."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import PoolTimeout

from services.postgres_connector import Pool

# Seconds: a person waits in front of this service, and 503 after two says more than a page that hangs.
WAIT = 2.0
# Seconds for all statements of a request; the longest search ends by itself before that.
PATIENCE = 8.0
PROBE_WAIT = 0.7


@asynccontextmanager
async def transaction(
    pool: Pool, wait: float = WAIT, patience: float = PATIENCE
) -> AsyncIterator[AsyncConnection[Any]]:
    """Hold a connection and a transaction, committed at the end.

    Raises PoolTimeout without a connection after `wait` seconds, OperationalError in whatever waits after `patience`.
    """
    connection = await _borrow(pool, wait)
    watchdog = asyncio.get_running_loop().call_later(patience, _hang_up, connection)
    try:
        async with connection.transaction():
            yield connection
    finally:
        watchdog.cancel()
        await pool.putconn(connection)


async def answers(pool: Pool) -> bool:
    """Tell, well within a second, whether PostgreSQL answers a query."""
    async with transaction(pool, PROBE_WAIT, PROBE_WAIT) as connection:
        await connection.execute("SELECT 1")
    return True


async def _borrow(pool: Pool, wait: float) -> AsyncConnection[Any]:
    # The pool tries a connection before it lends it, and nothing bounds that trial. Cancelling it would wait for the
    # server as well, so it is left to itself.
    lending = asyncio.create_task(pool.getconn(timeout=wait))
    done, _ = await asyncio.wait({lending}, timeout=wait)
    if done:
        return lending.result()
    returning = asyncio.create_task(_give_back(pool, lending))
    _returning.add(returning)
    returning.add_done_callback(_returning.discard)
    raise PoolTimeout(f"no connection that answers after {wait:g} s")


async def _give_back(pool: Pool, lending: "asyncio.Task[AsyncConnection[Any]]") -> None:
    with suppress(psycopg.Error):
        await pool.putconn(await lending)


def _hang_up(connection: AsyncConnection[Any]) -> None:
    """Make a waiting query fail: libpq reads the end of the stream, as if the server had gone."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


# A task that nobody holds may be collected before it is done.
_returning: set["asyncio.Task[None]"] = set()
