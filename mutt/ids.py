"""Identities of events: time-ordered for new ones, derived from the content where the sender gave an id."""

import re
import uuid
from hashlib import sha1
from typing import TypeGuard

_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_VARIANT = "89ab"


def uuid7(unix_ms: int, random: bytes) -> str:
    """Return a version 7 UUID (RFC 9562) of a time in milliseconds and 10 random bytes."""
    digits = unix_ms.to_bytes(6, "big").hex() + random.hex()
    variant = _VARIANT[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def uuid5_event(correlation_id: str, record: bytes) -> str:
    """Return the version 5 UUID of a record's bytes as received, in the namespace of its correlation id.

    An identical resend gets the same id; another event that shares the correlation id never does.
    """
    digest = sha1(uuid.UUID(correlation_id).bytes + record, usedforsecurity=False)
    return str(uuid.UUID(bytes=digest.digest()[:16], version=5))


def is_uuid(text: object) -> TypeGuard[str]:
    """Say whether `text` is a UUID in its canonical form of 36 characters, in either case."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None
