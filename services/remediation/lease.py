"""One remediation at a time: a lease in Redis, refreshed by its holder alone; the others stand by."""

import asyncio
import secrets as random_source

from redis.asyncio import Redis

from mutt import keys
from services import protocol
from services.logging_utils import get_logger
from services.protocol.script import beside
from services.runtime.health import Health

_beat = beside(str(protocol.__file__), "beat")
_release = beside(str(protocol.__file__), "release")
_take = beside(str(protocol.__file__), "take")

log = get_logger(__name__)


class Lease:
    """The right to move dead letters; `token` fences every script, so that a holder too late moves nothing.

    It is another with each time that the lease is taken: what was read under one is not moved under the next.
    """

    def __init__(self, redis: Redis, pod: str, seconds: float, health: Health) -> None:
        self._pod = pod
        self.token = self._new_token()
        self.is_held = False
        self._keeping = asyncio.Lock()
        self._redis = redis
        self._ttl_ms = round(seconds * 1000)
        self._health = health
        self._health.notes["lease"] = "not asked for yet"

    async def keep(self) -> bool:
        """Refresh the lease, or take it where nobody has it; tells whether it is held. Raises RedisError."""
        # One at a time: two that found it absent would take each other for strangers.
        async with self._keeping:
            answer = await _beat(self._redis, [keys.REMEDIATION_LEASE], [self.token, self._ttl_ms])
            if answer == 0:
                self.token = self._new_token()
                answer = 1 if await _take(self._redis, [keys.REMEDIATION_LEASE], [self.token, self._ttl_ms, 1]) else -1
            self._become(held=answer == 1)
            return self.is_held

    def lost(self) -> None:
        """Note that Redis refused the token: another instance may hold the lease."""
        self._become(held=False)

    async def release(self) -> None:
        """Give the lease up at once, for the instance that stands by. Raises RedisError."""
        await _release(self._redis, [keys.REMEDIATION_LEASE], [self.token])

    def _new_token(self) -> str:
        # The name in front tells an operator who holds it.
        return f"{self._pod}:{random_source.token_hex(16)}"

    def _become(self, *, held: bool) -> None:
        words = "held" if held else "standing by: another instance holds it"
        if self._health.notes["lease"] != words:
            log.info("the lease of remediation", lease=words)
        self._health.notes["lease"] = words
        self.is_held = held
