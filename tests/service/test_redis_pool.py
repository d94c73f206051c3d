"""The pool of connections to Redis: as many as are allowed, in turn, and each comes back."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from mutt.server_settings import RedisSettings
from scripts.devtools.services import redis_environment
from services import redis_connector
from services.runtime.secrets import EnvironmentSecrets
from tests.harness.proxy import Proxy
from tests.harness.waiting import eventually


def client_of(redis_url: str, connections: int) -> Redis:
    environment = redis_environment(redis_url)
    port = int(environment["REDIS_PORT"])
    settings = RedisSettings(port=port, host="127.0.0.1", tls_enabled=False, max_connections=connections)
    return redis_connector.connect(settings, EnvironmentSecrets(environment), blocking_seconds=1)


async def test_whoever_waits_for_a_connection_gets_the_one_that_is_given_back(redis_url: str) -> None:
    client = client_of(redis_url, 1)
    held, *waited = await asyncio.gather(client.blpop(["nothing"], timeout=0.1), *(client.ping() for _ in range(5)))
    assert held is None
    assert waited == [True] * 5
    await client.aclose()


async def test_no_more_connections_are_made_than_are_allowed_and_all_callers_are_served(redis_url: str) -> None:
    client = client_of(redis_url, 3)
    name = client.connection_pool.connection_kwargs["client_name"]
    assert all(await asyncio.gather(*(client.ping() for _ in range(40))))
    assert sum(found["name"] == name for found in await client.client_list()) == 3
    await client.aclose()


async def test_no_command_fails_because_connections_were_reset_before_it(
    proxy: Callable[[str], Proxy], redis_url: str
) -> None:
    between = proxy(redis_url)
    client = client_of(between.url, 3)
    assert all(await asyncio.gather(*(client.ping() for _ in range(3))))
    held: Any = list(client.connection_pool._available_connections)
    assert len(held) == 3
    between.reset()
    await eventually(lambda: all(one._writer.is_closing() for one in held), "connections that are known to have ended")
    assert all(await asyncio.gather(*(client.ping() for _ in range(3))))
    await client.aclose()


async def test_a_connection_comes_back_after_an_error_and_after_a_call_that_was_given_up(redis_url: str) -> None:
    client = client_of(redis_url, 1)
    for _ in range(3):
        with pytest.raises(RedisError):
            await client.execute_command("NO-SUCH-COMMAND")  # type: ignore[no-untyped-call]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await client.blpop(["nothing"], timeout=0.5)
        assert await client.ping()
    await client.aclose()
