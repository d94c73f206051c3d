"""The lease of remediation while a scan is under way: what was read under one lease is not moved under another."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from mutt import keys
from mutt.settings import RemediationSettings
from services.remediation.lease import Lease
from services.remediation.scan import Scanner
from services.runtime.health import Health
from services.runtime.instruments import RemediationInstruments
from tests.service.dead_letters import shed

SETTINGS = RemediationSettings()
Hook = Callable[[], Awaitable[None]]


class Interrupted(Redis):
    """A client after whose reading of a list something else happens."""

    hook: Hook | None = None

    async def lrange(self, *args: Any) -> Any:
        page = await super().lrange(*args)
        if self.hook is not None:
            await self.hook()
        return page


@pytest.fixture
async def interrupted(redis_url: str) -> AsyncIterator[Interrupted]:
    client = Interrupted.from_url(redis_url)
    assert isinstance(client, Interrupted)
    yield client
    await client.aclose()


def lease(client: Redis, pod: str) -> Lease:
    instruments = RemediationInstruments(CollectorRegistry())
    return Lease(client, pod, SETTINGS.lease_seconds, Health("remediation", instruments))


async def test_what_was_read_under_one_lease_is_not_moved_under_another(
    interrupted: Interrupted, redis_client: Redis
) -> None:
    held, other = lease(interrupted, "a"), lease(redis_client, "b")
    scanner = Scanner(interrupted, SETTINGS, held, RemediationInstruments(CollectorRegistry()))
    letters = SETTINGS.names.alerter_dlq
    await redis_client.lpush(letters, shed("shed"))

    async def change_hands() -> None:
        interrupted.hook = None
        await redis_client.delete(keys.REMEDIATION_LEASE)
        assert await other.keep()
        await other.release()
        assert await held.keep()

    interrupted.hook = change_hands
    assert await held.keep()
    await scanner.scan(asyncio.Event())
    assert await redis_client.llen(letters) == 1
    assert await held.keep()
    await scanner.scan(asyncio.Event())
    assert await redis_client.llen(letters) == 0


async def test_a_lease_that_is_kept_keeps_its_token(redis_client: Redis) -> None:
    held = lease(redis_client, "a")
    assert await held.keep()
    token = held.token
    assert await held.keep()
    assert held.token == token
    assert await redis_client.get(keys.REMEDIATION_LEASE) == token.encode()
    assert not await lease(redis_client, "b").keep()


async def test_two_that_keep_one_lease_at_once_agree_on_its_token(redis_client: Redis) -> None:
    held = lease(redis_client, "a")
    assert all(await asyncio.gather(held.keep(), held.keep()))
    assert await redis_client.get(keys.REMEDIATION_LEASE) == held.token.encode()
