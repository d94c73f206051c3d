"""uvicorn's httptools protocol with the ingest route answered on the spot; all other paths go to the ASGI app."""

import time
from asyncio import AbstractEventLoop, TimerHandle, Transport
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from services.ingestor.door import Door
from services.ingestor.exchange import Exchange
from services.ingestor.replies import CURRENT_PATH, DEPRECATED_PATHS

# path -> whether it is deprecated
ROUTES = {CURRENT_PATH: False} | dict.fromkeys(DEPRECATED_PATHS, True)


class IngestProtocol(HttpToolsProtocol):
    """One connection. Requests are answered in order; a pipelined one waits until those before it are."""

    cycle: Any  # uvicorn's, of the ASGI app, or an Exchange

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
        self._began = 0.0
        self._reading = False
        self._read_timer: TimerHandle | None = None
        self._dates: list[tuple[bytes, bytes]] | None = None
        self._date = b""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Give a connection that never sends anything as long as one that has become idle."""
        super().connection_made(transport)
        self._arm_keep_alive()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was not read to its end."""
        self._stop_read_timer()
        for exchange in (self.cycle, *(cycle for cycle, _ in self.pipeline)):
            if isinstance(exchange, Exchange):
                exchange.disconnect()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and bound the time that one request may take to arrive."""
        super().data_received(data)
        if not self._reading:
            self._stop_read_timer()
        elif self._read_timer is None:
            self._read_timer = self.loop.call_later(self._door.settings.body_timeout, self._too_slow)

    def on_message_begin(self) -> None:
        """Note the time; uvicorn's scope is only made for requests of the ASGI app."""
        self.url = b""
        self.headers = []
        self._began = time.perf_counter()
        self._reading = True
        self._stop_read_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, its name in lower case."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Route: an ingest request is judged by its headers at once."""
        deprecated = ROUTES.get(self.url)
        if deprecated is None:
            deprecated = ROUTES.get(httptools.parse_url(self.url).path)
        if deprecated is None or self.parser.get_method() != b"POST":
            self._to_app()
            return
        headers = dict(self.headers)
        exchange = Exchange(self._door, self, headers, self._began, deprecated=deprecated)
        version = self.parser.get_http_version()
        exchange.keep_alive = version != "1.0" and self.parser.should_keep_alive()
        if b"expect" in headers and version != "1.0":
            exchange.waits_for_continue = headers[b"expect"].lower() == b"100-continue"
        previous, self.cycle = self.cycle, exchange
        if previous is None or previous.response_complete:
            exchange.start()
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]

    def on_body(self, body: bytes) -> None:
        """Hand a piece of the body on."""
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

    def date(self) -> bytes:
        """Return the Date header line, which uvicorn renews each second."""
        if self._dates is not self.server_state.default_headers:
            self._dates = self.server_state.default_headers
            self._date = b"".join(name + b": " + value + b"\r\n" for name, value in self._dates)
        return self._date

    def finished(self, *, close: bool) -> None:
        """Go on with the next request, or close."""
        if close:
            self.transport.close()
        self.on_response_complete()

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

    def _arm_keep_alive(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _too_slow(self) -> None:
        self._read_timer = None
        exchange = self.cycle
        if isinstance(exchange, Exchange) and not exchange.response_complete:
            exchange.abandon(self._door.too_slow())
        else:
            self.transport.close()
