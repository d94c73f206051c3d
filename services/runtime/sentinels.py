"""Where the primary is, as the sentinels know it: asked for each new connection, and watched for the open ones."""

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from mutt.server_settings import RedisSettings
from mutt.tls_faults import Server, explain
from services.logging_utils import get_logger
from services.runtime.secrets import SecretSource

PASSWORD = "REDIS_SENTINEL_PASS"  # noqa: S105  (its name)
PATIENCE = 1.0  # seconds for one sentinel: where it is silent the next one is asked
FRESH_SECONDS = 0.25  # for which an answer serves all the connections that are made anew together
WATCH_SECONDS = 1.0
LEFT_SECONDS = 30.0  # without any other server after a move: a predecessor that lives is made a replica in some ten

Address = tuple[str, int]

log = get_logger(__name__)


class NoPrimaryError(RedisConnectionError):
    """No sentinel knows a primary that is up."""


class Primary:
    """Finds the primary that `REDIS_SENTINEL_MASTER` names; `address` is where it was found last."""

    def __init__(self, settings: RedisSettings, secrets: SecretSource) -> None:
        self._settings = settings
        self._sentinels = settings.sentinel_addresses
        self._options: dict[str, Any] = {
            "socket_timeout": PATIENCE,
            "socket_connect_timeout": PATIENCE,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "credential_provider": _Password(secrets) if secrets.get(PASSWORD) else None,
        }
        if settings.tls_enabled:
            self._options |= {
                "ssl": True,
                "ssl_cert_reqs": ssl.CERT_REQUIRED,
                "ssl_check_hostname": True,
                "ssl_ca_certs": settings.ca_cert_path,
            }
        self._asking: asyncio.Task[Address] | None = None
        self._found_at = float("-inf")
        self.address: Address | None = None
        self._moved_to: Address | None = None
        self._moved_at = float("-inf")

    async def find(self) -> Address:
        """Return the primary's address; raises NoPrimaryError.

        All who want to know at one time share one answer, also that there is none: where sentinels are silent each
        asking takes seconds, and one behind the other those would be minutes for the last.
        """
        is_fresh = time.monotonic() - self._found_at <= FRESH_SECONDS
        if self.address is not None and is_fresh and not self.has_left(self.address):
            return self.address
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._look(), name="sentinels")
            self._asking.add_done_callback(_heard)  # who asked may have given up by then
        return await asyncio.shield(self._asking)

    def has_left(self, address: Address) -> bool:
        """Tell whether the primary was seen to move, a short while ago, to another address than this one."""
        is_other = self._moved_to is not None and address != self._moved_to
        return is_other and time.monotonic() - self._moved_at < LEFT_SECONDS

    async def watch(self, is_primary: Callable[[Address], Awaitable[bool]]) -> None:
        """Look each second, until cancelled, whether the primary has moved."""
        async with self.sentinels() as sentinels:
            while True:
                await self.look(sentinels, is_primary)
                await asyncio.sleep(WATCH_SECONDS)

    @asynccontextmanager
    async def sentinels(self) -> AsyncIterator[list[Redis]]:
        """Yield a client for each sentinel, whose connection stays open."""
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(Redis(host=host, port=port, **self._options))
                for host, port in self._settings.sentinel_addresses
            ]

    async def look(self, sentinels: Sequence[Redis], is_primary: Callable[[Address], Awaitable[bool]]) -> None:
        """Note where the primary is when most of all sentinels name the same server, and that one says so as well.

        A sentinel that is wrong, or two of three that are silent, thus cost no connection that is good.
        """
        named = await self.most(sentinels)
        if named is not None and named != self._moved_to and await is_primary(named):
            self._moved_to, self._moved_at = named, time.monotonic()

    async def most(self, sentinels: Sequence[Redis]) -> Address | None:
        """Return the address that more than half of the sentinels name."""
        votes = Counter(await asyncio.gather(*(self._named(sentinel) for sentinel in sentinels)))
        return next((address for address, count in votes.items() if count * 2 > len(sentinels)), None)

    async def replicas(self) -> int:
        """Return how many replicas the sentinels know, also of those that are away; raises NoPrimaryError."""
        counts, faults = [], []
        for host, port in self._settings.sentinel_addresses:
            try:
                async with Redis(host=host, port=port, **self._options) as client:
                    # The one that knows most: any of them may lead the next fail-over.
                    counts.append(len(await client.sentinel_slaves(self._settings.sentinel_master)))
            except RedisError as error:
                faults.append(f"{host}:{port}: {error}")
        if not counts:
            raise NoPrimaryError(f"no sentinel of REDIS_SENTINELS tells its replicas: {'; '.join(faults)}")
        return max(counts)

    async def _named(self, sentinel: Redis) -> Address | None:
        try:
            # In a fail-over this is the promoted replica, while the state of the primary is the old one's for longer.
            found: Any = await sentinel.sentinel_get_master_addr_by_name(self._settings.sentinel_master)
        except (RedisError, OSError):
            return None
        return (found[0].decode(), found[1]) if found else None

    async def _look(self) -> Address:
        found = await self._ask_all()
        if self.address not in {None, found}:
            log.warning("the primary of Redis has moved", to=found, was=self.address)
        self.address, self._found_at = found, time.monotonic()
        return found

    async def _ask_all(self) -> Address:
        faults = []
        for sentinel in list(self._sentinels):
            try:
                state = await self._ask(*sentinel)
            except RedisError as error:
                at = f"{sentinel[0]}:{sentinel[1]}"
                server = Server(
                    "the sentinel", at, "REDIS_SENTINELS", "REDIS_CA_CERT_PATH", without="REDIS_TLS_ENABLED=false"
                )
                faults.append(explain(str(error), server) or f"{at}: {error}")
                continue
            if state is None:
                faults.append(f"{sentinel[0]}:{sentinel[1]} does not know it")
            elif not state["is_master"] or state["is_sdown"] or state["is_odown"]:
                faults.append(f"{sentinel[0]}:{sentinel[1]} holds it for down")
            elif self.has_left((str(state["ip"]), int(state["port"]))):
                faults.append(f"{sentinel[0]}:{sentinel[1]} names another one than most")
            else:
                # Whoever knew it is asked first the next time.
                self._sentinels = [sentinel, *(each for each in self._sentinels if each != sentinel)]
                return str(state["ip"]), int(state["port"])
        raise NoPrimaryError(
            f"no sentinel of REDIS_SENTINELS knows a primary {self._settings.sentinel_master!r} "
            f"(REDIS_SENTINEL_MASTER) that is up: {'; '.join(faults)}"
        )

    async def _ask(self, host: str, port: int) -> dict[str, Any] | None:
        # Asked so rarely that a connection kept open would mostly be a stale one.
        async with Redis(host=host, port=port, **self._options) as client:
            known: Any = await client.sentinel_masters()
        state: dict[str, Any] | None = known.get(self._settings.sentinel_master)
        return state


def _heard(asking: asyncio.Task[Address]) -> None:
    if not asking.cancelled():
        asking.exception()


class _Password(CredentialProvider):
    """The sentinels' own password, as the secrets hold it now."""

    def __init__(self, secrets: SecretSource) -> None:
        self._secrets = secrets

    def get_credentials(self) -> tuple[str]:
        return (self._secrets.get(PASSWORD) or "",)

    async def get_credentials_async(self) -> tuple[str]:
        return self.get_credentials()
