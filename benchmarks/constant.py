"""An HTTP server on uvloop and httptools that answers every request with the same bytes: the limit of the ingest rows.

    python -m benchmarks.constant PORT BYTES

The answer has the head of MUTT's and a body of so many bytes. Nothing of a request is looked at but where it ends.
"""

import asyncio
import sys
from typing import Any

import httptools
import uvloop

HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Mon, 30 Nov 2026 12:00:00 GMT\r\ncontent-type: application/json\r\n"
    b"x-api-version: v2.5\r\ncontent-length: %d\r\n\r\n"
)


class Constant(asyncio.Protocol):
    """One connection."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None  # uvloop's is no asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to answer."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Answer."""
        self._transport.write(self._answer)


async def serve(port: int, answer: bytes) -> None:
    """Answer until cancelled."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Constant(answer), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    size = int(sys.argv[2])
    uvloop.run(serve(int(sys.argv[1]), HEAD % size + b" " * size))
