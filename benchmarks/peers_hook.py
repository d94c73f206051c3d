"""A webhook that counts each alert once by its number: python -m benchmarks.peers_hook PORT.

GET answers how many different ones came, and how often one came that had come before; DELETE forgets them.
"""

import asyncio
import re
import sys
from typing import cast

import httptools
import uvloop

NUMBER = re.compile(rb"sequence\D{1,3}(\d+)")  # in a message, or as a label
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"


class Taken:
    """What came."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.numbers: set[bytes] = set()
        self.again = 0

    def take(self, body: bytes) -> None:
        """Count each alert of a request once: a label stands in several places of it."""
        numbers = set(NUMBER.findall(body))
        self.again += len(numbers & self.numbers)
        self.numbers |= numbers


class Hook(asyncio.Protocol):
    """One connection."""

    def __init__(self, taken: "Taken") -> None:
        self._taken = taken
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
        taken = self._taken
        taken.take(b"".join(self._body))
        self._body.clear()
        if self._parser.get_method() == b"DELETE":
            taken.forget()
        told = b"%d %d" % (len(taken.numbers), taken.again)
        self._transport.write(HEAD % (len(told), told))


async def main(port: int) -> None:
    """Listen until killed."""
    taken = Taken()
    server = await asyncio.get_running_loop().create_server(lambda: Hook(taken), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
