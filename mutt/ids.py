"""Identities of events: time-ordered for new ones, derived from the content where the sender gave an id."""

import re
from collections.abc import Callable
from hashlib import sha1
from itertools import repeat
from typing import TypeGuard

Entropy = Callable[[int], bytes]

_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_ID_BYTES = 10  # random bytes of a version 7 UUID
_MADE_AT_ONCE = 256
_COUNTED = 4096  # ids that differ in their last three digits only
_LAST_DIGITS = [f"{number:03x}" for number in range(_COUNTED)] * 2
_VARIANTS = "89ab" * 4
# What the first byte of a group becomes where it holds the version or the variant.
_VERSION_7 = bytes(byte & 0x0F | 0x70 for byte in range(256))
_VARIANT = bytes(byte & 0x3F | 0x80 for byte in range(256))


def uuid7(unix_ms: int, random: bytes) -> str:
    """Return a version 7 UUID (RFC 9562) of a time in milliseconds and 10 random bytes."""
    return uuid7_head(unix_ms) + _tail(random.hex(), "7")


def uuid7_head(unix_ms: int) -> str:
    """Return what version 7 UUIDs of one millisecond begin with."""
    digits = unix_ms.to_bytes(6, "big").hex()
    return f"{digits[:8]}-{digits[8:]}"


def uuid7_tails(random: bytes) -> list[str]:
    """Return the rest of a version 7 UUID for each 10 random bytes: all of them group by group, not one by one."""
    count = len(random) // _ID_BYTES
    third, fourth = bytearray(random[: 2 * count]), bytearray(random[2 * count : 4 * count])
    third[::2] = third[::2].translate(_VERSION_7)
    fourth[::2] = fourth[::2].translate(_VARIANT)
    groups = (
        third.hex("-", 2).split("-"),
        fourth.hex("-", 2).split("-"),
        random[4 * count :].hex("-", 6).split("-"),
    )
    return list(map("-".join, zip(repeat(""), *groups, strict=False)))  # (an id begins with a head of its time)


class Tails:
    """Tails of version 7 UUIDs, made some hundreds at a time; threads may take them at once, forks may not."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._ready: list[str] = []

    def take(self) -> str:
        """Return one that nobody had before."""
        try:
            # One step of the interpreter's, so that no two threads ever get the same one.
            return self._ready.pop()
        except IndexError:
            made = uuid7_tails(self._entropy(_ID_BYTES * _MADE_AT_ONCE))
            tail = made.pop()
            self._ready.extend(made)
            return tail

    def ids(self, head: str, count: int) -> list[str]:
        """Return so many ids of one head; those that follow a random one count on from its last twelve bits."""
        made: list[str] = []
        while count > 0:
            tail = self.take()
            first = int(tail[-3:], 16)
            made += map((head + tail[:-3]).__add__, _LAST_DIGITS[first : first + min(count, _COUNTED)])
            count -= _COUNTED
        return made


def uuid5_event(correlation_id: str, record: bytes) -> str:
    """Return the version 5 UUID of a record's bytes as received, in the namespace of its correlation id.

    An identical resend gets the same id; another event that shares the correlation id never does.
    """
    namespace = bytes.fromhex(correlation_id.replace("-", ""))
    digits = sha1(namespace + record, usedforsecurity=False).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}" + _tail(digits[12:32], "5")


def _tail(digits: str, version: str) -> str:
    """Return a UUID's last 23 characters of 20 digits, the version and the variant put in."""
    return f"-{version}{digits[1:4]}-{_VARIANTS[int(digits[4], 16)]}{digits[5:8]}-{digits[8:]}"


def is_uuid(text: object) -> TypeGuard[str]:
    """Say whether `text` is a UUID in its canonical form of 36 characters, in either case."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None
