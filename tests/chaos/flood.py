"""Batches as fast as they are asked for, from many connections and addresses: a process with a ledger of its own.

It reads one plan a line from its input (JSON, made by `Generator.begin` of tests/chaos/generator.py), carries it out,
and answers with one line: what each sender was told, and how long it waited for it. SIGTERM ends a plan early. The
ledger's lines are `batch events outcome`, where the outcome is taken, refused or unknown; a batch is the first 12
digits of its events' correlation ids, and is never sent twice.
"""

import asyncio
import gzip
import json
import signal
import sys
import time
from array import array
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

REPLY_SECONDS = 30.0  # without a reply for so long, what became of a batch is unknown
BEHIND_SECONDS = 0.2  # a sender that could not keep its rate makes up for so much of it
EVERY = 100  # one event in so many is owed to Moogsoft
PLACE = "00000000-0000"
WITHOUT_LENGTH = "a reply without a length"


def template(events: int) -> bytes:
    """Return the body of a batch whose number is not in it yet."""
    moment = datetime.now(UTC).isoformat()
    return json.dumps(
        [
            {
                "timestamp": moment,
                "hostname": f"host{number % 50}.example",
                "message": f"{'LOG' if number % EVERY else 'PAGE'}: job {number} on the host ended as it should",
                "correlation_id": f"{PLACE}-4000-8000-{number:012x}",
            }
            for number in range(events)
        ]
    ).encode()


def batch_name(number: int) -> str:
    """Return the digits that a batch's correlation ids begin with."""
    return f"{number >> 16:08x}-{number & 0xFFFF:04x}"


class Sender:
    """One sender: an address, its connections, and what it was told."""

    def __init__(self, flood: "Flood", asked: dict[str, Any]) -> None:
        self.name: str = asked["name"]
        self.source: str = asked["source"]
        self.events: int = asked["events"]
        self.connections: int = asked["connections"]
        self.answers: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.for_memory = 0  # refusals that speak of Redis's memory
        self.waits = array("d")
        self.refused_waits = array("d")
        self._flood = flood
        self._body = template(self.events)
        self._gzip: bool = asked["gzip"]
        self._pause = self.events / asked["rate"] if asked["rate"] else 0.0
        self._due = time.perf_counter() - self._pause

    def request(self, name: str) -> bytes:
        """Return a request of a batch."""
        body = self._body.replace(PLACE.encode(), name.encode())
        coding = ""
        if self._gzip:
            body, coding = gzip.compress(body, 1), "Content-Encoding: gzip\r\n"
        return self._flood.head + f"{coding}Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def turn(self) -> None:
        """Wait until the next batch is due."""
        now = time.perf_counter()
        self._due = max(self._due + self._pause, now - BEHIND_SECONDS)
        if self._due > now:
            await asyncio.sleep(self._due - now)

    async def run(self) -> None:
        """Send on one connection, and on another where it ends, until the time is over."""
        while not self._flood.is_over:
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self._flood.port, local_addr=(self.source, 0)
                )
            except OSError:
                self.answers["not connected"] += 1
                await asyncio.sleep(0.1)
                continue
            try:
                await self._converse(reader, writer)
            finally:
                writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await self.turn()
            if self._flood.is_over:
                return
            number = self._flood.next_batch()
            data = self.request(batch_name(number))
            began = time.perf_counter()
            status = 0
            try:
                writer.write(data)
                status, retry_after = await asyncio.wait_for(self._reply(reader), REPLY_SECONDS)
            except (OSError, EOFError, TimeoutError):
                self.answers["no reply"] += 1
                return
            finally:
                outcome = {200: "taken", 0: "unknown"}.get(status, "refused")
                self._flood.note(number, self.events, outcome)
            self.answers[str(status)] += 1
            (self.waits if status == 200 else self.refused_waits).append(time.perf_counter() - began)
            if status not in {200, 503} or (status == 503 and not retry_after):
                self.complaints.append(f"{self.name} was answered {status} with Retry-After {retry_after!r}")

    async def _reply(self, reader: asyncio.StreamReader) -> tuple[int, str]:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
        if "content-length" not in fields:
            raise EOFError(WITHOUT_LENGTH)
        body = await reader.readexactly(int(fields["content-length"]))
        self.for_memory += b"memory" in body
        return int(head[9:12]), fields.get("retry-after", "")


class Flood:
    """One plan."""

    def __init__(self, plan: dict[str, Any], first: int) -> None:
        self.port: int = plan["port"]
        self.head = (
            f"POST /api/v2/ingest HTTP/1.1\r\nHost: mutt\r\nX-API-KEY: {plan['key']}\r\n"
            "Content-Type: application/json\r\n"
        ).encode()
        self.number = first
        self._until: float = time.perf_counter() + plan["seconds"]
        self._stop_at_refusal: bool = plan["until_refused"]
        self._path = Path(plan["ledger"])
        self._lines: list[str] = []
        self._senders = [Sender(self, asked) for asked in plan["senders"]]

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be sent."""
        return time.perf_counter() >= self._until

    def next_batch(self) -> int:
        """Return a number that no other batch has."""
        self.number += 1
        return self.number

    def note(self, number: int, events: int, outcome: str) -> None:
        """Enter what became of a batch."""
        self._lines.append(f"{batch_name(number)} {events} {outcome}\n")
        if outcome == "refused" and self._stop_at_refusal:
            self.stop()

    def stop(self) -> None:
        """Send nothing more."""
        self._until = 0.0

    async def run(self) -> dict[str, Any]:
        """Carry the plan out and return what there is to tell of it."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop)
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for sender in self._senders:
                for _ in range(sender.connections):
                    group.create_task(sender.run())
        with self._path.open("a", encoding="ascii") as ledger:
            ledger.writelines(self._lines)
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "senders": {sender.name: told(sender) for sender in self._senders}}


def told(sender: Sender) -> dict[str, Any]:
    """Return what a sender was told, with its waits in milliseconds."""
    waits, refused = sorted(sender.waits), sorted(sender.refused_waits)
    return {
        "events": sender.events,
        "answers": sender.answers,
        "for_memory": sender.for_memory,
        "complaints": sender.complaints[:5],
        **{f"p{share:g}": quantile(waits, share / 100) for share in (50, 99, 100)},
        "refused_p99": quantile(refused, 0.99),
    }


def quantile(ordered: list[float], share: float) -> float:
    """Return milliseconds that `share` of the waits kept within."""
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 1) if ordered else 0.0


def main() -> None:
    """Carry out one plan after another."""
    number = int(sys.argv[1])  # of the batch before the first
    for line in sys.stdin:
        flood = Flood(json.loads(line), number)
        print(json.dumps(uvloop.run(flood.run())), flush=True)  # noqa: T201  (its output)
        number = flood.number


if __name__ == "__main__":
    main()
