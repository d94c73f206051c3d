"""How a fault strikes again and again."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from redis.exceptions import RedisError

BETWEEN = 0.15  # seconds between two of the same blows


@contextmanager
def again(blow: Callable[[], object]) -> Iterator[None]:
    """Strike again and again beside the body."""
    over = threading.Event()

    def strike() -> None:
        while not over.wait(BETWEEN):
            with contextlib.suppress(RedisError, psycopg.Error, OSError):
                blow()

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
