"""Identities of events: time-ordered for new ones, derived from the content where the sender gave an id."""

import re
from collections.abc import Callable
from hashlib import sha1
from typing import TypeGuard

Entropy = Callable[[int], bytes]

_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_ID_BYTES = 10  # random bytes of a version 7 UUID
_TAIL = b"-7___-____-____________"
_WIDTH = len(_TAIL)
# Of the 20 digits that 10 random bytes are, one becomes the variant, the others stand at these places of the tail.
_VARIANT_DIGIT, _VARIANT_PLACE = 4, 6
_PLACES = ((1, 2), (2, 3), (3, 4), (5, 7), (6, 8), (7, 9), *((digit, digit + 3) for digit in range(8, 20)))
_VARIANTS = "89ab" * 4
_TO_VARIANT = bytes.maketrans(b"0123456789abcdef", _VARIANTS.encode())
_MADE_AT_ONCE = 256


def uuid7(unix_ms: int, random: bytes) -> str:
    """Return a version 7 UUID (RFC 9562) of a time in milliseconds and 10 random bytes."""
    return uuid7_head(unix_ms) + _tail(random.hex(), "7")


def uuid7_head(unix_ms: int) -> str:
    """Return what version 7 UUIDs of one millisecond begin with."""
    digits = unix_ms.to_bytes(6, "big").hex()
    return f"{digits[:8]}-{digits[8:]}"


def uuid7_tails(random: bytes) -> list[str]:
    """Return the rest of a version 7 UUID for each 10 random bytes: all of them digit by digit, not one by one."""
    digits = random.hex().encode()
    tails = bytearray(_TAIL * (len(random) // _ID_BYTES))
    for digit, place in _PLACES:
        tails[place::_WIDTH] = digits[digit :: 2 * _ID_BYTES]
    tails[_VARIANT_PLACE::_WIDTH] = digits[_VARIANT_DIGIT :: 2 * _ID_BYTES].translate(_TO_VARIANT)
    text = tails.decode()
    return [text[start : start + _WIDTH] for start in range(0, len(text), _WIDTH)]


class Tails:
    """Tails of version 7 UUIDs, made some hundreds at a time; threads may take them at once, forks may not."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._ready: list[str] = []
        # One step of the interpreter's, so that no two threads ever get the same one; raises IndexError.
        self.pop = self._ready.pop

    def make(self) -> str:
        """Make more, and return one of them."""
        made = uuid7_tails(self._entropy(_ID_BYTES * _MADE_AT_ONCE))
        tail = made.pop()
        self._ready.extend(made)
        return tail

    def take(self) -> str:
        """Return one that nobody had before."""
        try:
            return self.pop()
        except IndexError:
            return self.make()


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
