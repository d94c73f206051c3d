"""When the garbage collector looks for cycles, and through what: it stops everything else while it does."""

import asyncio
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

YOUNG = 10_000  # objects made and not freed until the youngest are looked through; what is freed at once never counts
# How long a thread goes on while another wants to: a reload in a thread of its own holds up no event for longer. Each
# search of a message gives way once, so this counts for each event that is judged meanwhile.
SWITCH_SECONDS = 0.0001

PIECE = 500  # objects that are freed at once
TRIES, TRY_SECONDS = 100, 0.01  # how often is looked whether somebody uses what is to be freed


def settle_down() -> None:
    """Keep what a service has made at its start, which stays, out of every later look."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
    sys.setswitchinterval(SWITCH_SECONDS)


@contextmanager
def apart_from_garbage() -> Iterator[None]:
    """Make many objects that stay, and hold no cycles, without any look through them, now or later."""
    gc.collect()  # what is garbage before would be kept for ever with what stays
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


async def free_in_pieces(parts: list[Any], gone: Callable[[], object]) -> None:
    """Free what something was made of, which nobody else holds once `gone`, a weak reference to it, says so."""
    for _ in range(TRIES if parts else 0):
        if gone() is None:
            break
        await asyncio.sleep(TRY_SECONDS)
    while parts:
        del parts[-PIECE:]
        await asyncio.sleep(0)
