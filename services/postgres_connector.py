"""The way to PostgreSQL: a bounded pool whose every wait ends, and passwords that may rotate under load."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar

import psycopg
from psycopg import AsyncConnection, OperationalError
from psycopg.errors import InvalidPassword, ReadOnlySqlTransaction
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from mutt.errors import SettingsError, UntrustedServerError
from mutt.server_settings import DatabaseSettings
from mutt.tls_faults import Server, explain
from services.runtime.certificates import handshake
from services.runtime.passwords import RotatingPassword
from services.runtime.secrets import SecretSource
from services.runtime.trust import authorities, lend_system_store

CA_VARIABLE = "DB_TLS_CA_CERT_PATH"
CONNECT_TIMEOUT = 5  # seconds
POOL_WAIT = 5.0  # seconds a caller waits for a connection
CLOSE_SECONDS = 1.0  # that the end waits for connections being made
STATEMENT_TIMEOUT_MS = 30_000
# A client that stalled inside a transaction holds the keys that it wrote, and every writer of the same events waits.
IDLE_TRANSACTION_MS = 10_000
PATIENCE = 40.0  # seconds for all that is done with a borrowed connection
PROBE_WAIT = 0.35  # seconds; twice this is within what a health check may take
# A peer that vanished is noticed after about 5 + 3 x 5 seconds instead of the system's two hours.
KEEPALIVE = {"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}

# What PostgreSQL says of a login whose password may well be right.
OTHER_REFUSALS = (
    *("does not exist", "too many", "slots are reserved", "permission denied", "starting up", "shutting down"),
    *("recovery", "unexpectedly", "timeout"),
)

Pool = AsyncConnectionPool[AsyncConnection[Any]]

# A task that nobody holds may be collected before it is done.
_returning: set["asyncio.Task[None]"] = set()


def connection_options(settings: DatabaseSettings, secrets: SecretSource) -> dict[str, Any]:
    """Return libpq's parameters; with TLS the server's certificate and host name are always verified.

    Raises SettingsError when the file of the certificate authority is of no use.
    """
    if settings.tls_enabled:
        authorities(settings.tls_ca_cert_path, CA_VARIABLE)
        if not settings.tls_ca_cert_path:
            lend_system_store()
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


class UntrustedPostgresError(UntrustedServerError, OperationalError):
    """The same for those who know only the client's errors."""


class _Watched(AsyncConnection[Any]):
    """A connection whose class keeps why the last one was not made, None where it was: pools tell nobody."""

    problem: ClassVar[str | None] = None


@asynccontextmanager
async def open_pool(settings: DatabaseSettings, secrets: SecretSource) -> AsyncIterator[Pool]:
    """Open a pool that does not wait for its first connection: PostgreSQL may be away when a service starts."""
    passwords = RotatingPassword(secrets, "DB_PASS")

    class RotatingConnection(_Watched):
        """A connection that tries every password that may hold before it fails, and says what a certificate lacks."""

        @classmethod
        async def connect(cls, conninfo: str = "", **options: Any) -> "RotatingConnection":
            refused = set[str]()
            while True:
                password = passwords.now()
                try:
                    made = await super().connect(conninfo, **options | {"password": password or None})
                except OperationalError as error:
                    refused.add(password)
                    if not is_password_refused(error):
                        untrusted = await _tls_problem(settings, str(error))
                        cls.problem = untrusted or _refusal(error)
                        if untrusted is None:
                            raise
                        raise UntrustedPostgresError(untrusted) from error
                    if not await passwords.turn(refused):
                        # Its words too: in another language than English they may tell of something else.
                        cls.problem = (
                            f"PostgreSQL refuses the password of {settings.user}: make DB_PASS_CURRENT or DB_PASS_NEXT"
                            f" the one that the server has ({_words(error) or 'it says nothing'})"
                        )
                        raise
                else:
                    cls.problem = None
                    return made

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
        await pool.close(CLOSE_SECONDS)


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
    except BaseException as error:
        if isinstance(error, ReadOnlySqlTransaction) or isinstance(error.__cause__, ReadOnlySqlTransaction):
            # A primary that was demoted keeps its clients: only who connects anew finds its successor.
            await connection.close()
        raise
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


def problem(pool: Pool) -> str | None:
    """Return in words why the last connection failed, where a person has to see to it."""
    return pool.connection_class.problem if issubclass(pool.connection_class, _Watched) else None


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
    try:
        done, _ = await asyncio.wait({lending}, timeout=wait)
    except asyncio.CancelledError:
        _leave(pool, lending)
        raise
    if done:
        return lending.result()
    _leave(pool, lending)
    raise PoolTimeout(f"no connection that answers after {wait:g} s")


def _leave(pool: Pool, lending: "asyncio.Task[AsyncConnection[Any]]") -> None:
    returning = asyncio.create_task(_give_back(pool, lending))
    _returning.add(returning)
    returning.add_done_callback(_returning.discard)


async def _give_back(pool: Pool, lending: "asyncio.Task[AsyncConnection[Any]]") -> None:
    with suppress(psycopg.Error):
        await pool.putconn(await lending)


def _hang_up(connection: AsyncConnection[Any]) -> None:
    # libpq then reads the end of the stream, as if the server had gone.
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def is_password_refused(error: OperationalError) -> bool:
    """Tell whether the server refused the password.

    libpq gives no SQLSTATE for a connection that failed, and a server may speak any language (lc_messages): what came
    after the password was asked for and says nothing else that is known is taken for a refusal.
    """
    text = str(error)
    if isinstance(error, InvalidPassword) or "authentication failed" in text:
        return True
    asked = error.pgconn is not None and error.pgconn.used_password
    return bool(asked) and not any(words in text for words in OTHER_REFUSALS)


def _refusal(error: OperationalError) -> str | None:
    """Return what the server said when it let nobody in; None where it was not heard at all."""
    words = _words(error)
    return f"PostgreSQL lets nobody in: {words}" if words else None


def _words(error: OperationalError) -> str:
    words = str(error).partition("FATAL:")[2].strip()
    return words.splitlines()[0] if words else ""


async def _tls_problem(settings: DatabaseSettings, error: str) -> str | None:
    """Return in words why the server's certificate is refused, None where that is not what failed."""
    server = Server(
        "PostgreSQL", f"{settings.host}:{settings.port}", "DB_HOST", CA_VARIABLE, without="DB_TLS_ENABLED=false"
    )
    problem = explain(error, server)
    if not settings.tls_enabled or problem is None:
        return None
    # libpq does not tell what is wrong with a certificate, OpenSSL does.
    try:
        await handshake(
            (settings.host, settings.port), authorities(settings.tls_ca_cert_path, CA_VARIABLE), postgres=True
        )
    except (OSError, ValueError) as found:
        return explain(str(found), server) or problem
    except SettingsError as found:
        return str(found)
    return problem
