"""Senders that repeat each body until it is acknowledged, and the ledger of what was.

`load` sends from threads of the test. As a process of its own, whose ledger no blow can hurt, it is

    python -m tests.chaos.load FOLDER --seed N --senders N

which reads FOLDER/orders.json ({"key", "urls", "doors", "pause"}; doors are the addresses that take Splunk's and
OpenTelemetry's bodies) before each body and writes FOLDER/ledger.ndjson: a line for each acknowledged body, on the disk
before the sender's next request. SIGTERM: the last bodies are repeated until they too are acknowledged.
"""

import argparse
import json
import os
import random
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import requests

from tests.chaos.bodies import DOORS, EVERY, INGEST, MOST, PLAIN, Body, Event, accepted_of, make_body
from tests.harness.credentials import INGEST_API_KEY

# What a message says, and its share of the load; the test's rules decide by the same words.
WORDS = {"PAGE": 15, "MAIL": 5, "LOG": 55, "nobody knows": 25}
FORWARDED = ("PAGE", "MAIL")
TIMEOUT = 5.0  # seconds a sender waits for a reply before it sends again
PAUSE = (0.0, 0.08)  # seconds between two bodies, and before a repetition
PATIENCE = 120.0  # seconds for the last bodies to be acknowledged
AGAIN_SHARE = 0.05  # of acknowledged bodies are sent once more some time later, as a sender that missed a reply does
KEPT_TO_SEND_AGAIN = 20


class Ledger:
    """Every acknowledged event by its correlation id, and whatever a sender must never be told.

    With a file each entry is a line of it, on the disk before `note` returns, and nowhere else.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.acknowledged: dict[str, Event] = {}
        self.bad: set[str] = set()
        self.repeated = self.bodies = 0
        self.complaints: list[str] = []
        self.forms: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()  # statuses of all replies; 0 where none came
        self.key = INGEST_API_KEY  # read for each body: a rotation changes it
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = file.open("ab", buffering=0) if file is not None else None

    def note(self, events: list[Event], repetitions: int, bad: list[str] | None = None, form: str = "") -> None:
        """Enter acknowledged events, and the marks of records that were rejected beside them."""
        self._enter({"events": events, "repetitions": repetitions, "bad": bad or [], "form": form})

    def complain(self, text: str) -> None:
        """Enter what a sender must never be told."""
        self._enter({"complaint": text})

    def read(self, lines: Iterable[bytes]) -> None:
        """Enter what another process wrote into its file."""
        for line in lines:
            self._take(json.loads(line))

    def _enter(self, entry: dict[str, Any]) -> None:
        with self._lock:
            if self._file is None:
                self._take(entry)
            else:
                self._file.write(json.dumps(entry).encode() + b"\n")
                os.fsync(self._file.fileno())

    def _take(self, entry: dict[str, Any]) -> None:
        if "complaint" in entry:
            self.complaints.append(entry["complaint"])
            return
        self.bodies += 1
        self.repeated += entry["repetitions"]
        self.forms[entry["form"]] += 1
        self.bad.update(entry["bad"])
        self.acknowledged.update((event["correlation_id"], event) for event in entry["events"])


class Orders:
    """Where senders send, with which key and how fast: fixed, or a file that is read whenever it has changed."""

    def __init__(self, urls: list[str], ledger: Ledger, file: Path | None = None) -> None:
        self._urls, self._doors, self._ledger, self._file = urls, urls, ledger, file
        self._read_at = 0
        self._lock = threading.Lock()
        self.pause = PAUSE

    def now(self, path: str) -> list[str]:
        """Return the addresses to send to; the key is in the ledger."""
        with self._lock:
            if self._file is not None and (changed := self._file.stat().st_mtime_ns) != self._read_at:
                told = json.loads(self._file.read_text(encoding="utf-8"))
                self._urls, self._doors, self._ledger.key = told["urls"], told["doors"], told["key"]
                self._read_at, self.pause = changed, tuple(told["pause"])
            return self._doors if path in DOORS else self._urls


class Sender(threading.Thread):
    """One sender with its own stream of random bodies."""

    def __init__(  # noqa: PLR0917  (what a load is made of)
        self,
        number: int,
        seed: int,
        orders: Orders,
        ledger: Ledger,
        stop: threading.Event,
        forms: Mapping[str, int] = PLAIN,
        words: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(name=f"sender-{number}", daemon=True)
        self._random = random.Random(f"{seed}/{number}")
        self._host = f"host{number}.example"
        self._orders = orders
        self._ledger = ledger
        self._forms = forms
        self._words = words or WORDS
        self._sent: deque[Body] = deque(maxlen=KEPT_TO_SEND_AGAIN)
        # Not named _stop: Thread has a method of that name.
        self._enough = stop

    def run(self) -> None:
        """Send until it is enough; the last body too is repeated until it is acknowledged."""
        while not self._enough.is_set():
            if self._sent and self._forms is not PLAIN and self._random.random() < AGAIN_SHARE:
                form, body = "again", self._random.choice(self._sent)
            else:
                form = self._random.choices(list(self._forms), list(self._forms.values()))[0]
                count = 1 if form == "single" else self._random.randint(1, MOST)
                body = make_body(form, [self._event() for _ in range(count)], self._random)
            repetitions = 0
            while (is_taken := self._send(body)) is None:
                repetitions += 1
                self._pause()
            if is_taken:
                self._ledger.note(body.events, repetitions, body.bad, form)
                self._sent.append(body)
            self._pause()

    def _send(self, body: Body) -> bool | None:
        """Return whether a body was taken: False is a complaint, None has to be sent again."""
        base = self._random.choice(self._orders.now(body.path))
        headers = {"X-API-KEY": self._ledger.key, **body.headers}
        try:
            reply = requests.post(f"{base}{body.path}", body.data, headers=headers, timeout=TIMEOUT)
        except requests.RequestException:
            self._ledger.answers[0] += 1
            return None
        self._ledger.answers[reply.status_code] += 1
        if reply.status_code == 200:
            is_json = reply.headers.get("Content-Type", "").startswith("application/json")
            document = reply.json() if is_json and reply.content else {}
            if accepted_of(body, document) != len(body.events):
                self._ledger.complain(f"{len(body.events)} events sent to {body.path}, reply {document}")
            return True
        if reply.status_code == 503:
            return None
        self._ledger.complain(f"status {reply.status_code} at {body.path}: {reply.text[:200]}")
        return False

    def _event(self) -> Event:
        words = self._random.choices(list(self._words), list(self._words.values()))[0]
        return {
            "timestamp": datetime.now(UTC).isoformat(),
            "hostname": self._host,
            "message": f"{words}: job {self._random.randrange(10**6)} ended with {self._random.randrange(256)}",
            "correlation_id": str(UUID(int=self._random.getrandbits(128), version=4)),
        }

    def _pause(self) -> None:
        self._enough.wait(self._random.uniform(*self._orders.pause))
        if self._enough.is_set():
            # The last repetitions must not spin while everything is down.
            threading.Event().wait(0.05)


@contextmanager
def load(senders: int, seed: int, url: str, forms: Mapping[str, int] = PLAIN) -> Iterator[Ledger]:
    """Send in the background while the context lasts; at its end all that was sent is acknowledged."""
    ledger, stop = Ledger(), threading.Event()
    orders = Orders([url.removesuffix(INGEST)], ledger)
    threads = [Sender(number, seed, orders, ledger, stop, forms) for number in range(senders)]
    for thread in threads:
        thread.start()
    try:
        yield ledger
    finally:
        is_acknowledged = _finish(threads, stop)
    if not is_acknowledged:
        raise AssertionError(f"a sender's last body was not acknowledged within {PATIENCE:g} s")


def _finish(threads: list[Sender], stop: threading.Event) -> bool:
    """Tell the senders that it is enough; return whether the last body of each was acknowledged."""
    stop.set()
    until = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


def main() -> int:
    """Send until SIGTERM; 1 when a last body was not acknowledged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--words", type=json.loads, default=WORDS, help="what messages say, and the shares")
    options = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    ledger = Ledger(options.folder / "ledger.ndjson")
    orders = Orders([], ledger, options.folder / "orders.json")
    threads = [
        Sender(number, options.seed, orders, ledger, stop, EVERY, options.words) for number in range(options.senders)
    ]
    for thread in threads:
        thread.start()
    stop.wait()
    return int(not _finish(threads, stop))


if __name__ == "__main__":
    raise SystemExit(main())
