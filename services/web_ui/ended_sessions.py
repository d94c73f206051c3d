"""Sessions that were signed out, known to every instance through Redis until they would have ended by themselves."""

import asyncio
import time

from redis.asyncio import Redis
from redis.exceptions import RedisError

from mutt import keys
from services.logging_utils import get_logger

WAIT = 0.5  # seconds for Redis, in front of every page
PAUSE = 5.0  # seconds in which nobody asks a Redis that did not answer
MOST = 10_000  # sessions that one instance remembers by itself

log = get_logger(__name__)


class EndedSessions:
    """Tells whether a session was signed out.

    While Redis does not answer, each instance knows of those that were signed out at itself; it tells Redis of them as
    soon as that answers again.
    """

    def __init__(self, redis: Redis, seconds: int) -> None:
        self._redis = redis
        self._seconds = seconds
        self._own: dict[str, float] = {}
        self._untold: set[str] = set()
        self._silent_until = 0.0

    async def add(self, name: str) -> None:
        """Remember a session as ended, here at once."""
        now = time.monotonic()
        self._own = {each: until for each, until in self._own.items() if until > now}
        if len(self._own) >= MOST:
            self._own.pop(next(iter(self._own)))
        self._untold &= self._own.keys()
        self._own[name] = now + self._seconds
        self._untold.add(name)
        await self._ask(name)

    async def has(self, name: str) -> bool:
        """Tell whether a session was ended here or, as far as Redis answers, at another instance."""
        if name in self._own:
            return True
        return time.monotonic() >= self._silent_until and await self._ask(name)

    async def _ask(self, name: str) -> bool:
        try:
            async with asyncio.timeout(WAIT):
                for each in list(self._untold):
                    await self._redis.set(keys.ended_session(each), b"1", ex=self._seconds)
                    self._untold.discard(each)
                return bool(await self._redis.exists(keys.ended_session(name)))
        except (RedisError, OSError, TimeoutError) as error:
            self._silent_until = time.monotonic() + PAUSE
            log.warning("which sessions were ended elsewhere is not known", error=f"{type(error).__name__}: {error}")
            return False
