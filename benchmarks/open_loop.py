"""Open-loop load: each request is due at its time, whether or not earlier ones were answered; none is left out.

    python -m benchmarks.open_loop URL KEY --rate 5000 --seconds 5 [--batch 100] [--size 364] [--connections 64]

A latency counts from the moment when a request was due, so that a stall counts for everybody who would have come in it.
Every event says in its field `due` (seconds since 1970) when that was. With --rate 0 each connection sends as soon as
it has its answer. With --addresses N connections come from N addresses of the loopback. It prints `ready` once
all connections are open, starts at a line on its input, prints one JSON object at the end, and keeps the connections
until its input ends: what opening and closing them costs is in no figure.
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import uvloop

from benchmarks.workload import events

DIFFERENT = 2000  # events made beforehand
TICK = 0.001  # seconds
DRAIN = 60.0  # seconds that the last answers may take
ROOM = len(b',"due":1764540000.123456')
OPENING = 100  # connections opened at once


@dataclass
class Answers:
    """What came back; seconds since each request was due."""

    accepted: int = 0
    refused: int = 0
    latencies: list[float] = field(default_factory=list)
    late: float = 0.0  # by how much the generator itself fell behind its clock, at worst

    def quantile(self, share: float) -> float:
        """Return the seconds within which that share was answered."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def bodies(size: int) -> list[bytes]:
    """Return events without their last brace, of `size` bytes once they have their `due`; 0 leaves them as they are."""
    return [_packed(_of_size(json.loads(event), size))[:-1] for event in events(DIFFERENT)]


def _of_size(fields: dict[str, Any], size: int) -> dict[str, Any]:
    missing = size - len(_packed(fields)) - ROOM
    if not size or not missing:
        return fields
    if missing >= len(',"detail":""'):
        return fields | {"detail": "x" * (missing - len(',"detail":""'))}
    message = fields["message"]
    if len(message) + missing < 1:
        fields = {"timestamp": fields["timestamp"], "hostname": "h1", "message": ""}
        missing = size - len(_packed(fields)) - ROOM
        return fields | {"message": message[: max(1, missing)]}
    return fields | {"message": (message + "x" * max(0, missing))[: len(message) + missing]}


def _packed(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


class Run:
    """One run: the schedule, idle connections, and requests that are due while none is idle."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.answers = options, Answers()
        parts = urlsplit(options.url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self._head = (
            f"POST /api/v2/ingest HTTP/1.1\r\nHost: {self.host}\r\nX-API-KEY: {options.key}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self._bodies = bodies(options.size)
        self._number = 0
        self.idle: deque[Connection] = deque()
        self.waiting: deque[float] = deque()
        self.ending = False

    def request(self, due: float) -> bytes:
        """Return the next request."""
        options, made, number = self.options, self._bodies, self._number
        self._number += options.batch
        tail = b',"due":%.6f}' % due
        if options.batch == 1:
            body = made[number % DIFFERENT] + tail
        else:
            chosen = (made[(number + place) % DIFFERENT] for place in range(options.batch))
            body = b"[" + b",".join([event + tail for event in chosen]) + b"]"
        return b"%s%d\r\n\r\n%s" % (self._head, len(body), body)

    async def go(self) -> None:
        """Open all connections, send once told to, and report."""
        connections = [Connection(self) for _ in range(self.options.connections)]
        for start in range(0, len(connections), OPENING):
            await asyncio.gather(
                *(self._open(place, each) for place, each in enumerate(connections[start : start + OPENING], start))
            )
        if self.options.greet:
            await self._greet(connections)
        print("ready", flush=True)
        if await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await self.send(connections)), flush=True)
            await asyncio.to_thread(sys.stdin.read)

    async def send(self, connections: "list[Connection]") -> dict[str, Any]:
        """Send until the time is over, and wait for the last answers."""
        options, begun = self.options, time.time()
        self.idle.extend(connections)
        await (self._paced(begun) if options.rate else self._unpaced())
        self.ending = True
        limit = time.time() + DRAIN
        while (self.waiting or len(self.idle) < len(connections)) and time.time() < limit:  # noqa: ASYNC110
            await asyncio.sleep(TICK)
        seconds = time.time() - begun
        answers = self.answers
        return {
            "accepted": answers.accepted, "refused": answers.refused, "seconds": seconds,
            "unanswered": len(self.waiting) + len(connections) - len(self.idle),
            "late_ms": answers.late * 1000, "p50_ms": answers.quantile(0.5) * 1000,
            "p99_ms": answers.quantile(0.99) * 1000, "p999_ms": answers.quantile(0.999) * 1000,
            "max_ms": max(answers.latencies, default=0.0) * 1000,
        }  # fmt: skip

    async def _greet(self, connections: "list[Connection]") -> None:
        """Let each connection send its first request, which costs more than those that follow; it is in no figure."""
        self.ending = True
        for connection in connections:
            connection.send(time.time())
        while len(self.idle) < len(connections):  # noqa: ASYNC110
            await asyncio.sleep(TICK)
        self.ending, self.answers = False, Answers()
        self.idle.clear()

    async def _open(self, place: int, connection: "Connection") -> None:
        addresses = self.options.addresses
        source = (f"127.0.{1 + place % addresses // 250}.{1 + place % addresses % 250}", 0) if addresses else None
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: connection, self.host, self.port, local_addr=source)

    async def _paced(self, begun: float) -> None:
        options, sent = self.options, 0
        requests = int(options.rate * options.seconds / options.batch)
        gap = options.batch / options.rate
        while sent < requests:
            now = time.time()
            until = min(requests, int((now - begun) / gap) + 1)
            if sent < until:
                self.answers.late = max(self.answers.late, now - begun - sent * gap)
            for number in range(sent, until):
                due = begun + number * gap
                if self.idle:
                    self.idle.popleft().send(due)
                else:
                    self.waiting.append(due)
            sent = max(sent, until)
            await asyncio.sleep(TICK)

    async def _unpaced(self) -> None:
        self.ending = False
        for _ in range(len(self.idle)):
            self.idle.popleft().send(time.time())
        await asyncio.sleep(self.options.seconds)


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way."""

    def __init__(self, run: Run) -> None:
        self._run, self._due, self._buffer = run, 0.0, b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def send(self, due: float) -> None:
        """Send a request that was due then."""
        self._due = due
        self._transport.write(self._run.request(due))

    def data_received(self, data: bytes) -> None:
        """Take an answer and go on with what waits."""
        self._buffer = data = self._buffer + data if self._buffer else data
        head, separator, rest = data.partition(b"\r\n\r\n")
        if not separator or len(rest) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return
        self._buffer = b""
        run, now = self._run, time.time()
        if data[9:12] == b"200":
            run.answers.accepted += run.options.batch
        else:
            run.answers.refused += run.options.batch
        run.answers.latencies.append(now - self._due)
        if run.waiting:
            self.send(run.waiting.popleft())
        elif run.options.rate or run.ending:
            run.idle.append(self)
        else:
            self.send(now)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the run where the other side hung up in its midst."""
        if not self._run.ending:
            raise SystemExit(f"a connection was lost: {exc}")


def main() -> None:
    """Make, wait for the start, send, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("key")
    parser.add_argument("--rate", type=float, default=0.0, help="events a second; 0: as fast as the answers come")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, default=0, help="bytes of an event")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--addresses", type=int, default=0)
    parser.add_argument("--greet", type=int, default=0, help="1: a request of each connection beforehand")
    run = Run(parser.parse_args())
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(run.go())


if __name__ == "__main__":
    main()
