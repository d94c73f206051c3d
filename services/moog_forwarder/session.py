"""POST over HTTP/1.1 on connections kept open: every wait ends, and no request is ever sent twice.

It knows what a webhook needs and no more: no redirects, no proxies, no cookies, no compression. The status counts as
soon as the head of an answer is there, whatever becomes of its body.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import Any

from aiohappyeyeballs import start_connection
from yarl import URL

from services.moog_forwarder.connection import BrokenConnectionError, Connection, Heard, Shared

IDLE_MOST = (
    15.0  # seconds after which a connection is not used any more: servers close idle ones, some of them silently
)
NEXT_ADDRESS = 0.25  # seconds until the next address of a host is tried beside the first (RFC 8305)
HTTPS_PORT, HTTP_PORT = 443, 80


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
        self._shared = Shared()
        self._connecting: set[asyncio.Task[None]] = set()
        self._look_up: asyncio.Task[list[Any]] | None = None

    def close(self) -> None:
        """End what is idle; each other connection ends with its request."""
        while self._shared.idle:
            self._shared.idle.pop().close()

    def head(self, headers: Mapping[str, str]) -> bytes:
        """Return the head of requests with these headers too; more lines may follow, and none may hold a line break."""
        return f"{self._begin}{_lines(headers)}".encode("latin-1")

    def post(self, head: bytes, body: bytes, heard: Heard) -> None:
        """Send one request; `heard` gets its answer, or an OSError: TimeoutError where there is none in time."""
        now = self._shared.loop.time()
        request = b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
        connection = self._kept(now)
        if connection is not None:
            connection.post(request, now + self._timeout, heard)
            return
        task = self._shared.loop.create_task(self._post_anew(request, now + self._timeout, heard))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _post_anew(self, request: bytes, deadline: float, heard: Heard) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                connection = await self._connect(self._shared.loop)
        except TimeoutError as error:
            heard(error)
        except (OSError, UnicodeError) as error:  # the latter for a name that can be no host's
            heard(BrokenConnectionError(f"no connection to {self._host}:{self._port}: {error}"))
        except Exception as error:  # noqa: BLE001  (whoever waits must hear of it)
            heard(error)
        else:
            connection.post(request, deadline, heard)

    def _kept(self, now: float) -> Connection | None:
        """Return the connection that was used last; those that were idle for too long go."""
        idle = self._shared.idle
        while idle and idle[0].idle_since < now - IDLE_MOST:
            idle.popleft().close()
        while idle:
            connection = idle.pop()
            if connection.is_open:
                return connection
        return None

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        opened = await start_connection(await self._addresses(loop), happy_eyeballs_delay=NEXT_ADDRESS)
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(self._shared),
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
