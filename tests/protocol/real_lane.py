"""The alerter's lane with real workers on a real Redis, for tests of the protocol alone."""

from collections.abc import Awaitable, Callable
from hashlib import sha1
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from mutt import keys
from services.protocol import script
from services.protocol.janitor import Janitor
from services.protocol.lane import Lane, SideList
from services.protocol.script import Script
from services.protocol.worker import Worker
from services.runtime.health import Health
from services.runtime.instruments import CommonInstruments

TOGETHER = 2  # as the model has it
QUEUE, ALERTS, DEAD = "mutt:ingest_queue", "mutt:alert_queue", "mutt:dlq:alerter"
SERVICE = "alerter"


def new_lane(timeout: float = 3600) -> Lane:
    """Return the lane; its heartbeats end when a test ends them."""
    side = SideList(keys.AUDIT_PROCESSING_PREFIX, keys.AUDIT_PENDING)
    return Lane(SERVICE, QUEUE, "mutt:processing:alerter", "mutt:heartbeat:alerter", 1, timeout, side, TOGETHER)


LANE = new_lane()
NAMES = {Script(path).digest: path.stem for path in Path(script.__file__).parent.glob("lua/*.lua")}


class FaultyRedis(Redis):
    """A client that can lose the reply to one call, or let something happen just before one.

    Calls are named by their script's file ("settle") or their command ("BLMOVE"). What happens before one raises
    TimeoutError for a call that is to end with nothing.
    """

    losing: str | None = None
    before: tuple[str, Callable[[], Awaitable[Any]]] | None = None

    async def execute_command(self, *arguments: Any, **options: Any) -> Any:
        if self.before is not None and _is(self.before[0], arguments):
            meanwhile, self.before = self.before[1], None
            try:
                await meanwhile()
            except TimeoutError:
                return None
        run: Callable[..., Awaitable[Any]] = super().execute_command
        reply = await run(*arguments, **options)
        if self.losing is not None and _is(self.losing, arguments):
            self.losing = None
            raise RedisConnectionError("the reply is lost")
        return reply


def _is(name: str, arguments: tuple[Any, ...]) -> bool:
    match arguments[0]:
        case "EVALSHA":
            return NAMES.get(arguments[1]) == name
        case "EVAL":
            return NAMES.get(sha1(arguments[1], usedforsecurity=False).hexdigest()) == name
        case command:
            return bool(command == name)


def new_worker(client: Redis, pod: str, lane: Lane = LANE) -> Worker:
    """Return a worker that has not started yet."""
    instruments = CommonInstruments(CollectorRegistry())
    return Worker(lane, pod, client, Health(SERVICE, instruments), instruments)


def new_janitor(client: Redis, timeout: float = 0) -> Janitor:
    """Return a janitor; with a timeout it waits for as long after Redis came back."""
    return Janitor(new_lane(timeout), client, CommonInstruments(CollectorRegistry()))


async def listed(client: Redis, key: str) -> list[bytes]:
    """Return a list from Redis."""
    return [item for item in await client.lrange(key, 0, -1) if isinstance(item, bytes)]


def recoveries_of(entry: bytes) -> str:
    """Return the field that counts an entry's recoveries."""
    return sha1(entry, usedforsecurity=False).hexdigest()
