"""uvicorn's httptools protocol with the ingest route answered on the spot; all other paths go to the ASGI app."""

import asyncio
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from services.ingestor import hec, otlp
from services.ingestor.door import Door
from services.ingestor.exchange import Exchange
from services.ingestor.head import Head, KnownHead, without_upgrade
from services.ingestor.lone import Lone
from services.ingestor.peers import Peer
from services.ingestor.replies import CURRENT_PATH, DEPRECATED_PATHS, ROOT_PATH

# path -> who answers it, and whether it is deprecated
ROUTES: dict[bytes, tuple[type[Exchange], bool]] = {
    CURRENT_PATH: (Exchange, False),
    ROOT_PATH: (Exchange, False),
    **dict.fromkeys(DEPRECATED_PATHS, (Exchange, True)),
    **{path: (kind, False) for path, kind in hec.ROUTES.items()},
    **{path: (kind, False) for path, kind in otlp.ROUTES.items()},
}
SWEEP_SECONDS = 0.5
HEAD_BYTES = 64 * 1024  # of a head, or of what follows a chunked body, that does not end
HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class IngestProtocol(HttpToolsProtocol):
    """One connection. Requests are answered in order; a pipelined one waits until those before it are."""

    cycle: Any  # uvicorn's, of the ASGI app, or an Exchange
    peer: Peer

    def __init__(
        self,
        door: Door,
        *,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state=app_state, _loop=_loop)
        self._door = door
        self._began = self._active = time.perf_counter()
        self._reading = self._has_body = False
        self._head_size = 0
        self._known: KnownHead | None = None
        self._lone: Lone | None = None  # for requests with the known head
        self._dates: list[tuple[bytes, bytes]] | None = None
        self._date = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note whose connection it is."""
        super().connection_made(transport)
        self.peer = self._door.peers.arrived(self.sender())

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was not read to its end."""
        for exchange in (self.cycle, *(cycle for cycle, _ in self.pipeline)):
            if isinstance(exchange, Exchange):
                exchange.disconnect()
        self.pipeline.clear()
        self._door.peers.left(self.peer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; a whole request that begins like the connection's last one is known by sight."""
        idle = not self._reading and (self.cycle is None or self.cycle.response_complete)
        known = self._known
        if known is not None and idle and known.generation == self._door.keys.generation:
            body = known.body_of(data)
            if body is not None:
                lone = self._lone
                if lone is None or lone.is_spent:
                    lone = self._lone = Lone(self._door, self, known.head, 0.0)
                self.cycle = lone
                lone.again(body, time.perf_counter())
                return
        head_of = self._began if self._reading else None
        self._has_body = False
        super().data_received(data if self._reading else without_upgrade(data))
        if self._reading and head_of == self._began and not self._has_body:
            self._bound_head(len(data))
        if idle and isinstance(self.cycle, Exchange) and not self._reading:
            self._known, self._lone = self.cycle.known_by(data), None

    def on_message_begin(self) -> None:
        """Note the time; uvicorn's scope is only made for requests of the ASGI app."""
        self.url = b""
        self.headers = []
        self._began = time.perf_counter()
        self._reading = True
        self._head_size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, its name in lower case."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Route: an ingest request is judged by its headers at once."""
        route, query = ROUTES.get(self.url), None
        if route is None:
            parsed = httptools.parse_url(self.url)
            route, query = ROUTES.get(parsed.path), parsed.query
        if route is None or self.parser.get_method() != b"POST":
            self._to_app()
            return
        kind, deprecated = route
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        head = Head(self.headers, deprecated=deprecated, keep_alive=keep_alive)
        if query:
            head.query = query
        exchange = kind(self._door, self, head, self._began)
        exchange.judge()
        previous, self.cycle = self.cycle, exchange
        if previous is None or previous.response_complete:
            exchange.start()
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]

    def on_body(self, body: bytes) -> None:
        """Hand a piece of the body on."""
        self._has_body = True
        self._head_size = 0
        if isinstance(self.cycle, Exchange):
            self.cycle.feed(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Hand the end of the body on."""
        self._reading = False
        if isinstance(self.cycle, Exchange):
            self.cycle.end()
        else:
            super().on_message_complete()

    def send(self, data: bytes) -> None:
        """Write, unless the sender has gone."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def sender(self) -> str:
        """Return the address of the other end, nothing where it has none."""
        return self.client[0] if self.client else ""

    def date(self) -> bytes:
        """Return the Date header line, which uvicorn renews each second."""
        if self._dates is not self.server_state.default_headers:
            self._dates = self.server_state.default_headers
            self._date = b"".join(name + b": " + value + b"\r\n" for name, value in self._dates)
        return self._date

    def finished(self, now: float, *, close: bool) -> None:
        """Go on with the next request, or close."""
        self._active = now
        if close:
            self.transport.close()
        elif self.pipeline or self.flow.read_paused:
            self._go_on()

    def on_response_complete(self) -> None:
        """Begin with the next request of the pipeline; no timer is set, `sweep` looks for idle connections."""
        self.server_state.total_requests += 1
        self._active = time.perf_counter()
        self._go_on()

    def _go_on(self) -> None:
        if self.transport.is_closing():
            return
        if not self.flow.write_paused:
            self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """Read nothing more from a sender that does not read its replies: they would fill the memory."""
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """Go on reading, unless a pipelined request waits."""
        super().resume_writing()
        if not self.pipeline:
            self.flow.resume_reading()

    def close_if_late(self, now: float) -> None:
        """Refuse a request that takes too long to arrive; close a connection that has been idle for too long."""
        settings = self._door.settings
        if self._reading:
            # A head that begins while the request before it waits is late only once that has its reply.
            waits = isinstance(self.cycle, Exchange) and self.cycle.waits_for_reply
            if not waits and now - self._began > settings.body_timeout:
                self._too_slow()
        elif (self.cycle is None or self.cycle.response_complete) and now - self._active > settings.keep_alive:
            self.transport.close()

    def _too_slow(self) -> None:
        if isinstance(self.cycle, Exchange) and not self.cycle.response_complete:
            self._reading = False
            self.cycle.abandon(self._door.too_slow())
        else:
            self.transport.close()

    def _bound_head(self, more: int) -> None:
        self._head_size += more
        if self._head_size > HEAD_BYTES:
            if not (isinstance(self.cycle, Exchange) and self.cycle.response_complete):
                self.send(HEAD_TOO_LARGE)
            self.transport.close()

    def _to_app(self) -> None:
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if isinstance(cycle, Exchange):
            # Not at once: a long pipeline of requests that are answered on the spot would be a deep recursion.
            self.loop.call_soon(cycle.start)
        else:
            super()._start_asgi_task(cycle, app)


async def sweep(connections: Callable[[], Iterable[Any]]) -> None:
    """Look for late and idle connections until cancelled: a timer for each request would cost more than its parsing."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        now = time.perf_counter()
        for connection in list(connections()):
            if isinstance(connection, IngestProtocol):
                connection.close_if_late(now)
