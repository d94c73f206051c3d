"""Is it well? One look at a service or server; "" means yes, anything else says why not."""

import json
from collections.abc import Awaitable, Callable

import aiohttp
import psycopg
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from mutt import findings

TIMEOUT = 2.0  # seconds

Check = Callable[[], Awaitable[str]]


def http_check(url: str) -> Check:
    """Return a check that wants 200 of a health address, and quotes what a health document complains of."""

    async def check() -> str:
        try:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT)
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as reply:
                return "" if reply.status == 200 else _complaint(reply.status, await reply.text())  # noqa: PLR2004
        except (aiohttp.ClientError, OSError):
            return "does not answer"

    return check


def redis_check(url: str) -> Check:
    """Return a check that wants a PONG."""

    async def check() -> str:
        client = redis.asyncio.Redis.from_url(url, socket_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0))
        try:
            await client.ping()
        except (RedisError, OSError) as error:
            return _one_line(error)
        finally:
            await client.aclose()
        return ""

    return check


def postgres_check(url: str) -> Check:
    """Return a check that wants an answer to SELECT 1."""

    async def check() -> str:
        try:
            async with await psycopg.AsyncConnection.connect(url, connect_timeout=int(TIMEOUT)) as connection:
                await connection.execute("SELECT 1")
        except psycopg.Error as error:
            return _one_line(error)
        return ""

    return check


def _complaint(status: int, body: str) -> str:
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    told = findings.complaints(document) if isinstance(document, dict) else ""
    return told or f"health answers {status}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
