"""CPU µs a POST: the forwarder's own HTTP client beside libraries, against the receiver of the webhook's row.

    python -m benchmarks.webhook_clients [--runs 3] [--quick] [--json]

The CPU is that of the client's process, all threads. Libraries that are not installed are left out.
"""

import argparse
import asyncio
import importlib
import ssl
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import requests
import uvloop

from benchmarks import machine, measuring
from benchmarks.measuring import Bench, Figure, NotHere, Side
from scripts.devtools.embedded import free_port
from services.moog_forwarder.session import Session
from services.moog_forwarder.webhook import HEADERS

BODY = b'{"external_id":"019ad2f0-0000-7000-8000-000000000001","description":"' + b"x" * 1000 + b'"}'
UNDER_WAY = 32
POSTS = 10_000
TIMEOUT = 10.0  # seconds
Post = Callable[[], Awaitable[int]]


async def _many(post: Post, count: int) -> Figure:
    left = count

    async def some() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            if await post() != HTTPStatus.OK:
                raise SystemExit("a request was refused")

    await asyncio.gather(*(post() for _ in range(UNDER_WAY)))  # so that every connection is there
    used, begun = time.process_time(), time.perf_counter()
    await asyncio.gather(*(some() for _ in range(UNDER_WAY)))
    return Figure(count / (time.perf_counter() - begun), (time.process_time() - used) / count * 1e6)


def _own(url: str, count: int) -> Figure:
    async def run() -> Figure:
        session = Session(url, HEADERS, TIMEOUT, ssl.create_default_context())
        head = session.head({"Authorization": "Bearer key"})

        async def post() -> int:
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            session.post(head, BODY, answer.set_result)
            return int((await answer).status)

        figure = await _many(post, count)
        session.close()
        return figure

    return uvloop.run(run())


def _aiohttp(url: str, count: int) -> Figure:
    async def run() -> Figure:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        connector = aiohttp.TCPConnector(limit=UNDER_WAY)
        async with aiohttp.ClientSession(headers=HEADERS, timeout=timeout, connector=connector) as session:

            async def post() -> int:
                headers = {"Authorization": "Bearer key"}
                async with session.post(url, data=BODY, headers=headers, allow_redirects=False) as answer:
                    await answer.read()
                    return answer.status

            return await _many(post, count)

    return uvloop.run(run())


def _pyreqwest(url: str, count: int) -> Figure:
    try:
        builder: Any = importlib.import_module("pyreqwest.client").ClientBuilder()
    except ImportError:
        raise NotHere("pyreqwest is not installed") from None

    async def run() -> Figure:
        async with builder.no_proxy().http1_only().build() as client:

            async def post() -> int:
                headers = {**HEADERS, "Authorization": "Bearer key"}
                answer = await client.post(url).headers(headers).body_bytes(BODY).build().send()
                await answer.bytes()
                return int(answer.status)

            return await _many(post, count)

    return uvloop.run(run())


def _requests(url: str, count: int) -> Figure:
    session = requests.Session()
    session.trust_env = False
    used, begun = time.process_time(), time.perf_counter()
    for _ in range(count):
        session.post(url, data=BODY, headers=HEADERS, timeout=TIMEOUT).raise_for_status()
    return Figure(count / (time.perf_counter() - begun), (time.process_time() - used) / count * 1e6)


@contextmanager
def bench(_options: argparse.Namespace) -> Iterator[Bench]:
    """Start the receiver."""
    port = free_port()
    log = Path(tempfile.gettempdir()) / "mutt-benchmark-receiver.log"
    with machine.processes([[sys.executable, "-m", "benchmarks.receiver", str(port)]], {}, log) as started:
        machine.wait_listening(port, f"the receiver (log: {log})", started)

        def side(name: str, what: str, measure: Callable[[str, int], Figure], share: float = 1.0) -> Side:
            def once(scale: float) -> Figure:
                return measure(f"http://127.0.0.1:{port}/events", max(UNDER_WAY, round(POSTS * share * scale)))

            return Side(name, what, once)

        sides = [
            side("stack", "requests.Session, one by one", _requests, 0.2),
            side("aiohttp", "ClientSession", _aiohttp, 0.5),
            side("pyreqwest", "a library in Rust", _pyreqwest),
            side("mutt", "services/moog_forwarder/session.py", _own),
        ]
        conditions = f"{UNDER_WAY} requests under way (requests: one), {len(BODY)} bytes each, no TLS"
        yield Bench("webhook_clients", "HTTP clients, one POST after another", conditions, sides, [], "requests")


if __name__ == "__main__":
    measuring.main(bench, __doc__)
