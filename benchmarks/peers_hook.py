"""A webhook that counts each alert once by its number: python -m benchmarks.peers_hook PORT.

GET answers how many different ones came, DELETE forgets them.
"""

import asyncio
import re
import sys
from typing import cast

import httptools
import uvloop

NUMBER = re.compile(rb"sequence\D{1,3}(\d+)")  # in a message, or as a label
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"


class Hook(asyncio.Protocol):
    """One connection."""

    def __init__(self, numbers: set[bytes]) -> None:
        self._numbers = numbers
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where answers go."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        """Keep a part of a body."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Note what came and answer."""
        self._numbers.update(NUMBER.findall(b"".join(self._body)))
        self._body.clear()
        if self._parser.get_method() == b"DELETE":
            self._numbers.clear()
        told = b"%d" % len(self._numbers)
        self._transport.write(HEAD % (len(told), told))


async def main(port: int) -> None:
    """Listen until killed."""
    numbers: set[bytes] = set()
    server = await asyncio.get_running_loop().create_server(lambda: Hook(numbers), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
