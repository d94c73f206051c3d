"""The head of an ingest request: what its headers mean, and how to know the connection's next one by sight."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from mutt.bodies import is_batch_type

TRACEPARENT_CHARACTERS = 55
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: ?([0-9]{1,9})\r\n", re.IGNORECASE)
UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
END = b"\r\n\r\n"


class Head:
    """Headers of one request, their names in lower case; `length` is None for a chunked body."""

    query = b""

    def __init__(self, headers: Sequence[tuple[bytes, bytes]], *, deprecated: bool, keep_alive: bool) -> None:
        self.headers = named = dict(headers)
        self.deprecated = deprecated
        self.keep_alive = keep_alive
        length = named.get(b"content-length", b"0")
        self.length = int(length) if length.isdigit() and b"transfer-encoding" not in named else None
        self.expects_continue = named.get(b"expect", b"").lower() == b"100-continue"
        self.coding = named.get(b"content-encoding", b"").decode("latin-1")
        self.content_type = named.get(b"content-type", b"").decode("latin-1")
        self.correlation_id = named.get(b"x-correlation-id", b"").decode("latin-1").strip() or None
        trace = named.get(b"traceparent", b"")
        self.traceparent = trace.decode("latin-1") if len(trace) == TRACEPARENT_CHARACTERS else None
        # It says nothing of its event, so that what is under it may be read together with others'.
        self.is_silent = not (
            self.coding or self.correlation_id or self.traceparent or is_batch_type(self.content_type)
        )


@dataclass(frozen=True, slots=True)
class KnownHead:
    """The bytes of a head that was parsed and admitted before, apart from the digits of its Content-Length.

    The same bytes mean the same thing again, so that a sender which repeats itself costs no second parsing. The key is
    in them: what is compared here is only ever the connection's own earlier request, so that nothing can be guessed.
    """

    head: Head
    generation: int
    before: bytes
    behind: bytes

    @classmethod
    def of_request(cls, data: bytes, head: Head, generation: int) -> Self | None:
        """Learn from the bytes of one whole request, the head that was read from them and the keys that admitted it."""
        end = data.find(END)
        found = list(CONTENT_LENGTH.finditer(data, 0, end + 2))
        if len(found) != 1 or not head.keep_alive or head.expects_continue or head.length != len(data) - end - len(END):
            return None
        first, last = found[0].span(1)
        return cls(head, generation, data[:first], data[last : end + len(END)])

    def body_of(self, data: bytes) -> bytes | None:
        """Return the body when `data` is one whole request with this head, else None."""
        if not data.startswith(self.before):
            return None
        at = len(self.before)
        begin = data.find(END, at) + len(END)
        if data[at:begin] != b"%d" % (len(data) - begin) + self.behind:
            return None
        return data[begin:]


def without_upgrade(data: bytes) -> bytes:
    """Return the bytes of a request without its offer of another protocol, which a server may ignore.

    Java's HTTP client offers HTTP/2 with every request, and httptools would take such a request's body for it.
    """
    if b"pgrade" not in data:
        return data
    head, end, rest = data.partition(END)
    return UPGRADE.sub(b"\r\nx-offered:", head) + end + rest
