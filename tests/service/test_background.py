"""What a service does beside its main work ends with it, also where a cancellation is swallowed on the way."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from redis.asyncio import Redis

from mutt.server_settings import RedisSettings
from scripts.devtools.services import redis_environment
from services import redis_connector
from services.runtime.ending import end
from services.runtime.loop import background
from services.runtime.secrets import EnvironmentSecrets
from tests.harness.waiting import PATIENCE

SWALLOWED = 3


class FailedError(Exception):
    """What a task fails with."""


class Deaf:
    """Runs on until it is cancelled for the fourth time, as a client's call may that is about to have its reply."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.is_running = asyncio.Event()

    async def run(self) -> None:
        self.is_running.set()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                if self.cancelled > SWALLOWED:
                    raise


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    """Open a client as services use it."""
    environment = redis_environment(redis_url)
    settings = RedisSettings(port=int(environment["REDIS_PORT"]), host="127.0.0.1", tls_enabled=False)
    client = redis_connector.connect(settings, EnvironmentSecrets(environment))
    yield client
    await redis_connector.close(client)


async def ended(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Return the task of some work, which is done."""
    others = asyncio.all_tasks()
    task = asyncio.create_task(work)
    await asyncio.wait({task}, timeout=PATIENCE)
    is_done = task.done()
    await end(*(asyncio.all_tasks() - others))
    assert is_done
    return task


async def test_a_task_that_fails_ends_the_others_whatever_they_swallow() -> None:
    deaf = Deaf()

    async def fail() -> None:
        await deaf.is_running.wait()
        raise FailedError

    async def service() -> None:
        async with background() as start:
            start("deaf", deaf.run())
            start("fails", fail())
            await asyncio.Event().wait()

    assert isinstance((await ended(service())).exception(), FailedError)


async def test_a_body_that_fails_ends_its_tasks_whatever_they_swallow() -> None:
    deaf = Deaf()

    async def service() -> None:
        async with background() as start:
            start("deaf", deaf.run())
            await deaf.is_running.wait()
            raise FailedError

    assert isinstance((await ended(service())).exception(), FailedError)


async def test_a_task_that_fails_while_all_are_ended_keeps_no_other_alive() -> None:
    deaf = Deaf()

    async def fail_late() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise FailedError from None

    async def service() -> None:
        async with background() as start:
            start("deaf", deaf.run())
            start("fails", fail_late())
            await deaf.is_running.wait()

    assert isinstance((await ended(service())).exception(), FailedError)


@pytest.mark.parametrize("turns", range(0, 24, 2))
async def test_a_service_ends_whenever_in_a_command_to_redis_a_task_of_it_fails(turns: int, client: Redis) -> None:
    async def ask() -> None:
        while True:
            await client.ping()

    async def fail() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise FailedError

    async def service() -> None:
        async with background() as start:
            for number in range(4):
                start(f"asks {number}", ask())
            start("fails", fail())
            await asyncio.Event().wait()

    assert isinstance((await ended(service())).exception(), FailedError)


async def test_a_command_to_redis_swallows_no_cancellation(client: Redis) -> None:
    async def ask() -> None:
        while not own[0].cancelling():
            await client.ping()

    swallowed = 0
    for turns in range(100):
        own = [asyncio.create_task(ask())]
        for _ in range(turns % 30 + 1):
            await asyncio.sleep(0)
        own[0].cancel()
        await asyncio.wait(own)
        swallowed += not own[0].cancelled()
    assert swallowed == 0
    assert await client.ping()
