"""Dynamic configuration from Redis: a 5-second cache, told of changes by PubSub, never worse than its last value."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as SilentError

from mutt import keys
from mutt.dynamic_keys import ALL, Value
from services.logging_utils import get_logger

CACHE_SECONDS = 5.0
LISTEN_SECONDS = 1.0
TOPICS = ("rules", "hosts", "teams")

Callback = Callable[[], None]

log = get_logger(__name__)


class DynamicConfig:
    """The dynamic keys as this process sees them.

    `fallbacks` maps a key's name to its environment variable's value: it holds while Redis has no value for the key, or
    while reading is not enabled. Topics (`rules`, `hosts`, `teams`) are announced on the same channel whether or not
    reading is enabled. `problems` maps a key to why its stored value is refused.
    """

    def __init__(self, redis: Redis, *, enabled: bool, fallbacks: Mapping[str, Value] | None = None) -> None:
        self._redis = redis
        self._enabled = enabled
        self._base: dict[str, Value] = {name: key.default for name, key in ALL.items()} | dict(fallbacks or {})
        self._values = dict(self._base)
        self._callbacks: dict[str, list[Callback]] = {}
        self.problems: dict[str, str] = {}

    def integer(self, name: str) -> int:
        """Return a whole-number key's current value."""
        return int(self._values[name])

    def number(self, name: str) -> float:
        """Return a number key's current value."""
        return float(self._values[name])

    def text(self, name: str) -> str:
        """Return a text key's current value."""
        return str(self._values[name])

    def on_change(self, name: str, callback: Callback) -> None:
        """Call `callback` when the key has another value, or the topic was announced."""
        self._callbacks.setdefault(name, []).append(callback)

    async def refresh(self) -> None:
        """Read all keys in one round trip; raises RedisError when Redis does not answer."""
        if not self._enabled:
            return
        stored: list[Any] = await self._redis.mget([keys.config(name) for name in ALL])
        for (name, key), raw in zip(ALL.items(), stored, strict=True):
            if raw is None:
                self.problems.pop(name, None)
                self._set(name, self._base[name])
                continue
            try:
                value = key.parse(raw.decode("utf-8", "replace"))
            except ValueError as error:
                if self.problems.get(name) != str(error):
                    log.warning("a dynamic value is refused, the last good one stays", problem=str(error))
                self.problems[name] = str(error)
            else:
                self.problems.pop(name, None)
                self._set(name, value)

    async def keep_fresh(self) -> None:
        """Read all values every CACHE_SECONDS until cancelled; `listen` runs beside it, as a task of its own."""
        while True:
            with suppress(RedisError, OSError):
                await self.refresh()
            await asyncio.sleep(CACHE_SECONDS)

    async def listen(self) -> None:
        """Follow announcements until cancelled; a connection that is lost, or silent, is made anew."""
        while True:
            with suppress(RedisError, OSError):
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(keys.CONFIG_UPDATES)
                    # What was announced before is unknown, at the first time too: rules may have been read already.
                    await self._announced("*")
                    await self._follow(pubsub)
            await asyncio.sleep(LISTEN_SECONDS * random.uniform(0.5, 1))

    async def _follow(self, pubsub: PubSub) -> None:
        heard, asked = time.monotonic(), False
        while True:
            message = await pubsub.get_message(timeout=LISTEN_SECONDS)
            silence = time.monotonic() - heard
            if message is not None:
                heard, asked = time.monotonic(), False
                if message["type"] == "message":
                    await self._announced(_payload(message))
            elif silence > 2 * CACHE_SECONDS:
                # A server that hangs, and a primary that another has replaced, close no connection.
                raise SilentError(f"no sign of life for {silence:.0f} s")
            elif silence > CACHE_SECONDS and not asked:
                asked = True
                await pubsub.ping()

    async def _announced(self, name: str) -> None:
        for topic in TOPICS:
            if name in (topic, "*"):
                self._tell(topic)
        if name not in TOPICS:
            await self.refresh()

    def _set(self, name: str, value: Value) -> None:
        if self._values[name] != value:
            log.info("a dynamic value changed", key=name, old=self._values[name], new=value)
            self._values[name] = value
            self._tell(name)

    def _tell(self, name: str) -> None:
        for callback in self._callbacks.get(name, ()):
            callback()


def _payload(message: Mapping[str, Any]) -> str:
    data = message["data"]
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else str(data)
