"""The way to Redis: raw bytes, no silent retries, a bounded pool, passwords that may rotate under load."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from secrets import token_hex
from typing import Any

from redis.asyncio import Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from mutt import keys
from mutt.errors import MisconfiguredError, UntrustedServerError
from mutt.server_settings import SENTINEL, RedisSettings
from mutt.tls_faults import NO_TLS, Server, explain
from services.logging_utils import get_logger
from services.redis_packing import MANY, pack
from services.redis_pool import Pool
from services.runtime.passwords import RotatingPassword
from services.runtime.secrets import SecretSource
from services.runtime.sentinels import NoPrimaryError, Primary
from services.runtime.trust import authorities

CA_VARIABLE = "REDIS_CA_CERT_PATH"
POOL_WAIT = 2.0  # seconds a caller waits for a free connection
CLOSE_SECONDS = 1.0
MIN_VERSION = (6, 2)
# A peer whose machine vanished is noticed after about 5 + 3 x 5 seconds, where the system knows these options.
KEEPALIVE = {
    getattr(socket, name): value
    for name, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
}

log = get_logger(__name__)


class RedisPassword(RotatingPassword, CredentialProvider):
    """The rotating password in the form that the client asks for."""

    def __init__(self, secrets: SecretSource) -> None:
        super().__init__(secrets, "REDIS_PASS")

    def get_credentials(self) -> Any:
        """Return what a new connection authenticates with: a password alone, hence the default user, or nothing."""
        password = self.now()
        return (password,) if password else ()

    async def get_credentials_async(self) -> Any:
        """Do the same: nothing here waits."""
        return self.get_credentials()


def connect(
    settings: RedisSettings, secrets: SecretSource, *, blocking_seconds: float = 0, beside: Redis | None = None
) -> Redis:
    """Return a client whose replies are bytes; `blocking_seconds` is the longest blocking call it will make.

    One `beside` another knows of the primary what that one knows. No command is ever repeated by the client: a repeated
    push doubles, a repeated claim orphans. Raises SettingsError when the certificate authority's file is of no use.
    """
    finder = None if beside is None else primary(beside)
    if finder is None and settings.mode == SENTINEL:
        finder = Primary(settings, secrets)
    options: dict[str, Any] = {
        "trouble": _Trouble(),
        "primary": finder,
        "host": settings.host,
        "port": settings.port,
        "credential_provider": RedisPassword(secrets),
        "socket_connect_timeout": settings.timeout,
        "socket_timeout": settings.timeout + blocking_seconds,
        "socket_keepalive": True,
        "socket_keepalive_options": KEEPALIVE,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "client_name": f"mutt-{token_hex(6)}",
        "max_connections": settings.max_connections,
        "timeout": POOL_WAIT,
        "protocol": 2,
        "decode_responses": False,
    }
    kind: type[Connection] = RotatingConnection
    if settings.tls_enabled:
        kind = RotatingTlsConnection
        authorities(settings.ca_cert_path, CA_VARIABLE)
        options |= {
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
            "ssl_check_hostname": True,
            "ssl_ca_certs": settings.ca_cert_path,
        }
    return Redis.from_pool(Pool(connection_class=kind, **options))


async def close(client: Redis) -> None:
    """Close all connections; a server that hangs does not answer a farewell, and is not waited for long."""
    with suppress(RedisError, OSError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await client.aclose()


def address(client: Redis) -> tuple[str, int] | None:
    """Return where the client connects to; None while no sentinel has named a primary."""
    known = client.connection_pool.connection_kwargs
    return known["primary"].address if known["primary"] is not None else (known["host"], known["port"])


def primary(client: Redis) -> Primary | None:
    """Return what asks the sentinels for this client; None where there are none."""
    found: Primary | None = client.connection_pool.connection_kwargs["primary"]
    return found


async def watch_primary(client: Redis) -> None:
    """Follow the sentinels until cancelled, so that no connection stays with a primary that another has replaced."""
    found = primary(client)
    if found is not None:
        await found.watch(partial(_says_it_is_primary, client))


def problem(client: Redis) -> str | None:
    """Return in words why the last connection or write failed, where a person has to see to it."""
    trouble: _Trouble = client.connection_pool.connection_kwargs["trouble"]
    return trouble.words or trouble.refusal


async def _says_it_is_primary(client: Redis, address: tuple[str, int]) -> bool:
    pool = client.connection_pool
    options = {**pool.connection_kwargs, "primary": None, "trouble": _Trouble(), "host": address[0], "port": address[1]}
    connection = pool.connection_class(**options)
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        await connection.send_command("ROLE")
        return bool((await connection.read_response())[0] == b"master")
    except (RedisError, OSError):
        return False
    finally:
        await connection.disconnect(nowait=True)


class UntrustedRedisError(UntrustedServerError, RedisConnectionError):
    """The same for those who know only the client's errors."""


class _Trouble:
    """What a pool's connections share: why the last one could not be made, in `words` for a person, told once."""

    def __init__(self) -> None:
        self.words: str | None = None
        self.refusal: str | None = None  # of the last write that health asked for
        self._looking: asyncio.Task[None] | None = None

    def note(self, words: str | None) -> None:
        """Keep the reason; None when a connection could be made, or failed of something that passes."""
        if words is not None and words != self.words:
            log.warning("Redis cannot be used", problem=words)
        self.words = words

    def look(self, host: str, port: int, words: str | None) -> None:
        """Find out beside whoever waits whether a server answers in the clear, and note `words` if it does."""

        async def look() -> None:
            if await _speaks_plainly(host, port):
                self.note(words)

        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(look())


class _Rotating(Connection):
    """A connection to the primary, wherever that is when it is made; `primary` finds it by the sentinels."""

    def __init__(self, *, primary: Primary | None, trouble: _Trouble, **options: Any) -> None:
        self._primary = primary
        self._trouble = trouble
        super().__init__(**options)

    @property
    def is_left(self) -> bool:
        """Tell whether another primary has replaced this one: it may still take what it will forget."""
        return self._primary is not None and self._primary.has_left((self.host, self.port))

    def take_over(self) -> tuple[asyncio.Transport, Callable[[str], Exception]]:
        """Return the transport of a connection that is made, and what makes errors of the texts of its replies.

        Whoever asks speaks for it until it is disconnected: the client's own methods cannot any more.
        """
        writer: Any = self._writer  # (typed as what can only be written to)
        return writer.transport, self._parser.parse_error

    def pack_command(self, *args: Any) -> list[bytes]:
        if len(args) < MANY:
            return super().pack_command(*args)
        encode: Any = self.encoder.encode  # (not typed)
        return [pack([each if type(each) is bytes else encode(each) for each in args])]

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if self.is_connected and self.is_left:
            await self.disconnect(nowait=True)  # and the command goes over one to the successor
        task: Any = asyncio.current_task()
        cancelled = task.cancelling()
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            # uvloop's word for a connection that closed in between; callers know only the client's errors.
            await self.disconnect(nowait=True)
            raise RedisConnectionError(str(error)) from error
        if task.cancelling() > cancelled:
            # The client sends by `asyncio.wait_for`, which in Python 3.11 swallows a cancellation as the sending ends.
            await self.disconnect(nowait=True)
            raise asyncio.CancelledError

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        try:
            reply = await super().read_response(*arguments, **options)
        except ReadOnlyError:
            # The primary has moved: the next command goes over a new connection, to where it is now.
            await self.disconnect(nowait=True)
            raise
        if self.is_left:
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"{self.host}:{self.port} is no longer the primary: its reply does not count")
        return reply

    async def connect(self) -> None:
        if self.is_connected:  # the pool asks before each command
            writer: Any = self._writer
            if not writer.is_closing():
                self._trouble.note(None)
                return
            # It was reset while it lay in the pool; the client itself notices only those that were ended in order.
            await self.disconnect(nowait=True)
        await super().connect()  # type: ignore[no-untyped-call]

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        try:
            if self._primary is not None and not self.is_connected:
                self.host, self.port = await self._primary.find()
            await self._connect_by_password(check_health, retry_socket_connect)
        except RedisConnectionError as error:
            is_lost = isinstance(error, NoPrimaryError)
            words = str(error) if is_lost else self._explain(str(error))
            self._trouble.note(words)
            if words is None or is_lost:
                raise
            raise UntrustedRedisError(words) from error
        self._trouble.note(None)

    def _explain(self, _error: str) -> str | None:
        return None

    async def _connect_by_password(self, check_health: bool, retry_socket_connect: bool) -> None:
        provider, refused = self.credential_provider, set[str]()
        while True:
            if isinstance(provider, RedisPassword):
                refused.add(provider.now())
            try:
                await super().connect_check_health(check_health, retry_socket_connect)
            except AuthenticationError:
                if not isinstance(provider, RedisPassword) or not await provider.turn(refused):
                    raise
            else:
                return

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        await super().on_connect_check_health(check_health)
        if self._primary is not None:
            await self.send_command("ROLE", check_health=False)
            role = (await self.read_response())[0]
            if role != b"master":
                # For a moment after a fail-over the sentinels do not agree yet.
                raise RedisConnectionError(f"{self.host}:{self.port} is a {role.decode()}, not the primary")


class RotatingConnection(_Rotating):
    """A connection that tries every password that may hold before it fails."""


class RotatingTlsConnection(_Rotating, SSLConnection):
    """The same over TLS; what the server's certificate lacks is said in words."""

    async def _connect(self) -> None:
        try:
            await super()._connect()  # type: ignore[no-untyped-call]
        except (TimeoutError, asyncio.CancelledError):
            self._trouble.look(self.host, self.port, self._explain(NO_TLS))
            raise

    def _explain(self, error: str) -> str | None:
        at = f"{self.host}:{self.port}"
        return explain(error, Server("Redis", at, "REDIS_HOST", CA_VARIABLE, without="REDIS_TLS_ENABLED=false"))


async def _speaks_plainly(host: str, port: int) -> bool:
    """Tell whether a server answers without TLS: it takes a handshake for a command that has not ended yet."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(POOL_WAIT):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"PING\r\n")
                return await reader.read(1) in {b"+", b"-"}
            finally:
                writer.close()
    return False


async def check_server(client: Redis) -> list[str]:
    """Return warnings; raises MisconfiguredError when this Redis must not be used, naming the setting."""
    info = await client.info()
    version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if version < MIN_VERSION:
        raise MisconfiguredError(f"Redis {info['redis_version']} is too old: 6.2 or newer is needed")
    if info.get("cluster_enabled"):
        raise MisconfiguredError("Redis runs as a cluster (cluster-enabled yes): MUTT needs a single primary so far")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise MisconfiguredError(
            f"Redis has maxmemory-policy {policy}, which silently throws events away: set it to noeviction"
        )
    if info.get("aof_enabled"):
        return []
    return ["Redis has appendonly no: a restart of Redis loses what is queued; set appendonly yes"]


async def is_connected(client: Redis) -> bool:
    """Tell whether Redis answers a PING."""
    try:
        await client.ping()
    except (RedisError, OSError, TimeoutError):
        return False
    return True


async def takes_writes(client: Redis) -> bool:
    """Tell whether Redis answers and takes writes; one that is full or read-only answers a PING all the same."""
    trouble: _Trouble = client.connection_pool.connection_kwargs["trouble"]
    trouble.refusal = None
    try:
        # Changes nothing, and is refused wherever a write is.
        await client.setrange(keys.NO_WRITE, 0, "")
    except ResponseError as error:
        trouble.refusal = f"Redis refuses writes: {error}"
    except (RedisError, OSError, TimeoutError):
        pass
    else:
        return True
    return False
