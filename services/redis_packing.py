"""Commands of many arguments in Redis's protocol: the client packs them one by one, which costs a batch dearly."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

MANY = 64  # arguments: from here on it pays


def pack(arguments: Sequence[bytes]) -> bytes:
    """Return one command as it goes over the line."""
    heads = map(_head, map(len, arguments))
    return b"".join((b"*%d" % len(arguments), *chain.from_iterable(zip(heads, arguments, strict=True)), b"\r\n"))


@lru_cache(maxsize=4096)
def _head(length: int) -> bytes:
    # It also ends the line before.
    return b"\r\n$%d\r\n" % length
