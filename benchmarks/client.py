"""A load generator: keep-alive connections that each send the next request when the last one was answered.

Run as a process of its own, so that it shares no interpreter with what it measures. It prints `ready` once all
requests are made, starts at a line on its input, and prints one JSON object at the end.
"""

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import cast
from urllib.parse import urlsplit

import uvloop

from benchmarks.workload import events

OK, BUSY = 200, 503
PAUSE_WHEN_BUSY = 0.02  # seconds


class Connection(asyncio.Protocol):
    """One keep-alive connection in a closed loop; a connection that the server ended is made anew."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.request = b""
        self.started = 0.0
        self.buffer = b""
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self.send_next()

    def send_next(self) -> None:
        """Send the next request, or end when none is left."""
        request = self.request or next(self.load.requests, None)
        if request is None:
            self.ended = True
            self.transport.close()
            self.load.connection_ended()
            return
        self.request = request
        self.started = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Count a whole reply and go on."""
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        lower = head.lower()
        length = int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self.buffer = b""
        status = int(head[9:12])
        self.load.statuses[status] += 1
        self.load.latencies.append(time.perf_counter() - self.started)
        if status == BUSY:
            asyncio.get_running_loop().call_later(PAUSE_WHEN_BUSY, self.send_next)
            return
        if status != OK:
            raise SystemExit(f"the ingestor answered {status}: {body[:300].decode()}")
        self.request = b""
        if b"connection: close" in lower:
            self.transport.close()
        else:
            self.send_next()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (the protocol gives it)
        """Connect again while something is left to send."""
        if not self.ended:
            self.load.reconnect()


class Load:
    """All connections of one run."""

    def __init__(self, url: str, requests: Iterator[bytes], connections: int) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.requests = requests
        self.open = connections
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.tasks: set[asyncio.Task[object]] = set()

    async def run(self) -> None:
        """Send everything."""
        self.done = asyncio.Event()
        for _ in range(self.open):
            self.reconnect()
        await self.done.wait()

    def reconnect(self) -> None:
        """Open one connection."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.create_connection(lambda: Connection(self), self.host, self.port))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def connection_ended(self) -> None:
        """Note that one connection found nothing left to send."""
        self.open -= 1
        if not self.open:
            self.done.set()


def requests(url: str, key: str, count: int, batch: int, seed: int) -> list[bytes]:
    """Return the bytes of all requests: single objects, or arrays of `batch`."""
    parts = urlsplit(url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nX-API-KEY: {key}\r\nContent-Type: application/json\r\n"
    )
    made = []
    source = events(count, seed)
    while chunk := list(itertools.islice(source, batch)):
        body = chunk[0] if batch == 1 else b"[" + b",".join(chunk) + b"]"
        made.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return made


def main() -> None:
    """Make, wait for the start, send, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("key")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    made = requests(options.url, options.key, options.count, options.batch, options.seed)
    print("ready", flush=True)
    sys.stdin.readline()
    load = Load(options.url, iter(made), min(options.connections, len(made)))
    started = time.perf_counter()
    uvloop.run(load.run())
    seconds = time.perf_counter() - started
    latencies = sorted(load.latencies)
    report = {
        "seconds": seconds,
        "statuses": {str(status): number for status, number in load.statuses.items()},
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
