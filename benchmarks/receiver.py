"""A webhook that answers 200 to every alert at once, as cheaply as Python can.

    python -m benchmarks.receiver PORT

GET answers what came so far: {"requests", "alerts", "p50_ms", "p99_ms", "p999_ms", "most_ms"}, of how old alerts were:
since the moment in the event's own field `due` (seconds since 1970), else by their ids, which begin with the receipt's.
DELETE forgets it.
"""

import asyncio
import json
import sys
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import cast

import httptools
import uvloop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
ANSWER = HEAD + b"2\r\n\r\n{}"
MEMBER, DUE = b'"external_id":', b'"due":'
AGES_MOST = 2_000_000  # kept


class Taken:
    """What came."""

    def __init__(self) -> None:
        self.requests = self.alerts = 0
        self.ages: list[float] = []  # ms

    def take(self, body: bytes) -> None:
        """Count a request and note how old its alerts are."""
        self.requests += 1
        now = time.time_ns() / 1_000_000
        at = body.find(MEMBER)
        while at >= 0:
            self.alerts += 1
            start = body.index(b'"', at + len(MEMBER)) + 1
            if len(self.ages) < AGES_MOST:
                due = body.find(DUE, start)
                then = (
                    int(body[start : start + 8] + body[start + 9 : start + 13], 16)
                    if due < 0
                    else float(body[due + len(DUE) : due + len(DUE) + 17]) * 1000
                )
                self.ages.append(now - then)
            at = body.find(MEMBER, start)

    def report(self) -> bytes:
        """Return it as JSON."""
        ages = sorted(self.ages) or [0]
        shares = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999, "most_ms": 1.0}
        told = {name: ages[min(len(ages) - 1, int(len(ages) * share))] for name, share in shares.items()}
        return json.dumps({"requests": self.requests, "alerts": self.alerts, **told}).encode()


class Answering(asyncio.Protocol):
    """One connection to a webhook; `answer` says what a request is answered."""

    def __init__(self) -> None:
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
        """Answer."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._transport.write(self.answer(self._parser.get_method(), body))

    @abstractmethod
    def answer(self, method: bytes, body: bytes) -> bytes:
        """Return the whole answer."""


class Receiver(Answering):
    """One connection."""

    def __init__(self, taken: list[Taken]) -> None:
        super().__init__()
        self._taken = taken

    def answer(self, method: bytes, body: bytes) -> bytes:
        """Take alerts, tell of them, or forget them."""
        match method:
            case b"POST":
                self._taken[0].take(body)
                return ANSWER
            case b"DELETE":
                self._taken[0] = Taken()
        report = self._taken[0].report()
        return HEAD + b"%d\r\n\r\n" % len(report) + report


async def listen(port: int, make: Callable[[], Answering]) -> None:
    """Listen until killed."""
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    taken = [Taken()]
    uvloop.run(listen(int(sys.argv[1]), lambda: Receiver(taken)))
