"""When the garbage collector looks for cycles, and through what: it stops everything else while it does."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG = 10_000  # objects made and not freed until the youngest are looked through; what is freed at once never counts
# How long a thread goes on while another wants to: a reload in a thread of its own holds up no event for longer.
SWITCH_SECONDS = 0.001


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
