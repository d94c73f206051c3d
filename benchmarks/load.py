"""A load generator for the ingest route: raw keep-alive connections, each with one request under way.

    python -m benchmarks.load --url http://127.0.0.1:8080 --key K --connections 64 --seconds 10 [--batch 100] [--trace]

Callable by other benchmarks: `run(Target(...), Load(...)) -> Result`; `event(...)` makes the bodies.
"""

import argparse
import asyncio
import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import uvloop

EVENT_BYTES = 364


@dataclass(frozen=True)
class Target:
    """Where to send; `pid` is the ingestor's, for its CPU time (None: not measured)."""

    host: str
    port: int
    key: str
    path: str = "/api/v2/ingest"
    pid: int | None = None

    @classmethod
    def of_url(cls, url: str, key: str, pid: int | None = None) -> "Target":
        """Make a target of a base URL."""
        parts = urlsplit(url)
        return cls(parts.hostname or "127.0.0.1", parts.port or 80, key, pid=pid)


@dataclass(frozen=True)
class Load:
    """How to send: until `seconds` are over or `events` were sent; `batch` 1 means single events.

    `rate` is events a second over all connections (0: as fast as the replies come). `requests` are whole requests
    that are sent in turn instead of those that are made here. `ended` may tell that it is enough.
    """

    connections: int = 64
    seconds: float = 5.0
    events: int | None = None
    batch: int = 1
    rate: float = 0.0
    make: Callable[[int], bytes] | None = None
    requests: Sequence[bytes] = ()
    ended: Callable[[], bool] = lambda: False


@dataclass
class Result:
    """What came back; latencies in seconds, a request each; CPU in seconds of the ingestor."""

    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Accepted events a second."""
        return self.accepted / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU microseconds of the ingestor an accepted event."""
        return self.cpu / max(1, self.accepted) * 1e6

    def quantile(self, share: float) -> float:
        """Return the latency (seconds) that `share` of the requests kept within."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0

    def __str__(self) -> str:
        quantiles = ", ".join(f"p{share:g} {self.quantile(share / 100) * 1000:.2f} ms" for share in (50, 99, 99.9))
        return (
            f"{self.accepted} accepted ({self.per_second:,.0f}/s), {self.refused} refused, "
            f"{self.cpu_us:.1f} us CPU an event, {quantiles}, statuses {self.statuses}"
        )


def event(number: int, *, size: int = EVENT_BYTES, trace: bool = False) -> bytes:
    """Return one syslog event as JSON of about `size` bytes; with `trace` it brings a correlation_id of its own."""
    fields = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "message": f"%LINK-3-UPDOWN: Interface GigabitEthernet0/{number % 48}, changed state to down",
        "hostname": f"core-sw-{number % 200:03}.example",
        "source": "syslog",
        "syslog_severity": 3,
        "facility": "local7",
        "program": "ifmgr",
        "sequence": number,
    }
    if trace:
        fields["correlation_id"] = str(uuid.uuid4())
    missing = size - len(json.dumps(fields, separators=(",", ":"))) - len(',"detail":""')
    if missing > 0:
        fields["detail"] = "x" * missing
    return json.dumps(fields, separators=(",", ":")).encode()


def body(first: int, batch: int, **options: bool) -> bytes:
    """Return the body of a request: one event, or an array of `batch`."""
    if batch == 1:
        return event(first, **options)
    return b"[" + b",".join(event(first + number, **options) for number in range(batch)) + b"]"


def cpu_seconds(pid: int | None) -> float:
    """Return the CPU time of a process so far (user and system), 0 without one."""
    if pid is None:
        return 0.0
    import psutil

    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


class _Sender(asyncio.Protocol):
    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: Any = None  # uvloop's is no asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.send()

    def send(self) -> None:
        data = self._run.next_request()
        if data is None:
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        self._run.answered(int(head[9:12]), time.perf_counter() - self._sent_at)
        delay = self._run.delay()
        if delay:
            asyncio.get_running_loop().call_later(delay, self.send)
        else:
            self.send()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._run.closed()


class _Run:
    def __init__(self, target: Target, load: Load) -> None:
        self._load = load
        self._make = load.make or (lambda first: body(first, load.batch))
        head = (
            f"POST {target.path} HTTP/1.1\r\nHost: {target.host}\r\nX-API-KEY: {target.key}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        )
        self._head = head.encode()
        # Bodies are made beforehand and used in turn: making them costs more than taking them.
        self._bodies = load.requests or [
            self._packed(self._make(number * load.batch)) for number in range(500 // load.batch + 1)
        ]
        self._sent = 0
        self._open = load.connections
        self._deadline = time.perf_counter() + load.seconds
        self.result = Result()
        self.done = asyncio.Event()

    def next_request(self) -> bytes | None:
        load = self._load
        over = time.perf_counter() >= self._deadline or (load.events is not None and self._sent >= load.events)
        if over or load.ended():
            return None
        number, self._sent = self._sent // load.batch, self._sent + load.batch
        if load.make is not None:
            return self._packed(load.make(number * load.batch))
        return self._bodies[number % len(self._bodies)]

    def answered(self, status: int, latency: float) -> None:
        result = self.result
        if status == 200:
            result.accepted += self._load.batch
        else:
            result.refused += self._load.batch
        result.statuses[status] = result.statuses.get(status, 0) + 1
        result.latencies.append(latency)

    def delay(self) -> float:
        if not self._load.rate:
            return 0.0
        due = self._deadline - self._load.seconds + self._sent / self._load.rate
        return max(0.0, due - time.perf_counter())

    def closed(self) -> None:
        self._open -= 1
        if not self._open:
            self.done.set()

    def _packed(self, content: bytes) -> bytes:
        return self._head + b"%d\r\n\r\n" % len(content) + content


async def run(target: Target, load: Load) -> Result:
    """Send and wait for every reply; raises OSError when nobody listens."""
    loop = asyncio.get_running_loop()
    current = _Run(target, load)
    cpu, began = cpu_seconds(target.pid), time.perf_counter()
    for _ in range(load.connections):
        await loop.create_connection(lambda: _Sender(current), target.host, target.port)
    await current.done.wait()
    current.result.seconds = time.perf_counter() - began
    current.result.cpu = cpu_seconds(target.pid) - cpu
    return current.result


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Send events to an ingestor as fast as it answers.")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--key", required=True)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--events", type=int)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--trace", action="store_true", help="each event brings a correlation_id of its own")
    parser.add_argument("--pid", type=int, help="the ingestor's process, for its CPU time")
    given = parser.parse_args()
    make = (lambda first: body(first, given.batch, trace=True)) if given.trace else None
    load = Load(given.connections, given.seconds, given.events, given.batch, given.rate, make)
    print(uvloop.run(run(Target.of_url(given.url, given.key, given.pid), load)))


if __name__ == "__main__":
    main()
