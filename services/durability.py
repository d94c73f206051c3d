"""The durable mode: what Redis has to be so that no crash and no fail-over takes what it has acknowledged."""

from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from mutt.server_settings import RedisSettings
from services import redis_connector
from services.runtime.sentinels import NoPrimaryError


class Found(NamedTuple):
    """What there is of what the settings ask for; `faults` say what is missing, `unseen` what cannot be looked at."""

    replicas: int
    wanted: int
    known: int | None
    faults: list[str]
    unseen: str | None


async def look(client: Redis, settings: RedisSettings, known: int | None = None) -> Found:
    """Compare Redis with REDIS_DURABLE and REDIS_WAIT_REPLICAS; raises RedisError.

    `known` is what the sentinels told the last time of their number: it stays while none answers.
    """
    role: list[Any] = await client.role()
    there = len(role[2]) if role[0] == b"master" else 0
    wanted = settings.wait_replicas
    faults: list[str] = []
    unseen = None
    if settings.durable:
        # WAIT does not tell which replicas have a push: only when all have it, the one that will be promoted has.
        told = await _known_to_sentinels(client)
        known = known if told is None else told
        wanted = max(wanted, there, known or 0)
        if known is None:
            faults.append("no sentinel tells how many replicas there are")
        mode, unseen = await _file_settings(client)
        faults += mode
    if there < wanted:
        faults.append(f"{there} of {wanted} replicas are connected")
    return Found(there, wanted, known, faults, unseen)


async def _known_to_sentinels(client: Redis) -> int | None:
    """Return the number of replicas, those that are away among them; None when no sentinel answers."""
    primary = redis_connector.primary(client)
    if primary is None:
        return 0
    try:
        return await primary.replicas()
    except NoPrimaryError:
        return None


async def _file_settings(client: Redis) -> tuple[list[str], str | None]:
    try:
        found: dict[Any, Any] = await client.config_get("append*")
    except ResponseError as error:
        return [], f"Redis does not show appendonly and appendfsync ({error}): they are taken for yes and always"
    values = {_text(name): _text(value) for name, value in found.items()}
    needed = {"appendonly": "yes", "appendfsync": "always"}
    return [
        f"Redis has {name} {values.get(name)}, not {value}"
        for name, value in needed.items()
        if values.get(name) != value
    ], None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
