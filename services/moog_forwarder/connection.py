"""A connection of the forwarder's HTTP client: one request at a time, written once, and its answer read as it comes."""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, cast

import httptools

ANSWER_MOST = 64 * 1024  # bytes of an answer's head, and of its body; a longer one costs its connection
FINAL = 200  # an answer below tells of another one to come


class Reply(NamedTuple):
    """An answer: its status, its header `Retry-After`, and the start of its body."""

    status: int
    retry_after: str | None
    body: bytes


class BrokenConnectionError(ConnectionError):
    """The connection ended, or what came over it is no HTTP."""


Heard = Callable[[Reply | Exception], object]  # an OSError is the server's or the network's


class Shared:
    """What the connections of a session have in common."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.idle: deque[Connection] = deque()
        self.open: set[Connection] = set()
        # An answer that came in one piece, and what it says: the next is nearly always the same, byte for byte.
        self.known: tuple[bytes, Reply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next = math.inf  # when the timer looks for requests whose time is over

    def watch(self, deadline: float) -> None:
        """Look for requests whose time is over at this time of the loop's clock, or before."""
        if deadline < self._next:
            if self._timer is not None:
                self._timer.cancel()
            self._next = deadline
            self._timer = self.loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer, self._next = None, math.inf
        now = self.loop.time()
        for connection in [one for one in self.open if one.deadline <= now]:
            connection.expire()
        self.watch(min((one.deadline for one in self.open), default=math.inf))


class Connection(asyncio.Protocol):
    """One connection with at most one request under way, which has to end by its `deadline`."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        # As forgiving as browsers are: what is taken for no answer would be sent again, and again.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._heard: Heard | None = None
        self.deadline = math.inf
        self.idle_since = 0.0
        # Of the answer:
        self._status = 0
        self._retry_after: str | None = None
        self._body = b""
        self._is_complete = self._is_reusable = False
        self._came = 0  # bytes

    @property
    def is_open(self) -> bool:
        """Tell whether a request may still be written."""
        return self._transport is not None and not self._transport.is_closing()

    def post(self, request: bytes, deadline: float, heard: Heard) -> None:
        """Write a request; `heard` gets its answer, or an OSError: TimeoutError after the deadline."""
        self._heard = heard
        if self._transport is None:
            self._end(BrokenConnectionError("the server closed the connection"))
            return
        self.deadline = deadline
        self._shared.watch(deadline)
        self._transport.write(request)

    def expire(self) -> None:
        """End a request whose time is over."""
        self._end(TimeoutError())

    def close(self) -> None:
        """End it in order."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        self._transport = cast("asyncio.Transport", transport)
        self._shared.open.add(self)

    def data_received(self, data: bytes) -> None:
        """Read on; what nobody asked for belongs to no request, so that no later one may come after it."""
        if self._heard is None:
            self.abort()
            return
        known = self._shared.known
        if known is not None and not self._came and known[0] == data:
            # The parser is where it was before that answer, and would be there again after this one.
            self._is_complete = self._is_reusable = True
            self._end(None, known[1])
            return
        try:
            self._came += len(data)
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._end(BrokenConnectionError(f"the answer is no HTTP: {error}"))
            return
        if self._is_complete:
            reply = self._reply()
            if self._is_reusable and self._came == len(data):
                self._shared.known = data, reply
            self._end(None, reply)
        elif self._came > (2 * ANSWER_MOST if self._status else ANSWER_MOST):
            self._end(BrokenConnectionError(f"the head of the answer is longer than {ANSWER_MOST} bytes"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Answer whoever waits."""
        self._transport = None
        self._shared.open.discard(self)
        if self in self._shared.idle:
            self._shared.idle.remove(self)
        self._end(BrokenConnectionError(str(exc) if exc else "the server closed the connection"))

    def on_message_begin(self) -> None:
        """Begin an answer; a second one has no request."""
        if self._is_complete:
            self._is_reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the one header that matters, as it comes first."""
        if self._retry_after is None and name.lower() == b"retry-after":
            self._retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Keep the status."""
        status = self._parser.get_status_code()
        if not self._is_complete and status >= FINAL:
            self._status = status

    def on_body(self, data: bytes) -> None:
        """Keep the start of the body."""
        if not self._is_complete:
            self._body += data

    def on_message_complete(self) -> None:
        """End the answer, unless it tells of another one."""
        if self._status and not self._is_complete:
            self._is_complete, self._is_reusable = True, self._parser.should_keep_alive()
        elif not self._status:
            self._retry_after = None

    def _begin(self) -> None:
        self._status = 0
        self._retry_after = None
        self._body = b""
        self._is_complete = self._is_reusable = False
        self._came = 0

    def _reply(self) -> Reply:
        return Reply(self._status, self._retry_after, self._body[:ANSWER_MOST])

    def _end(self, error: OSError | None, reply: Reply | None = None) -> None:
        """Answer whoever waits: with the status where there is one, else with what went wrong."""
        heard, self._heard = self._heard, None
        if heard is None:
            return
        self.deadline = math.inf
        if reply is None and self._status:
            reply = self._reply()
        # A server that answers before it has read all may never read the rest.
        in_order = error is None and self._transport is not None and not self._transport.get_write_buffer_size()
        if in_order and self._is_reusable and self.is_open:
            self._begin()
            self.idle_since = self._shared.loop.time()
            self._shared.idle.append(self)
        elif in_order:
            self.close()
        else:
            self.abort()
        heard(reply or error or BrokenConnectionError("the answer has no head"))
