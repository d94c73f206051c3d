"""Signals before the event loop exists: importing a service takes a while, and SIGHUP's default is death."""

import signal
from types import FrameType

_hangups = 0


def hold_hangup() -> None:
    """Count SIGHUPs from now on instead of dying of one; call it before any slow import."""
    signal.signal(signal.SIGHUP, _count)


def held_hangups() -> int:
    """Return how many SIGHUPs came before the event loop took over."""
    return _hangups


def _count(_number: int, _frame: FrameType | None) -> None:
    global _hangups  # noqa: PLW0603  (a signal handler has no other place)
    _hangups += 1
