"""The way to PostgreSQL: a bounded pool whose every wait ends, and passwords that may rotate under load."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection, OperationalError
from psycopg.errors import InvalidPassword
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from mutt.server_settings import DatabaseSettings
from services.runtime.secrets import SecretSource

CONNECT_TIMEOUT = 5  # seconds
POOL_WAIT = 5.0  # seconds a caller waits for a connection
STATEMENT_TIMEOUT_MS = 30_000
# A client that stalled inside a transaction holds the keys that it wrote, and every writer of the same events waits.
IDLE_TRANSACTION_MS = 10_000
PATIENCE = 40.0  # seconds for all that is done with a borrowed connection
PROBE_WAIT = 0.35  # seconds; twice this is within what a health check may take
# A peer that vanished is noticed after about 5 + 3 x 5 seconds instead of the system's two hours.
KEEPALIVE = {"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}

Pool = AsyncConnectionPool[AsyncConnection[Any]]

# A task that nobody holds may be collected before it is done.
_returning: set["asyncio.Task[None]"] = set()


def connection_options(settings: DatabaseSettings, secrets: SecretSource) -> dict[str, Any]:
    """Return libpq's parameters; with TLS the server's certificate and host name are always verified."""
    return {
        "host": settings.host,
        "port": settings.port,
        "dbname": settings.name,
        "user": settings.user,
        "password": secrets.get("DB_PASS_CURRENT"),
        "connect_timeout": CONNECT_TIMEOUT,
        "sslmode": "verify-full" if settings.tls_enabled else "disable",
        "sslrootcert": (settings.tls_ca_cert_path or "system") if settings.tls_enabled else None,
        "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC -c client_encoding=UTF8"
        f" -c idle_in_transaction_session_timeout={IDLE_TRANSACTION_MS}",
        "application_name": "mutt",
        **KEEPALIVE,
    }


@asynccontextmanager
async def open_pool(settings: DatabaseSettings, secrets: SecretSource) -> AsyncIterator[Pool]:
    """Open a pool that does not wait for its first connection: PostgreSQL may be away when a service starts."""

    class RotatingConnection(AsyncConnection[Any]):
        """A connection that tries DB_PASS_NEXT when DB_PASS_CURRENT is refused, then reads the secrets again."""

        @classmethod
        async def connect(cls, conninfo: str = "", **options: Any) -> "RotatingConnection":
            try:
                return await super().connect(conninfo, **options)
            except OperationalError as refused:
                if not _is_password_refused(refused):
                    raise
                following = secrets.get("DB_PASS_NEXT")
                if following is not None:
                    try:
                        return await super().connect(conninfo, **options | {"password": following})
                    except OperationalError as again:
                        if not _is_password_refused(again):
                            raise
                await secrets.refresh()
                return await super().connect(conninfo, **options | {"password": secrets.get("DB_PASS_CURRENT")})

    pool: Pool = AsyncConnectionPool(
        kwargs=connection_options(settings, secrets),
        connection_class=RotatingConnection,
        min_size=min(settings.pool_min_conn, settings.pool_max_conn),
        max_size=settings.pool_max_conn,
        timeout=POOL_WAIT,
        reconnect_timeout=30,
        check=AsyncConnectionPool.check_connection,
        open=False,
    )
    await pool.open(wait=False)
    try:
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def borrowed(
    pool: Pool, wait: float = POOL_WAIT, patience: float = PATIENCE
) -> AsyncIterator[AsyncConnection[Any]]:
    """Hold a connection for at most `patience` seconds; what is not committed by then or by the end is rolled back.

    A server that hangs answers no cancellation either: no query ends by itself, so the line is hung up. Raises
    PoolTimeout without a connection after `wait` seconds, OperationalError in whatever waits after `patience`.
    """
    connection = await _borrow(pool, wait)
    watchdog = asyncio.get_running_loop().call_later(patience, _hang_up, connection)
    try:
        yield connection
    finally:
        watchdog.cancel()
        await pool.putconn(connection)


@asynccontextmanager
async def transaction(
    pool: Pool, wait: float = POOL_WAIT, patience: float = PATIENCE
) -> AsyncIterator[AsyncConnection[Any]]:
    """Hold a connection as `borrowed` does and a transaction on it, committed at the end."""
    async with borrowed(pool, wait, patience) as connection, connection.transaction():
        yield connection


async def is_connected(pool: Pool) -> bool:
    """Tell, well within a second, whether PostgreSQL answers a query."""
    async with transaction(pool, PROBE_WAIT, PROBE_WAIT) as connection:
        await connection.execute("SELECT 1")
    return True


async def answers_anew(pool: Pool) -> bool:
    """Tell within seconds whether PostgreSQL takes one more connection, though the pool had none to lend."""
    options = {} if pool.kwargs is None or callable(pool.kwargs) else pool.kwargs
    try:
        connection = await pool.connection_class.connect("", **(options | {"connect_timeout": 2}))
    except psycopg.Error:
        return False
    await connection.close()
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
    # libpq then reads the end of the stream, as if the server had gone.
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def _is_password_refused(error: OperationalError) -> bool:
    # libpq reports a failed authentication without an SQLSTATE, in the server's own words.
    return isinstance(error, InvalidPassword) or "authentication failed" in str(error)
