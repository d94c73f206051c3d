"""Redis: reached, by which password, as it has to be set, its clock, and what waits in its dead-letter queues."""

import asyncio
import time
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError

from mutt import keys
from mutt.errors import MisconfiguredError
from mutt.findings import Finding, ok, problem, warning
from mutt.server_settings import SENTINEL, RedisSettings
from mutt.settings import CommonSettings, QueueNames
from services import durability, redis_connector
from services.runtime.secrets import SecretSource

CLOCK_WARNING, CLOCK_PROBLEM = 5.0, 60.0  # seconds; at the second one the ingestor reports itself unhealthy
MEMORY_WARNING = 0.6  # of maxmemory; past INGEST_MAX_MEMORY_PERCENT (75) events get 503
REASON_LOOKS, REASON_PAUSE = 25, 0.1  # seconds
DURABILITY = "docs/operations/durability.md says what each setting covers"


async def examine(settings: CommonSettings, secrets: SecretSource) -> list[Finding]:
    """Return what was found; raises SettingsError when the file of the authority is of no use."""
    client = redis_connector.connect(settings.redis, secrets)
    try:
        await client.ping()
        at = "{}:{}".format(*(redis_connector.address(client) or ("", "")))
        return [
            _password(client, secrets, at),
            *await _server(client, settings),
            await _clock(client),
            *await _queues(client, settings.names),
        ]
    except AuthenticationError as error:
        remedy = "set REDIS_PASS_CURRENT to the one that holds: docs/operations/rotation.md"
        return [problem("redis", f"refuses REDIS_PASS_CURRENT and REDIS_PASS_NEXT ({error})", remedy)]
    except (RedisError, OSError) as error:
        redis = settings.redis
        at = f"sentinels {', '.join(redis.sentinels)}" if redis.mode == SENTINEL else f"{redis.host}:{redis.port}"
        told = await _reason(client) if redis.tls_enabled else redis_connector.problem(client)
        remedy = "do that" if told else "start it, or mend REDIS_HOST, REDIS_PORT, REDIS_TLS_ENABLED"
        return [problem("redis", f"{at}: {told or error}", remedy)]
    finally:
        await client.aclose()


async def _reason(client: Redis) -> str | None:
    """Return why no connection could be made; whether the server speaks TLS at all shows a moment later."""
    for _ in range(REASON_LOOKS):
        if told := redis_connector.problem(client):
            return told
        await asyncio.sleep(REASON_PAUSE)
    return None


def _password(client: Redis, secrets: SecretSource, at: str) -> Finding:
    provider = client.connection_pool.connection_kwargs["credential_provider"]
    following = secrets.get("REDIS_PASS_NEXT")
    if following and provider.now() == following != secrets.get("REDIS_PASS_CURRENT"):
        remedy = "end the rotation: make it REDIS_PASS_CURRENT (docs/operations/rotation.md)"
        return warning("redis", f"reached at {at} by REDIS_PASS_NEXT", remedy)
    if not provider.now():
        return warning("redis", f"reached at {at} without a password", "set requirepass and REDIS_PASS_CURRENT")
    return ok("redis", f"reached at {at} by REDIS_PASS_CURRENT")


async def _server(client: Redis, settings: CommonSettings) -> list[Finding]:
    try:
        await redis_connector.check_server(client)
    except MisconfiguredError as error:
        return [problem("redis setting", str(error), "services refuse to start on it: change it there")]
    info = await client.info()
    found = [ok("redis version", f"{info['redis_version']}, maxmemory-policy {info.get('maxmemory_policy')}")]
    if not settings.redis.durable:
        found.append(await _durability(client, info))
    found += await _replicas(client, settings.redis)
    used, most = int(info["used_memory"]), int(info.get("maxmemory", 0))
    seen = f"{used >> 20:,} MB used of " + (f"{most >> 20:,} MB" if most else "what the machine has (maxmemory 0)")
    full = most > 0 and used > MEMORY_WARNING * most
    remedy = "raise maxmemory, or find out why queues grow"
    found.append(warning("redis memory", seen, remedy) if full else ok("redis memory", seen))
    return found


async def _replicas(client: Redis, settings: RedisSettings) -> list[Finding]:
    seen = await durability.look(client, settings)
    if not settings.durable:
        words = f"{seen.replicas} of REDIS_WAIT_REPLICAS={seen.wanted}"
        remedy = "connect the replicas, or lower REDIS_WAIT_REPLICAS: until then every event gets 503"
        return [problem("replicas", words, remedy) if seen.faults else ok("replicas", words)]
    if seen.faults:
        remedy = f"do that on every server: until then every event gets 503 (REDIS_DURABLE); {DURABILITY}"
        return [problem("durability", "; ".join(seen.faults), remedy)]
    if seen.unseen:
        return [warning("durability", seen.unseen, f"ask who runs it; {DURABILITY}")]
    return [ok("durability", f"REDIS_DURABLE: appendfsync always, all of {seen.wanted} replicas connected")]


async def _durability(client: Redis, info: dict[str, Any]) -> Finding:
    if not info.get("aof_enabled"):
        return warning(
            "durability", "appendonly no: a restart of Redis loses what is queued", f"appendonly yes; {DURABILITY}"
        )
    try:
        mode = (await client.config_get("appendfsync")).get("appendfsync", "unknown")
    except RedisError:
        return ok("durability", "appendonly yes; this server does not show its appendfsync")
    if mode in {b"always", "always"}:
        return ok("durability", "appendonly yes, appendfsync always")
    shown = mode.decode() if isinstance(mode, bytes) else mode
    return warning(
        "durability",
        f"appendfsync {shown}: a crash of Redis may lose the last second",
        f"appendfsync always; {DURABILITY}",
    )


async def _clock(client: Redis) -> Finding:
    seconds, microseconds = await client.time()
    drift = abs(seconds + microseconds / 1e6 - time.time())
    seen = f"{drift:.2f} s off Redis's"
    remedy = "let both machines take their time from the same source (chronyc tracking)"
    if drift > CLOCK_PROBLEM:
        return problem("clock", seen, remedy)
    return warning("clock", seen, remedy) if drift > CLOCK_WARNING else ok("clock", seen)


async def _queues(client: Redis, names: QueueNames) -> list[Finding]:
    depths = {name: await client.llen(name) for name in (names.ingest_queue, names.alert_queue)}
    found = [ok("queues", ", ".join(f"{name} {depth:,}" for name, depth in depths.items()))]
    for what, name, where in (
        ("dead letters of the alerter", names.alerter_dlq, "Dead letters"),
        ("dead letters of the forwarder", names.moog_dlq, "Dead letters"),
        ("given up", keys.POISON, "Dead letters"),
        ("quarantine", keys.QUARANTINE, "Dead letters"),
        ("audit rows that wait", keys.AUDIT_PENDING, "dashboard"),
    ):
        depth = await client.llen(name)
        remedy = f"look at them in the console, under {where}"
        found.append(warning(what, f"{depth:,} in {name}", remedy) if depth else ok(what, "none"))
    return found
