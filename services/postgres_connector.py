"""The way to PostgreSQL: a bounded pool whose every wait ends, and passwords that may rotate under load."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection, OperationalError
from psycopg.errors import InvalidPassword
from psycopg_pool import AsyncConnectionPool

from mutt.settings import DatabaseSettings
from services.runtime.secrets import SecretSource

CONNECT_TIMEOUT = 5  # seconds
POOL_WAIT = 5.0  # seconds a caller waits for a connection
STATEMENT_TIMEOUT_MS = 30_000
# A peer that vanished is noticed after about 5 + 3 x 5 seconds instead of the system's two hours.
KEEPALIVE = {"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}

Pool = AsyncConnectionPool[AsyncConnection[Any]]


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
        "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC -c client_encoding=UTF8",
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


async def is_connected(pool: Pool) -> bool:
    """Tell whether PostgreSQL answers a query; the caller bounds the wait."""
    async with pool.connection() as connection:
        await connection.execute("SELECT 1")
    return True


def _is_password_refused(error: OperationalError) -> bool:
    # libpq reports a failed authentication without an SQLSTATE, in the server's own words.
    return isinstance(error, InvalidPassword) or "authentication failed" in str(error)
