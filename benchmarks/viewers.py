"""People at the console: each signs in once, then their browser polls the dashboard as its script does.

    python -m benchmarks.viewers URL KEY --count 100 --seconds 30

Each asks for the live piece every 5 s and for the charts every 60 s, with the ETag it has, on a connection of its own;
all begin at moments of their own. It prints `ready` once all are signed in, starts at a line on its input and
prints one JSON object at the end.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser

import aiohttp
import uvloop

LIVE, CHARTS = ("/dashboard/live", 5.0), ("/dashboard/charts", 60.0)  # paths, and seconds between two questions


class _Field(HTMLParser):
    """Finds the value of the form's hidden field."""

    value = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and given.get("name") == "csrf":
            self.value = given.get("value") or ""


@dataclass
class Seen:
    """What all viewers saw."""

    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    bytes: int = 0

    def quantile(self, share: float) -> float:
        """Return the seconds within which that share was answered."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


async def sign_in(session: aiohttp.ClientSession, key: str) -> None:
    """Sign in as a person does, and look at the dashboard once."""
    async with session.get("/sign-in", headers={"Accept-Encoding": "identity"}) as page:
        form = _Field()
        form.feed(await page.text())
    async with session.post("/sign-in", data={"csrf": form.value, "next": "/", "key": key}) as page:
        if page.status != 200 or page.url.path != "/":
            raise SystemExit(f"nobody could sign in: {page.status} at {page.url}")


async def poll(session: aiohttp.ClientSession, path: str, gap: float, until: float, seen: Seen) -> None:
    """Ask again and again."""
    etag = ""
    due = time.perf_counter() + random.random() * gap
    while due < until:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        async with session.get(path, headers={"If-None-Match": etag} if etag else {}) as reply:
            seen.bytes += len(await reply.read())
            etag = reply.headers.get("ETag", etag)
        seen.latencies.append(time.perf_counter() - due)
        seen.statuses[reply.status] += 1
        due += gap


async def watch(options: argparse.Namespace) -> None:
    """Sign all in, wait for the start, poll, report."""
    sessions = [
        aiohttp.ClientSession(options.url, auto_decompress=False, cookie_jar=aiohttp.CookieJar(unsafe=True))
        for _ in range(options.count)
    ]
    try:
        for session in sessions:
            await sign_in(session, options.key)
        print("ready", flush=True)
        if not await asyncio.to_thread(sys.stdin.readline):
            return
        seen, until = Seen(), time.perf_counter() + options.seconds
        await asyncio.gather(
            *(poll(session, *piece, until, seen) for session in sessions for piece in (LIVE, CHARTS)),
            asyncio.sleep(options.seconds),
        )
    finally:
        await asyncio.gather(*(session.close() for session in sessions))
    print(
        json.dumps(
            {
                "requests": len(seen.latencies), "bytes": seen.bytes, "statuses": seen.statuses,
                "p50_ms": seen.quantile(0.5) * 1000, "p99_ms": seen.quantile(0.99) * 1000,
            }
        ),
        flush=True,
    )  # fmt: skip


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("key")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0)
    uvloop.run(watch(parser.parse_args()))


if __name__ == "__main__":
    main()
