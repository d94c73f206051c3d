"""How tasks are ended: for certain, and soon."""

import asyncio
from typing import Any

CANCEL_SECONDS = 0.2


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until they have ended: a library may swallow a cancellation, as `asyncio.wait_for` of 3.11 does."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_SECONDS)
