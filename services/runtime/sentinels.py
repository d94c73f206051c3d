"""Where the primary is, as the sentinels know it: asked for each new connection, since a fail-over moves it."""

import asyncio
import ssl
import time
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
        self._asking: asyncio.Task[tuple[str, int]] | None = None
        self._found_at = float("-inf")
        self.address: tuple[str, int] | None = None

    async def find(self) -> tuple[str, int]:
        """Return the primary's address; raises NoPrimaryError.

        All who want to know at one time share one answer, also that there is none: where sentinels are silent each
        asking takes seconds, and one behind the other those would be minutes for the last.
        """
        if self.address is not None and time.monotonic() - self._found_at <= FRESH_SECONDS:
            return self.address
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._look(), name="sentinels")
            self._asking.add_done_callback(_heard)  # who asked may have given up by then
        return await asyncio.shield(self._asking)

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

    async def _look(self) -> tuple[str, int]:
        found = await self._ask_all()
        if self.address not in {None, found}:
            log.warning("the primary of Redis has moved", to=found, was=self.address)
        self.address, self._found_at = found, time.monotonic()
        return found

    async def _ask_all(self) -> tuple[str, int]:
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


def _heard(asking: asyncio.Task[tuple[str, int]]) -> None:
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
