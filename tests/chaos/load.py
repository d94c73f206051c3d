"""Senders that repeat each body until it is acknowledged, and the ledger of what was."""

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import requests

from tests.harness.credentials import INGEST_API_KEY

# What a message says, and its share of the load; the test's rules decide by the same words.
WORDS = {"PAGE": 15, "MAIL": 5, "LOG": 55, "nobody knows": 25}
FORWARDED = ("PAGE", "MAIL")
TIMEOUT = 5.0  # seconds a sender waits for a reply before it sends again
PAUSE = (0.0, 0.08)  # seconds between two bodies, and before a repetition
Event = dict[str, Any]


class Ledger:
    """Every acknowledged event by its correlation id, and whatever a sender must never be told."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, Event] = {}
        self.repeated = 0
        self.complaints: list[str] = []
        self.key = INGEST_API_KEY  # read for each body: a rotation changes it
        self._lock = threading.Lock()

    def note(self, events: list[Event], repetitions: int) -> None:
        """Enter acknowledged events."""
        with self._lock:
            self.repeated += repetitions
            self.acknowledged.update((event["correlation_id"], event) for event in events)


class Sender(threading.Thread):
    """One sender with its own stream of random bodies: single events, arrays, lines."""

    def __init__(self, number: int, seed: int, url: str, ledger: Ledger, stop: threading.Event) -> None:
        super().__init__(name=f"sender-{number}", daemon=True)
        self._random = random.Random(f"{seed}/{number}")
        self._host = f"host{number}.example"
        self._url = url
        self._ledger = ledger
        # Not named _stop: Thread has a method of that name.
        self._enough = stop

    def run(self) -> None:
        """Send until it is enough; the last body too is repeated until it is acknowledged."""
        while not self._enough.is_set():
            events, body = self._body()
            repetitions = 0
            while not self._send(body, len(events)):
                repetitions += 1
                self._pause()
            self._ledger.note(events, repetitions)
            self._pause()

    def _send(self, body: bytes, events: int) -> bool:
        try:
            reply = requests.post(self._url, body, headers={"X-API-KEY": self._ledger.key}, timeout=TIMEOUT)
        except requests.RequestException:
            return False
        if reply.status_code == 200:
            document = reply.json()
            if document.get("accepted", 1) != events:
                self._ledger.complaints.append(f"{events} events sent, reply {document}")
            return True
        if reply.status_code != 503:
            self._ledger.complaints.append(f"status {reply.status_code}: {reply.text[:200]}")
        return False

    def _body(self) -> tuple[list[Event], bytes]:
        form = self._random.choice(("single", "single", "array", "lines"))
        events = [self._event() for _ in range(1 if form == "single" else self._random.randint(1, 40))]
        if form == "single":
            return events, json.dumps(events[0]).encode()
        if form == "array":
            return events, json.dumps(events).encode()
        return events, b"".join(json.dumps(event).encode() + b"\n" for event in events)

    def _event(self) -> Event:
        words = self._random.choices(list(WORDS), list(WORDS.values()))[0]
        return {
            "timestamp": datetime.now(UTC).isoformat(),
            "hostname": self._host,
            "message": f"{words}: job {self._random.randrange(10**6)} ended with {self._random.randrange(256)}",
            "correlation_id": str(UUID(int=self._random.getrandbits(128), version=4)),
        }

    def _pause(self) -> None:
        self._enough.wait(self._random.uniform(*PAUSE))
        if self._enough.is_set():
            # The last repetitions must not spin while everything is down.
            threading.Event().wait(0.05)


@contextmanager
def load(senders: int, seed: int, url: str) -> Iterator[Ledger]:
    """Send in the background while the context lasts; at its end all that was sent is acknowledged."""
    ledger, stop = Ledger(), threading.Event()
    threads = [Sender(number, seed, url, ledger, stop) for number in range(senders)]
    for thread in threads:
        thread.start()
    try:
        yield ledger
    finally:
        stop.set()
        for thread in threads:
            thread.join(90)
    if any(thread.is_alive() for thread in threads):
        raise AssertionError("a sender's last body was not acknowledged within 90 s")
