"""The way to Redis: raw bytes, no silent retries, a bounded pool, passwords that may rotate under load."""

import ssl
from secrets import token_hex
from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from mutt.errors import MisconfiguredError
from mutt.server_settings import RedisSettings
from services.logging_utils import get_logger
from services.runtime.secrets import SecretSource

POOL_WAIT = 2.0  # seconds a caller waits for a free connection
MIN_VERSION = (6, 2)

log = get_logger(__name__)


class RotatingPassword(CredentialProvider):
    """CURRENT until Redis refuses it, then NEXT, then what a fresh read of the secrets brings; shared by a pool."""

    def __init__(self, secrets: SecretSource) -> None:
        self._secrets = secrets
        self._adopted: str | None = None

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return what a new connection authenticates with: a password alone, hence the default user."""
        known = self._known()
        return (self._adopted if self._adopted in known else known[0],)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Do the same: nothing here waits."""
        return self.get_credentials()

    async def turn(self, refused: set[str]) -> bool:
        """Turn to a password that is not among those that one attempt saw refused; False when there is none."""
        if self.get_credentials()[0] not in refused:
            return True  # another connection has turned already
        if not set(self._known()) - refused:
            await self._secrets.refresh()
        left = [password for password in self._known() if password not in refused]
        self._adopted = left[0] if left else None
        return bool(left)

    def _known(self) -> list[str]:
        both = (self._secrets.get("REDIS_PASS_CURRENT"), self._secrets.get("REDIS_PASS_NEXT"))
        return [password for password in both if password] or [""]


def connect(settings: RedisSettings, secrets: SecretSource, *, blocking_seconds: float = 0) -> Redis:
    """Return a client whose replies are bytes; `blocking_seconds` is the longest blocking call it will make.

    No command is ever repeated by the client: a repeated push doubles, a repeated claim orphans.
    """
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "credential_provider": RotatingPassword(secrets) if secrets.get("REDIS_PASS_CURRENT") else None,
        "socket_connect_timeout": settings.timeout,
        "socket_timeout": settings.timeout + blocking_seconds,
        "socket_keepalive": True,
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
        options |= {
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
            "ssl_check_hostname": True,
            "ssl_ca_certs": settings.ca_cert_path,
        }
    return Redis.from_pool(BlockingConnectionPool(connection_class=kind, **options))


class _Rotating(Connection):
    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            # uvloop's word for a connection that closed in between; callers know only the client's errors.
            await self.disconnect(nowait=True)
            raise RedisConnectionError(str(error)) from error

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        provider, refused = self.credential_provider, set[str]()
        while True:
            if isinstance(provider, RotatingPassword):
                refused.add(provider.get_credentials()[0])
            try:
                await super().connect_check_health(check_health, retry_socket_connect)
            except AuthenticationError:
                if not isinstance(provider, RotatingPassword) or not await provider.turn(refused):
                    raise
            else:
                return


class RotatingConnection(_Rotating):
    """A connection that tries every password that may hold before it fails."""


class RotatingTlsConnection(_Rotating, SSLConnection):
    """The same over TLS."""


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
