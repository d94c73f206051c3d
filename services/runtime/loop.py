"""One way to run a loop body again and again: progress noted, failures counted, backed off and told once."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg_pool import PoolTimeout
from redis.exceptions import RedisError

from mutt.errors import TransientError
from services.logging_utils import get_logger
from services.runtime.app import BACK_OFF_FIRST, BACK_OFF_MOST, Process
from services.runtime.ending import end

DEPENDENCY_ERRORS = (RedisError, OSError, psycopg.Error, PoolTimeout, TransientError)

LAST_SECONDS = 5.0  # for what is said to a server at the end

log = get_logger(__name__)

Body = Callable[[], Awaitable[bool]]
Start = Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]]


async def repeat(
    process: Process[Any, Any],
    name: str,
    body: Body,
    *,
    idle: float,
    recover: Callable[[], Awaitable[None]] | None = None,
    until: Callable[[], bool] = lambda: False,
    vital: bool = False,
) -> None:
    """Run `body` until the process stops; it tells whether it did work, and pauses `idle` seconds when it did none.

    A `vital` loop is the one that liveness and the heartbeat speak for: each of its passes is progress.

    A dependency's error costs a pause (0.1 s, doubled up to 5 s, with jitter) and a call of `recover` before the next
    pass. Any other error ends the loop, and with it the process: the supervisor starts it afresh.
    """
    delay, told = BACK_OFF_FIRST, ""
    recovery_due = False
    while not (process.stopping.is_set() or until()):
        if vital:
            process.health.progressed()
        try:
            if recovery_due and recover is not None:
                await recover()
            recovery_due = False
            worked = await body()
        except DEPENDENCY_ERRORS as error:
            recovery_due = True
            process.instruments.loop_errors.labels(name).inc()
            kind = f"{type(error).__name__}: {error}"
            if kind != told:
                log.warning("a dependency failed, trying again", loop=name, error=kind)
                told = kind
            await process.pause(delay * random.uniform(0.5, 1))
            delay = min(delay * 2, BACK_OFF_MOST)
            continue
        if told:
            log.info("all dependencies answer again", loop=name)
        delay, told = BACK_OFF_FIRST, ""
        if not worked:
            await process.pause(idle)


async def persist(process: Process[Any, Any], name: str, attempt: Callable[[], Awaitable[Any]]) -> bool:
    """Try until one attempt succeeds, as `repeat` does; returns False when the process stops first."""
    done = False

    async def once() -> bool:
        nonlocal done
        await attempt()
        done = True
        return True

    await repeat(process, name, once, idle=0, until=lambda: done, vital=True)
    return done


async def attempt(*works: Coroutine[Any, Any, Any]) -> None:
    """Do what is worth trying at the end: it may fail for a dependency, and one that hangs holds up no stop."""
    tasks = [asyncio.create_task(work) for work in works]
    await asyncio.wait(tasks, timeout=LAST_SECONDS)
    await end(*tasks)
    for task in tasks:
        with suppress(asyncio.CancelledError, *DEPENDENCY_ERRORS):
            task.result()


@asynccontextmanager
async def background() -> AsyncIterator[Start]:
    """Yield a function that starts `(name, coroutine)` beside the body; all are cancelled at its end.

    A task that fails ends the body and the process: half a service is worse than a restart.
    """
    started: list[asyncio.Task[None]] = []
    try:
        async with asyncio.TaskGroup() as group:

            def start(name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
                started.append(group.create_task(work, name=name))
                return started[-1]

            try:
                yield start
            finally:
                # The group cancels each once, and that may be swallowed; nor may another failure interrupt the ending.
                ending = asyncio.create_task(end(*started))
                await asyncio.wait({ending})
    except BaseExceptionGroup as group_of_one_or_more:
        # What failed first says why the process ends; the exit status goes by its kind.
        raise group_of_one_or_more.exceptions[0] from None
