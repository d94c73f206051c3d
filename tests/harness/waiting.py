"""Waiting for a condition instead of for a time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

Value = TypeVar("Value")
PAUSE = 0.02  # seconds between two looks
PATIENCE = 45.0  # seconds; what comes costs no more for it, and a busy machine may need most of it


def wait_for(look: Callable[[], Value], what: str, timeout: float = PATIENCE) -> Value:
    """Call `look` until it returns something true and return that; after `timeout` fail, naming `what`."""
    deadline = time.monotonic() + timeout
    while not (value := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout:g} s (last seen: {value!r})")
        time.sleep(PAUSE)
    return value


@overload
async def eventually(look: Callable[[], Awaitable[Value]], what: str, timeout: float = ...) -> Value: ...  # noqa: ASYNC109


@overload
async def eventually(look: Callable[[], Value], what: str, timeout: float = ...) -> Value: ...  # noqa: ASYNC109


async def eventually(
    look: Callable[[], Awaitable[Value] | Value],
    what: str,
    timeout: float = PATIENCE,  # noqa: ASYNC109  # the error has to name what was awaited
) -> Value:
    """Do what `wait_for` does without blocking the event loop; `look` may be async."""
    deadline = time.monotonic() + timeout
    while True:
        seen = look()
        value: Value = await seen if inspect.isawaitable(seen) else seen
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout:g} s (last seen: {value!r})")
        await asyncio.sleep(PAUSE)
