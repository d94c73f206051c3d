import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from services.dynamic_config import DynamicConfig
from services.runtime.ending import end
from tests.harness.proxy import Proxy
from tests.harness.waiting import eventually


@pytest.fixture
async def running() -> AsyncIterator[Callable[[DynamicConfig], None]]:
    tasks: list[asyncio.Task[Any]] = []
    yield lambda config: tasks.extend(asyncio.create_task(each) for each in (config.keep_fresh(), config.listen()))
    await end(*tasks)


async def test_a_stored_value_wins_over_the_environments_and_that_over_the_default(redis_client: Redis) -> None:
    config = DynamicConfig(redis_client, enabled=True, fallbacks={"moog_rate_limit": 7})
    await config.refresh()
    assert (config.integer("moog_rate_limit"), config.integer("moog_batch_size")) == (7, 100)
    await redis_client.set("mutt:config:moog_rate_limit", 9)
    await config.refresh()
    assert config.integer("moog_rate_limit") == 9
    await redis_client.delete("mutt:config:moog_rate_limit")
    await config.refresh()
    assert config.integer("moog_rate_limit") == 7


async def test_a_value_out_of_bounds_is_refused_and_the_last_good_one_stays(redis_client: Redis) -> None:
    config = DynamicConfig(redis_client, enabled=True)
    await redis_client.set("mutt:config:moog_rate_limit", 9)
    await config.refresh()
    await redis_client.set("mutt:config:moog_rate_limit", "lots")
    await config.refresh()
    assert config.integer("moog_rate_limit") == 9
    assert "a whole number from 1 to 100000 is needed" in config.problems["moog_rate_limit"]
    await redis_client.set("mutt:config:moog_rate_limit", 10)
    await config.refresh()
    assert not config.problems


async def test_without_reading_enabled_values_stay_but_topics_are_announced(
    redis_client: Redis, running: Callable[[DynamicConfig], None]
) -> None:
    config = DynamicConfig(redis_client, enabled=False)
    told: list[str] = []
    config.on_change("rules", lambda: told.append("rules"))
    await redis_client.set("mutt:config:moog_rate_limit", 9)
    running(config)

    async def publish() -> int:
        return int(await redis_client.publish("mutt:config:updates", "rules"))

    listening: Callable[[], Any] = publish
    await eventually(listening, "a listener")
    await eventually(lambda: told, "the announcement")
    assert config.integer("moog_rate_limit") == 50


async def test_a_published_change_is_seen_at_once_and_calls_back(
    redis_client: Redis, running: Callable[[DynamicConfig], None]
) -> None:
    config = DynamicConfig(redis_client, enabled=True)
    values: list[int] = []
    config.on_change("moog_rate_limit", lambda: values.append(config.integer("moog_rate_limit")))
    running(config)
    await redis_client.set("mutt:config:moog_rate_limit", 9)

    async def publish() -> int:
        return int(await redis_client.publish("mutt:config:updates", "moog_rate_limit"))

    listening: Callable[[], Any] = publish
    await eventually(listening, "a listener")
    await eventually(lambda: values, "the new value")
    assert values == [9]


async def test_after_a_lost_connection_everything_counts_as_changed(
    redis_url: str, proxy: Callable[[str], Proxy], running: Callable[[DynamicConfig], None]
) -> None:
    between = proxy(redis_url)
    client = Redis.from_url(between.url)
    config = DynamicConfig(client, enabled=True)
    told: list[str] = []
    for topic in ("rules", "hosts", "teams"):
        config.on_change(topic, lambda topic=topic: told.append(topic))  # type: ignore[misc]
    running(config)

    async def publish() -> int:
        return int(await client.publish("mutt:config:updates", "moog_rate_limit"))

    listening: Callable[[], Any] = publish
    await eventually(listening, "a listener")
    await eventually(lambda: len(told) == 3, "the topics of the first subscription")
    told.clear()
    between.cut()
    between.mend()
    await eventually(lambda: set(told) == {"hosts", "rules", "teams"}, "all topics")
    await client.aclose()


async def test_what_was_announced_before_the_first_subscription_counts_as_changed(
    redis_url: str, proxy: Callable[[str], Proxy], running: Callable[[DynamicConfig], None]
) -> None:
    between = proxy(redis_url)
    between.cut()
    client = Redis.from_url(between.url)
    config = DynamicConfig(client, enabled=False)
    told: list[str] = []
    config.on_change("rules", lambda: told.append("rules"))
    running(config)
    between.mend()
    await eventually(lambda: told, "the rules")
    await client.aclose()


async def test_a_listener_that_hears_nothing_listens_anew(
    redis_url: str,
    proxy: Callable[[str], Proxy],
    running: Callable[[DynamicConfig], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.dynamic_config.CACHE_SECONDS", 0.2)
    monkeypatch.setattr("services.dynamic_config.LISTEN_SECONDS", 0.1)
    between = proxy(redis_url)
    client = Redis.from_url(between.url, socket_timeout=0.5)
    config = DynamicConfig(client, enabled=False)
    told: list[str] = []
    config.on_change("rules", lambda: told.append("rules"))
    running(config)
    await eventually(lambda: told, "the first subscription")

    async def pings() -> int:
        stats: Any = await other.info("commandstats")
        return int(stats.get("cmdstat_ping", {}).get("calls", 0))

    async def has_pinged() -> Any:
        return await pings() >= before + 2

    other = Redis.from_url(redis_url)
    before = await pings()
    await eventually(has_pinged, "questions for a sign of life")
    assert told == ["rules"]  # the answer is one: the connection stays
    first = set(between._pairs)
    between.hang()
    await eventually(lambda: between._pairs - first, "another connection")
    between.mend()
    await eventually(lambda: len(told) > 1, "another subscription")
    await client.aclose()
    await other.aclose()
