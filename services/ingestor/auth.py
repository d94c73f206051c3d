"""Who may send: the ingest key in the forms that real senders can give it."""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest

from services.runtime.secrets import SecretSource

CURRENT, NEXT = "INGEST_API_KEY", "INGEST_API_KEY_NEXT"
KEY_SCHEMES = frozenset({b"bearer", b"splunk"})


class KeyRing:
    """The keys that are valid now; they follow the secrets, and `generation` counts their changes."""

    def __init__(self, secrets: SecretSource) -> None:
        self._secrets = secrets
        self._digests: list[bytes] = []
        self.generation = 0
        self._take()
        secrets.follow(self._take)

    def _take(self) -> None:
        found = (self._secrets.get(name) for name in (CURRENT, NEXT))
        digests = [sha256(key.encode()).digest() for key in found if key]
        if digests != self._digests:
            self._digests = digests
            self.generation += 1

    def admits(self, headers: Mapping[bytes, bytes]) -> bool:
        """Say whether the headers (lower-case names) carry a valid key, taking the same time for every wrong one."""
        digest = sha256(presented_key(headers)).digest()
        # No short cut: a match with the first key must not be quicker than one with the second.
        return sum(compare_digest(digest, known) for known in self._digests) > 0


def is_presented(headers: Mapping[bytes, bytes]) -> bool:
    """Say whether the headers carry a key at all."""
    return presented_key(headers) != b""


def presented_key(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the key of X-API-KEY, else of Authorization (Bearer, Splunk, or Basic's password); empty if none."""
    key = headers.get(b"x-api-key")
    if key is not None:
        return key
    scheme, _, value = headers.get(b"authorization", b"").strip().partition(b" ")
    if scheme.lower() in KEY_SCHEMES:
        return value.strip()
    if scheme.lower() == b"basic":
        try:
            return b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""
