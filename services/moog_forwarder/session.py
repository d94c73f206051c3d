"""POST over HTTP/1.1 on connections kept open: every wait ends, and no request is ever sent twice.

It knows what a webhook needs and no more: no redirects, no proxies, no cookies, no compression. The status counts as
soon as the head of an answer is there, whatever becomes of its body.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import httptools
from aiohappyeyeballs import start_connection
from yarl import URL

ANSWER_MOST = 64 * 1024  # bytes of an answer's head, and of its body; a longer one costs its connection
IDLE_MOST = (
    15.0  # seconds after which a connection is not used any more: servers close idle ones, some of them silently
)
NEXT_ADDRESS = 0.25  # seconds until the next address of a host is tried beside the first (RFC 8305)
FINAL = 200  # an answer below tells of another one to come
HTTPS_PORT, HTTP_PORT = 443, 80


class Reply(NamedTuple):
    """An answer: its status, its header `Retry-After`, and the start of its body."""

    status: int
    retry_after: str | None
    body: bytes


class BrokenConnectionError(ConnectionError):
    """The connection ended, or what came over it is no HTTP."""


class Connection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, idle: "deque[Connection]") -> None:
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        # As forgiving as browsers are: what is taken for no answer would be sent again, and again.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._waiter: asyncio.Future[Reply] | None = None
        self._timer: asyncio.TimerHandle | None = None
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

    def post(self, request: bytes, deadline: float) -> asyncio.Future[Reply]:
        """Write a request; its answer comes, or OSError: TimeoutError after the deadline, on the loop's clock."""
        self._waiter = waiter = self._loop.create_future()
        if self._transport is None:
            self._end(BrokenConnectionError("the server closed the connection"))
        else:
            self._timer = self._loop.call_at(deadline, self._expire)
            self._transport.write(request)
        return waiter

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

    def data_received(self, data: bytes) -> None:
        """Read on; what nobody asked for belongs to no request, so that no later one may come after it."""
        if self._waiter is None:
            self.abort()
            return
        try:
            self._came += len(data)
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._end(BrokenConnectionError(f"the answer is no HTTP: {error}"))
            return
        if self._is_complete:
            self._end(None)
        elif self._came > (2 * ANSWER_MOST if self._status else ANSWER_MOST):
            self._end(BrokenConnectionError(f"the head of the answer is longer than {ANSWER_MOST} bytes"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Answer whoever waits."""
        self._transport = None
        if self in self._idle:
            self._idle.remove(self)
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

    def _expire(self) -> None:
        self._end(TimeoutError())

    def _end(self, error: Exception | None) -> None:
        """Answer whoever waits: with the status where there is one, else with what went wrong."""
        waiter, self._waiter = self._waiter, None
        if waiter is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        # A server that answers before it has read all may never read the rest.
        in_order = error is None and self._transport is not None and not self._transport.get_write_buffer_size()
        if not waiter.done():
            if self._status:
                waiter.set_result(Reply(self._status, self._retry_after, self._body[:ANSWER_MOST]))
            else:
                waiter.set_exception(error or BrokenConnectionError("the answer has no head"))
        if in_order and self._is_reusable and self.is_open:
            self._begin()
            self.idle_since = self._loop.time()
            self._idle.append(self)
        elif in_order:
            self.close()
        else:
            self.abort()


class Session:
    """Connections to one address. `headers` are sent with every request."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout: float, context: ssl.SSLContext) -> None:
        found = URL(url)
        self._host = (found.raw_host or "").rstrip(".")
        self._port = found.port or (HTTPS_PORT if found.scheme == "https" else HTTP_PORT)
        self._context = context if found.scheme == "https" else None
        self._timeout = timeout
        lines = {"Host": found.host_port_subcomponent or self._host, **headers}
        self._begin = f"POST {found.raw_path_qs} HTTP/1.1\r\n{_lines(lines)}"
        self._idle: deque[Connection] = deque()
        self._look_up: asyncio.Task[list[Any]] | None = None

    def close(self) -> None:
        """End what is idle; each other connection ends with its request."""
        while self._idle:
            self._idle.pop().close()

    def head(self, headers: Mapping[str, str]) -> bytes:
        """Return the head of requests with these headers too; more lines may follow, and none may hold a line break."""
        return f"{self._begin}{_lines(headers)}".encode("latin-1")

    def post(self, head: bytes, body: bytes) -> asyncio.Future[Reply]:
        """Send one request; its answer comes, or OSError: TimeoutError where there is none in time."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        request = b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
        connection = self._kept(now)
        if connection is not None:
            return connection.post(request, now + self._timeout)
        return loop.create_task(self._post_anew(request, now + self._timeout))

    async def _post_anew(self, request: bytes, deadline: float) -> Reply:
        try:
            async with asyncio.timeout_at(deadline):
                connection = await self._connect(asyncio.get_running_loop())
        except TimeoutError:
            raise
        except (OSError, UnicodeError) as error:  # the latter for a name that can be no host's
            raise BrokenConnectionError(f"no connection to {self._host}:{self._port}: {error}") from error
        return await connection.post(request, deadline)

    def _kept(self, now: float) -> Connection | None:
        """Return the connection that was used last; those that were idle for too long go."""
        while self._idle and self._idle[0].idle_since < now - IDLE_MOST:
            self._idle.popleft().close()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        opened = await start_connection(await self._addresses(loop), happy_eyeballs_delay=NEXT_ADDRESS)
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(self._idle),
                sock=opened,
                ssl=self._context,
                server_hostname=self._host if self._context is not None else None,
            )
        except BaseException:
            opened.close()
            raise
        return connection

    async def _addresses(self, loop: asyncio.AbstractEventLoop) -> list[Any]:
        """Look the host up, once for all who ask meanwhile: a resolver that hangs holds up no other look-up."""
        look_up = self._look_up
        if look_up is None or look_up.done():
            found = loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            look_up = self._look_up = loop.create_task(found)
            look_up.add_done_callback(lambda done: done.cancelled() or done.exception())  # though nobody waits any more
        await asyncio.wait([look_up])
        return look_up.result()


def _lines(headers: Mapping[str, str]) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
